"""Train the face detector that comes along with the toolkit: it finds faces and tells masks with one small network.

python -m mask_detection train-face-detector --images photos --annotations labels --output my_detector.tflite
python -m mask_detection train-face-detector --images a b --annotations a_labels b_labels --faces portraits --resume

Photos come with boxes in VOC XML or YOLO files. --faces adds folders with one folder of photos for each class, of one
face each; YuNet boxes these. One fifth of the annotated photos, by the hash of their names, measures progress; near
copies of it, of --leave-out-fold and of --keep-out are not learned from.

Leaves the detector (.tflite), its weights to train on from (.weights.h5, for --init), a report (.json) and the curves
(.png). Exit status: 0 all done, 1 some photos could not be read and the rest was used, 2 nothing could be done,
130 interrupted (--resume goes on from the last finished epoch).
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.commands import cli, options
from mask_detection.data.folds import FOLDS
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mask_detection.data.annotations import Annotation
    from mask_detection.training.checkpoints import Curves
    from mask_detection.training.detector.dataset import PhotoStore

logger = logging.getLogger("mask_detection.commands.train_face_detector")

OUTPUTS = ("output", "resume", "face")  # arguments that don't decide what is learned
CALIBRATION_PHOTOS = 100  # at most, to set the ranges of the layers' 8-bit numbers
KIND_SHARES = (0.65, 0.3, 0.05)  # how often photos with boxes, of single faces, of no face are drawn


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection train-face-detector"
    files = parser.add_argument_group("files").add_argument
    files("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of photos")
    files("--annotations", type=Path, nargs="+", required=True, metavar="DIR", help="of their boxes, in the same order")
    files("--faces", type=Path, nargs="+", default=[], metavar="DIR", help="folders of class folders, a face a photo")
    files("--background", type=Path, nargs="+", default=[], metavar="DIR", help="photos of no face")
    files("--keep-out", type=Path, nargs="+", default=[], metavar="DIR", help="don't use near copies of these images")
    files(
        "--leave-out-fold", choices=FOLDS, nargs="+", default=[], help="fifths of the annotated photos not to be seen"
    )
    files("--validation-fold", choices=FOLDS, default="E", help="the fifth that measures (default: %(default)s)")
    files(
        "--unclassed",
        nargs="*",
        default=["mask_weared_incorrect"],
        metavar="LABEL",
        help="labels of faces that teach nothing about classes (default: %(default)s)",
    )
    options.add_face_folder_option(parser)
    files(
        "-o",
        "--output",
        type=tflite_file,
        default=defaults.BUILTIN_DETECTOR_FILE,
        metavar="FILE",
        help="write the detector here (.tflite; default: %(default)s)",
    )
    files("--init", type=Path, metavar="FILE", help="start from a detector's .weights.h5 or a classifier's .h5")
    files("--resume", action="store_true", help="go on with a run that was killed, from its last finished epoch")
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=options.positive_int, default=24, help="in all (default: %(default)s)")
    add(
        "--final-epochs",
        type=options.count,
        default=4,
        metavar="N",
        help="the last, larger (default: %(default)s)",
    )
    add("--steps", type=options.positive_int, metavar="N", help="batches an epoch (default: an image a photo)")
    add("--batch-size", type=options.positive_int, default=16, help="images in a batch (default: %(default)s)")
    add("--learning-rate", type=float, default=5e-4, help="the highest, of AdamW (default: %(default)s)")
    add("--size", type=input_size, default=320, help="of the pictures, in pixels (default: %(default)s)")
    add("--final-size", type=input_size, default=416, help="in the last epochs (default: %(default)s)")
    add("--seed", type=int, default=42, help="the same seed gives the same pictures (default: %(default)s)")
    args = parser.parse_args(argv)
    if len(args.images) != len(args.annotations):
        parser.error("give as many folders to --annotations as to --images, in the same order")
    if args.final_epochs > args.epochs:
        parser.error("--final-epochs are part of --epochs and cannot be more")
    return args


def tflite_file(text: str) -> Path:
    """A name for a LiteRT network."""
    if not text.endswith(".tflite"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .tflite")
    return Path(text)


def input_size(text: str) -> int:
    """A size that the network's three grids fit into, in pixels."""
    from mask_detection.models.fcos import INPUT_MULTIPLE

    size = int(text)
    if not INPUT_MULTIPLE <= size <= 1024 or size % INPUT_MULTIPLE:
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of {INPUT_MULTIPLE} up to 1024")
    return size


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.training import checkpoints
    from mask_detection.utils.files import check_can_write

    for suffix in (".tflite", ".weights.h5", ".json", ".png"):
        check_can_write(args.output.with_suffix(suffix))
    arguments = options.plain_arguments(args, without=OUTPUTS)
    run_folder = checkpoints.open_run_folder(args.output, {"arguments": arguments}, args.resume)
    faults: list[MaskDetectionError] = []
    facts = gather(args, run_folder, faults)
    print(f"{facts['training_photos']} photos to learn from, {facts['validation_photos']} to measure on")
    print(f"classes: {', '.join(facts['class_names'])}")
    curves = learn(args, facts, run_folder)
    write_results(args, {"arguments": arguments, **facts}, curves)
    checkpoints.remove_run_folder(run_folder)
    return cli.EXIT_SOME_FAILED if faults else cli.EXIT_DONE


