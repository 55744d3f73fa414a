"""Train a classifier that tells faces with a mask from faces without one.

python train_mask_detector.py --dataset dataset
python train_mask_detector.py --dataset photos more_photos --model my_model.h5 --fine-tune 10
python train_mask_detector.py --dataset dataset --head flatten --image-size 128

The data set is a folder with one folder of face images for each class: dataset/with_mask, dataset/without_mask. Any
names and any number of classes will do, and so will sets that come split into Train, Validation and Test. Exit status:
0 all done, 1 some images could not be read and the rest was used, 2 nothing could be done, 130 interrupted (--resume
goes on).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.commands import cli, options
from mask_detection.utils import defaults

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mask_detection.data.dataset import Samples
    from mask_detection.data.splits import Split
    from mask_detection.training.checkpoints import Curves

logger = logging.getLogger("mask_detection.train")

OUTPUTS = ("model", "plot", "report", "split_file", "resume")  # arguments that don't decide what is learned
TRAINING_OPTIONS = (
    "epochs",
    "fine_tune",
    "batch_size",
    "learning_rate",
    "views",
    "augmentation",
    "patience",
    "seed",
)  # arguments that go as they are into mask_detection.training.classifier.TrainingOptions


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    files = parser.add_argument_group("files").add_argument
    files("-d", "--dataset", type=Path, nargs="+", required=True, metavar="DIR", help="folders of class folders")
    files(
        "--background", type=Path, nargs="+", default=[], metavar="DIR", help="pictures of no face, to stay unsure of"
    )
    files("--keep-out", type=Path, nargs="+", default=[], metavar="DIR", help="don't use near copies of these images")
    files(
        "-m",
        "--model",
        type=h5_file,
        default=defaults.MODEL_FILE,
        metavar="FILE",
        help="write the model here (.h5) and its twin beside it (.tflite)",
    )
    files("-p", "--plot", type=Path, metavar="FILE", help="draw the curves here (default: plot.png beside the model)")
    files("--report", type=Path, metavar="FILE", help="write all figures here (default: report.json beside the model)")
    files("--split-file", type=Path, metavar="FILE", help="read the split from here, or write it where there is none")
    files("--init", type=Path, metavar="MODEL", help="start from this model's backbone instead of ImageNet's weights")
    files("--resume", action="store_true", help="go on with a run that was killed, from its last finished epoch")
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=options.positive_int, default=20, help="of the head (default: %(default)s)")
    add(
        "--fine-tune",
        type=options.count,
        default=0,
        metavar="EPOCHS",
        help="then train the last blocks too (default: 0, don't)",
    )
    add("--batch-size", type=options.positive_int, default=32, help="images in a batch (default: %(default)s)")
    add("--learning-rate", type=float, default=1e-4, help="of the Adam optimizer (default: %(default)s)")
    add("--views", type=options.positive_int, default=4, help="random views made of each image (default: %(default)s)")
    add("--augmentation", choices=("street", "classic"), default="street", help="kind of views (default: %(default)s)")
    add("--head", choices=("classic", "flatten"), default="classic", help="what lies above MobileNetV2's features")
    add("--image-size", type=image_size, default=224, help="width and height of the input (default: %(default)s)")
    add(
        "--backbone-size",
        type=image_size,
        metavar="PX",
        help="let the network scale its input to this, 160 say: faster, a little less sharp (default: --image-size)",
    )
    add(
        "--patience",
        type=options.count,
        default=5,
        help="epochs without progress before it stops; 0: never (default: %(default)s)",
    )
    add(
        "--validation-size",
        type=options.fraction,
        default=0.1,
        help="fraction for validation (default: %(default)s)",
    )
    add(
        "--test-size",
        type=options.fraction,
        default=0.2,
        help="fraction for the final test (default: %(default)s)",
    )
    add("--seed", type=int, default=42, help="the same seed gives the same split and views (default: %(default)s)")
    args = parser.parse_args(argv)
    args.plot = args.plot or args.model.with_name("plot.png")
    args.report = args.report or args.model.with_name("report.json")
    return args


def h5_file(text: str) -> Path:
    """A name that Keras writes HDF5 under."""
    if not text.endswith(".h5"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .h5")
    return Path(text)


def image_size(text: str) -> int:
    """An input size that MobileNetV2 can work with, in pixels."""
    if not 32 <= (size := int(text)) <= 1024:
        raise argparse.ArgumentTypeError(f"{text} is not a size between 32 and 1024 pixels")
    return size


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    from mask_detection.data import dataset
    from mask_detection.training import checkpoints
    from mask_detection.utils.files import check_can_write

    for output in filter(None, (args.model, args.plot, args.report, args.split_file)):
        check_can_write(output)
    samples, n_unreadable = dataset.leave_out_unreadable(dataset.scan(args.dataset))
    background = dataset.list_images(args.background)
    split, facts = make_split(args, samples)
    arguments = options.plain_arguments(args, without=OUTPUTS)
    identity = {"arguments": arguments, "dataset_fingerprint": facts["dataset_fingerprint"]}
    run_folder = checkpoints.open_run_folder(args.model, identity, args.resume)

    curves, probabilities = learn(args, split, background, run_folder)
    write_results(args, {"arguments": arguments, **facts}, curves, split.test, probabilities)
    checkpoints.remove_run_folder(run_folder)
    return cli.EXIT_SOME_FAILED if n_unreadable else cli.EXIT_DONE


def learn(
    args: argparse.Namespace, split: Split, background: tuple[Path, ...], run_folder: Path
) -> tuple[dict[str, Curves], np.ndarray]:
    """Train and save the model; return its curves and its answers to the test part, (N, n_classes) probabilities."""
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()  # not before, as the search for copies needs memory too
    import keras

    from mask_detection.models.mobilenet import build_model, save_model
    from mask_detection.training import classifier

    keras.utils.set_random_seed(args.seed)
    class_names = split.train.class_names
    model = build_model(len(class_names), args.image_size, args.head, args.init, args.backbone_size)
    options = classifier.TrainingOptions(**{option: getattr(args, option) for option in TRAINING_OPTIONS})
    guiding, learned = split_background(background, args.validation_size, args.seed)
    print(f"{options.views} random views ({options.augmentation}) of each training image, a new one each epoch in turn")
    examples = classifier.Examples.of(split.train, learned), classifier.Examples.of(split.validation, guiding)
    curves = classifier.train(model, *examples, options, run_folder)
    save_model(model, args.model, class_names)
    write_twin(args.model, model, class_names)
    return curves, classifier.predict(model, split.test)


def split_background(
    background: tuple[Path, ...], validation_size: float, seed: int
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Divide pictures of no face at random into some that guide and the rest, which is learned from."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(background))
    n_guiding = round(len(background) * validation_size)
    shuffled = tuple(background[i] for i in order)
    return shuffled[:n_guiding], shuffled[n_guiding:]


def write_twin(model_path: Path, model: keras.Model, class_names: Sequence[str]) -> None:
    """Write the model's ``.tflite`` twin beside it; detection can do without."""
    from mask_detection.models import convert
    from mask_detection.models.base import ModelInfo
    from mask_detection.utils.errors import MaskDetectionError

    try:
        path = convert.write_export(model_path, model, ModelInfo(tuple(class_names), model.input_shape[1]))
        print(f"twin, for detection without TensorFlow: {path}")
    except MaskDetectionError as error:
        logger.warning("%s: its .tflite twin was not written: %s", model_path, error)


