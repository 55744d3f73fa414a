"""Compare this project's training with the classic recipe: wall time, peak memory, test accuracy.

python benchmarks/training.py --dataset dataset

Both train the same head on the same split, for the same epochs, without early stopping, each in a process of its own.
The classic recipe holds all images as one float32 array and augments them with ImageDataGenerator in every epoch. A
third run makes as many random views as there are epochs, so that no image is met twice alike: what caching costs in
accuracy is the difference between the last two rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_FOLDER))

from mask_detection.commands import cli, options  # noqa: E402

IMAGE_SIZE = 224
BATCH_SIZE = 32
LEARNING_RATE = 1e-4


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.add_argument("-d", "--dataset", type=Path, required=True, metavar="DIR", help="a folder of class folders")
    parser.add_argument("--epochs", type=options.positive_int, default=20, help="default: %(default)s")
    parser.add_argument("--views", type=options.positive_int, nargs="+", default=[4], help="numbers of views to try")
    parser.add_argument("--split-file", type=Path, metavar="FILE", help="made where there is none (default: a new one)")
    parser.add_argument("--seed", type=int, default=42, help="default: %(default)s")
    parser.add_argument("--recipe", help=argparse.SUPPRESS)  # set in the processes that this one starts
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the top of the file."""
    args = parse_arguments(argv)
    if args.recipe:
        return run_recipe(args)
    with tempfile.TemporaryDirectory() as folder:
        args.split_file = args.split_file or Path(folder, "split.json")
        print(f"{'recipe':<28}{'seconds':>9}{'peak MB':>9}{'accuracy':>10}{'time':>7}{'memory':>8}", flush=True)
        classic: dict[str, float] = {}
        # The first run makes the split, and is not measured.
        for recipe in ["split", "classic", *map(str, args.views), str(args.epochs)]:
            result = run_in_new_process(recipe, args, Path(folder, "result.json"))
            if recipe == "split":
                continue
            classic = classic or result
            name = recipe if recipe == "classic" else f"{recipe} views" + " (uncached)" * (recipe == str(args.epochs))
            print(
                f"{name:<28}{result['seconds']:>9.1f}{result['peak_mb']:>9.0f}{result['accuracy']:>10.4f}"
                f"{result['seconds'] / classic['seconds']:>7.2f}{result['peak_mb'] / classic['peak_mb']:>8.2f}",
                flush=True,
            )
    return cli.EXIT_DONE


def run_in_new_process(recipe: str, args: argparse.Namespace, result: Path) -> dict[str, float]:
    """Run one recipe and return its figures."""
    command = [sys.executable, __file__, "--dataset", args.dataset, "--epochs", args.epochs, "--seed", args.seed]
    command += ["--split-file", args.split_file, "--recipe", recipe, "--result", result]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())


def run_recipe(args: argparse.Namespace) -> int:
    """Run one recipe in this process and leave its figures behind."""
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    started = time.perf_counter()
    accuracy = train_classic(args) if args.recipe == "classic" else train_ours(args)
    figures = {
        "seconds": time.perf_counter() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (1 << 20 if sys.platform == "darwin" else 1 << 10),
        "accuracy": accuracy,
    }
    args.result.write_text(json.dumps(figures))
    return cli.EXIT_DONE


def train_ours(args: argparse.Namespace) -> float:
    """Train with train_mask_detector.py; ``split`` does so for one epoch, to make the split."""
    import train_mask_detector

    report = args.result.with_name("report.json")
    epochs, views = (1, 1) if args.recipe == "split" else (args.epochs, int(args.recipe))
    options = ["--epochs", epochs, "--views", views, "--patience", 0, "--seed", args.seed, "--augmentation", "classic"]
    files = ["--dataset", args.dataset, "--split-file", args.split_file, "--report", report]
    files += ["--model", args.result.with_name("model.h5")]
    train_mask_detector.main([str(word) for word in files + options])
    return json.loads(report.read_text())["test"]["accuracy"]


def train_classic(args: argparse.Namespace) -> float:
    """Train as the tutorial does, with what Keras 3 no longer knows written anew."""
    import keras
    import numpy as np
    import tensorflow as tf

    from mask_detection.data.dataset import scan
    from mask_detection.data.splits import read_split
    from mask_detection.models.mobilenet import build_model

    keras.utils.set_random_seed(args.seed)
    samples = scan([args.dataset])
    images = np.array(
        [
            keras.applications.mobilenet_v2.preprocess_input(
                keras.utils.img_to_array(keras.utils.load_img(path, target_size=(IMAGE_SIZE, IMAGE_SIZE)))
            )
            for path in samples.paths
        ],
        dtype="float32",
    )
    targets = np.eye(len(samples.class_names), dtype="float32")[samples.labels]
    index = {path: i for i, path in enumerate(samples.paths)}
    split = read_split(args.split_file, samples)
    train, validation, test = ([index[path] for path in part.paths] for part in split.parts().values())

    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rotation_range=20,
        zoom_range=0.15,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.15,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    model = build_model(len(samples.class_names), IMAGE_SIZE)
    backbone = model.layers[: [layer.name for layer in model.layers].index("flatten")]
    for layer in backbone:
        layer.trainable = False
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(
        generator.flow(images[train], targets[train], batch_size=BATCH_SIZE, seed=args.seed),
        validation_data=(images[validation], targets[validation]),
        epochs=args.epochs,
        verbose=2,
    )
    predicted = model.predict(images[test], batch_size=BATCH_SIZE, verbose=0).argmax(axis=1)
    return float(np.mean(predicted == samples.labels[test]))


if __name__ == "__main__":
    sys.exit(main())