def gather(args: argparse.Namespace, run_folder: Path, faults: list[MaskDetectionError]) -> dict[str, Any]:
    """Read, divide and store the photos, unless an interrupted run did; return what is to be known of them."""
    import json

    from mask_detection.training.detector.dataset import DOUBTFUL, NO_CLASS, PhotoStore
    from mask_detection.utils.files import read_whole, written_whole

    record = run_folder / "photos.json"
    if record.exists():
        return json.loads(read_whole(record, "a run's record"))
    kinds, validation, facts = read_photos(args, faults)
    training = [photo for kind in kinds for photo in kind]
    labels = Counter(label for photo in training for label in photo.labels)
    class_names = sorted(set(labels) - {*args.unclassed, NO_CLASS, DOUBTFUL})
    check_class_names(class_names)
    for part, photos in (("training", training), ("validation", validation)):
        PhotoStore.write(run_folder / f"{part}.uint8", photos, class_names, f"storing {part} photos")
    facts |= {
        "class_names": class_names,
        "training_photos": len(training),
        "training_photos_by_kind": [len(kind) for kind in kinds],
        "validation_photos": len(validation),
        "faces_by_label": dict(labels.most_common()),
    }
    with written_whole(record) as unfinished:
        unfinished.write_text(json.dumps(facts), encoding="utf-8")
    return facts


def read_photos(
    args: argparse.Namespace, faults: list[MaskDetectionError]
) -> tuple[tuple[list[Annotation], ...], list[Annotation], dict[str, Any]]:
    """Read all photos with their boxes.

    Returns:
        Photos to learn from, of each kind in the order of ``KIND_SHARES``; photos to measure on; and what was left out.
    """
    from mask_detection.data import dataset
    from mask_detection.training.detector import dataset as photos

    def leave_out(error: MaskDetectionError) -> None:
        logger.error("error: %s; left out", error)
        faults.append(error)

    annotated = photos.read_folders(args.images, args.annotations, leave_out)
    samples = dataset.scan(args.faces) if args.faces else None
    faces, background = samples.paths if samples else (), dataset.list_images(args.background)
    kept_out = dataset.list_images(args.keep_out)
    division = photos.divide(annotated, (*faces, *background), args.leave_out_fold, args.validation_fold, kept_out)
    usable_faces, usable_background = division.others_usable[: len(faces)], division.others_usable[len(faces) :]
    boxed = photos.box_faces(samples.select(usable_faces), yunet(args.face), leave_out) if samples else []
    empty = photos.without_faces(list(compress(background, usable_background)), leave_out)
    return (division.annotated, boxed, empty), division.validation, division.facts