def make_split(args: argparse.Namespace, samples: Samples) -> tuple[Split, dict[str, Any]]:
    """Read the split from its file or make one without leaks; print and return what is to be known of it."""
    from mask_detection.data import splits
    from mask_detection.data.dataset import list_images

    facts: dict[str, Any] = {}
    if args.split_file and args.split_file.exists():
        split = splits.read_split(args.split_file, samples)
    else:
        usable, groups, facts = splits.without_leaks(samples, list_images(args.keep_out))
        for fact, count in facts.items():
            print(f"{fact.replace('_', ' ')}: {count}")
        split = splits.split(usable, groups, args.validation_size, args.test_size, args.seed)
        if args.split_file:
            splits.write_split(args.split_file, split)
    facts["images"] = {part: samples.class_counts for part, samples in split.parts().items()}
    facts["dataset_fingerprint"] = splits.fingerprint(split)
    for part, counts in facts["images"].items():
        print(f"{part}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return split, facts


def write_results(
    args: argparse.Namespace,
    facts: dict[str, Any],
    curves: dict[str, Curves],
    test: Samples,
    probabilities: np.ndarray,
) -> None:
    """Print the report on the test part; write it, the plot and the contact sheet of mistakes."""
    from mask_detection.training import report

    answers = probabilities.argmax(axis=1)
    print(f"\nOn the {len(test)} test images, which took no part in training:")
    print(report.classification_text(test, answers))
    figures = report.classification_figures(test, answers)
    report.write_report(args.report, {**facts, "test": figures, "curves": curves})
    report.write_plot(args.plot, curves, test, answers)
    mistakes = args.report.with_name(f"{args.report.stem}_mistakes.png")
    n_mistakes = report.write_mistakes(mistakes, test, probabilities)
    print(f"model: {args.model}\nplot: {args.plot}\nreport: {args.report}")
    if n_mistakes:
        print(f"the {n_mistakes} mistakes: {mistakes}")


if __name__ == "__main__":
    sys.exit(main())
