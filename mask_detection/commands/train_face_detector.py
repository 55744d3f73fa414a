"""Train the face detector that comes along with the toolkit: it finds and classifies faces with one small network.

python -m mask_detection train-face-detector --images photos --annotations labels --output my_detector.tflite
python -m mask_detection train-face-detector --images a b --annotations a_labels b_labels --faces portraits --resume

Photos come with boxes in VOC XML or YOLO files. --faces adds folders with one folder of photos for each class, of one
face each; YuNet boxes these. One fifth of the annotated photos, by the hash of their names, is for validation; its
near-duplicates, and those of --leave-out-fold and --keep-out, take no part in training.

The network is narrower than MobileNetV2, for the sake of slow processors: a wider one given as --init is narrowed
before training, on the photos, and --teacher lets it learn what that one predicts. With --train late or classes it
stays as wide as it is.

Leaves the detector (.tflite), its weights to train on from (.weights.h5, for --init), a report (.json) and the curves
(.png). Exit status: 0 all done, 1 some photos could not be read and the rest was used, 2 nothing could be done,
130 interrupted (--resume continues from the last finished epoch).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mask_detection.commands import cli, options, outputs
from mask_detection.data.folds import FOLDS
from mask_detection.utils import defaults

MAX_BIAS = 10  # on a logit: odds of 22,000 to 1


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; the names are those of ``mask_detection.training.detector.run.DetectorRunOptions``."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection train-face-detector"
    add_file_options(parser)
    options.add_face_folder_option(parser)
    add_training_options(parser)
    args = parser.parse_args(argv)
    if len(args.images) != len(args.annotations):
        parser.error("give as many folders to --annotations as to --images, in the same order")
    if args.train != "all" and not args.init:
        parser.error(f"--train {args.train} needs a detector to start from: add --init FILE")
    if args.final_epochs > args.epochs:
        parser.error("--final-epochs are part of --epochs and cannot be more")
    return args


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add what is read and written."""
    add = parser.add_argument_group("files").add_argument
    add("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of photos")
    add("--annotations", type=Path, nargs="+", required=True, metavar="DIR", help="of their boxes, in the same order")
    add("--faces", type=Path, nargs="+", default=[], metavar="DIR", help="folders of class folders, a face a photo")
    add("--background", type=Path, nargs="+", default=[], metavar="DIR", help="photos without a face")
    add("--keep-out", type=Path, nargs="+", default=[], metavar="DIR", help="exclude near-duplicates of these images")
    add("--leave-out-fold", choices=FOLDS, nargs="+", default=[], help="exclude these fifths of the annotated photos")
    add("--validation-fold", choices=FOLDS, default="E", help="the fifth for validation (default: %(default)s)")
    add(
        "--unclassed",
        nargs="*",
        default=[],
        metavar="LABEL",
        help="labels of faces whose class teaches nothing (default: none)",
    )
    add(
        "-o",
        "--output",
        type=tflite_file,
        default=defaults.BUILTIN_DETECTOR_FILE,
        metavar="FILE",
        help="write the detector here (.tflite; default: %(default)s)",
    )
    add(
        "--init",
        type=Path,
        metavar="FILE",
        help="start from a detector's .tflite or .weights.h5, or from a classifier's .h5 (default: ImageNet's), and "
        "narrow a wider network",
    )
    add("--teacher", type=Path, metavar="FILE", help="learn a detector's (.tflite) predictions, too")
    add(
        "--complete-labels",
        action="store_true",
        help="add the faces that nobody marked: those that YuNet and the built-in detector both find",
    )
    options.add_resume_options(parser)


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add how the network is trained."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--train",
        choices=("all", "late", "classes"),
        default="all",
        help="what learns: all of a narrow network; late: of a network as wide as that of --init, all but the first "
        "blocks, in less time; classes: nothing but what tells the classes, so that the boxes and their "
        "confidences stay as they are (default: %(default)s)",
    )
    add("--epochs", type=options.count, default=24, help="in all; 0 trains nothing (default: %(default)s)")
    add(
        "--final-epochs",
        type=options.count,
        default=4,
        metavar="N",
        help="the last, larger ones (default: %(default)s)",
    )
    add("--steps", type=options.positive_int, metavar="N", help="batches an epoch (default: as many images as photos)")
    add("--batch-size", type=options.positive_int, default=16, help="images in a batch (default: %(default)s)")
    add(
        "--learning-rate", type=options.learning_rate, default=5e-4, help="the highest, of AdamW (default: %(default)s)"
    )
    add("--size", type=input_size, default=320, help="of the images, in pixels (default: %(default)s)")
    add("--final-size", type=input_size, default=512, help="in the last epochs (default: %(default)s)")
    add(
        "--class-weight",
        nargs="+",
        default=["none"],
        metavar="WEIGHT",
        help="balanced: all classes have the same part in the loss; none: all faces have; NAME=0.2 ...: the named "
        "classes have that part, the others share the rest (default: none)",
    )
    add(
        "--bias-for",
        metavar="NAME[=BIAS]",
        help="fold a bias on this class's logit into the network: the one of the highest F1 score on the validation "
        "photos, or a given one",
    )
    add(
        "--face-bias",
        type=logit_bias,
        default=0.0,
        metavar="BIAS",
        help="fold a bias on the logit of the faces' confidence into the network: below 0, fewer boxes are found, and "
        "fewer that hold no face (default: %(default)s)",
    )
    add("--seed", type=options.seed, default=42, help="the same seed gives the same images (default: %(default)s)")


def tflite_file(text: str) -> Path:
    """A name for a LiteRT network."""
    if not text.endswith(".tflite"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .tflite")
    return Path(text)


def logit_bias(text: str) -> float:
    """A number that may be added to a logit."""
    value = float(text)
    if not abs(value) <= MAX_BIAS:  # nor is nan
        raise argparse.ArgumentTypeError(f"{text} is not a number from {-MAX_BIAS} to {MAX_BIAS}")
    return value


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
    from mask_detection.training.detector.run import DetectorRunOptions, output_files, train_face_detector

    detector, weights, *others = output_files(args.output)
    read = [*args.images, *args.annotations, *args.faces, *args.background, *args.keep_out]
    outputs.check(read, [detector, weights, *others])
    outputs.check([args.teacher], [detector, weights, *others])
    outputs.check([args.init], [detector, *others])  # but weights may be trained on under their own name
    n_unreadable = train_face_detector(DetectorRunOptions(**vars(args)))
    return cli.EXIT_SOME_FAILED if n_unreadable else cli.EXIT_DONE