def check_class_names(class_names: Sequence[str]) -> None:
    """Refuse photos whose faces cannot teach what a mask is.

    Raises:
        MaskDetectionError: there are fewer than two classes.
    """
    if len(class_names) < 2:
        raise MaskDetectionError(
            f"the photos' faces are of the classes {', '.join(class_names) or 'none'}; two are needed, such as "
            "with_mask and without_mask: add photos with --images or --faces"
        )


def yunet(folder: Path) -> Any:
    """The detector that boxes photos of single faces."""
    from mask_detection.models.load import load_face_detector
    from mask_detection.training.detector.dataset import MIN_CONFIDENCE

    return load_face_detector("yunet", folder, MIN_CONFIDENCE, 640)


def learn(args: argparse.Namespace, facts: dict[str, Any], run_folder: Path) -> Curves:
    """Train the network and write it in both forms; return its curves."""
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    from mask_detection.models.builtin_detector import write_detector
    from mask_detection.training.detector.dataset import PhotoStore
    from mask_detection.training.detector.trainer import DetectorOptions, train_detector

    keras.utils.set_random_seed(args.seed)
    training, validation = (PhotoStore(run_folder / f"{part}.uint8") for part in ("training", "validation"))
    model = start_model(len(facts["class_names"]), args.init)
    options = DetectorOptions(
        epochs=args.epochs,
        steps=args.steps or -(-len(training) // args.batch_size),
        final_epochs=args.final_epochs,
        size=args.size,
        final_size=args.final_size,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    shares = photo_shares(facts["training_photos_by_kind"], training.face_counts)
    curves = train_detector(model, training, shares, validation, facts["class_names"], options, run_folder)
    n_annotated = facts["training_photos_by_kind"][0]
    examples = calibration_inputs(training, n_annotated, args.final_size)
    write_detector(args.output, model, facts["class_names"], args.final_size, examples)
    return curves


def calibration_inputs(photos: PhotoStore, count: int, size: int) -> list[np.ndarray]:
    """Inputs (1, H, W, 3) float32 such as detection makes, of photos spread over the first so many."""
    from mask_detection.models.fcos import INPUT_MULTIPLE
    from mask_detection.models.preprocessing import detector_input

    spread = range(0, count, -(-count // CALIBRATION_PHOTOS))
    return [detector_input(photos[number].image, size, INPUT_MULTIPLE)[0] for number in spread]


def photo_shares(counts: Sequence[int], face_counts: np.ndarray) -> np.ndarray:
    """How often each photo is drawn, relative to the others: (N,) float.

    Args:
        counts: how many photos there are of each kind, which follow one another: annotated ones, such of one face
            each, and such without faces.
        face_counts: (N,) boxes in each photo; photos of many faces are drawn more often.
    """
    import numpy as np

    shares = np.sqrt(np.maximum(face_counts, 1))
    for kind, part in zip(KIND_SHARES, np.split(shares, np.cumsum(counts)[:-1]), strict=True):
        part *= kind / max(part.sum(), 1.0)  # views into shares
    return shares


def start_model(n_classes: int, init: Path | None) -> keras.Model:
    """The network with the weights to start from.

    Raises:
        MaskDetectionError: they cannot be had, or are of another network.
    """
    from mask_detection.models.fcos import build_detector
    from mask_detection.models.mobilenet import backbone_weights

    if init is None or not init.name.endswith(".weights.h5"):
        return build_detector(n_classes, backbone_weights=backbone_weights(init))
    model = build_detector(n_classes)
    try:
        model.load_weights(init)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise MaskDetectionError(f"{init}: holds no weights of this network ({reason}); give another --init") from None
    return model


def write_results(args: argparse.Namespace, facts: dict[str, Any], curves: Curves) -> None:
    """Write the report and the curves, and say where everything is."""
    from mask_detection.training import report

    report.write_report(args.output.with_suffix(".json"), {**facts, "curves": curves})
    report.write_curves(args.output.with_suffix(".png"), curves)
    for quantity, values in curves.items():
        print(f"{quantity.replace('_', ' ')}: {values[-1]:.3f}")
    print(f"detector: {args.output} ({args.output.stat().st_size:,} bytes)")
