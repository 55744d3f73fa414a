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
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli, options, outputs
from mask_detection.utils import defaults

if TYPE_CHECKING:
    from mask_detection.training.features import FeatureWriter

LOCAL = "local"  # --cluster without an address: Ray on this machine alone


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; the names are those of :class:`mask_detection.training.run.RunOptions`."""
    parser = options.argument_parser(__doc__)
    add_file_options(parser)
    add_training_options(parser)
    args = parser.parse_args(argv)
    args.plot = args.plot or args.model.with_name("plot.png")
    args.report = args.report or args.model.with_name("report.json")
    return args


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add what is read and written."""
    add = parser.add_argument_group("files").add_argument
    add("-d", "--dataset", type=Path, nargs="+", required=True, metavar="DIR", help="folders of class folders")
    add("--background", type=Path, nargs="+", default=[], metavar="DIR", help="images without a face: no class fits")
    add("--keep-out", type=Path, nargs="+", default=[], metavar="DIR", help="exclude near-duplicates of these images")
    add(
        "-m",
        "--model",
        type=h5_file,
        default=defaults.MODEL_FILE,
        metavar="FILE",
        help="write the model here (.h5), and its TFLite export beside it",
    )
    add("-p", "--plot", type=Path, metavar="FILE", help="draw the curves here (default: plot.png beside the model)")
    add("--report", type=Path, metavar="FILE", help="write all figures here (default: report.json beside the model)")
    add("--split-file", type=Path, metavar="FILE", help="read the split from here, or write it if there is none")
    add("--init", type=Path, metavar="MODEL", help="start from this model's backbone instead of ImageNet's weights")
    add(
        "--cluster",
        nargs="?",
        const=os.environ.get("RAY_ADDRESS", LOCAL),
        metavar="ADDRESS",
        help="compute the features, which is most of the time, with Ray: on the cluster at this address, without one "
        "on this machine; needs `pip install -r requirements-cluster.txt`, see docs/cluster.md",
    )
    options.add_resume_options(parser)


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add how the model is made."""
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=options.positive_int, default=20, help="of the head (default: %(default)s)")
    add(
        "--fine-tune",
        type=options.count,
        default=0,
        metavar="EPOCHS",
        help="then train the last blocks too (default: 0)",
    )
    add("--batch-size", type=options.positive_int, default=32, help="images in a batch (default: %(default)s)")
    add(
        "--learning-rate", type=options.learning_rate, default=1e-4, help="of the Adam optimizer (default: %(default)s)"
    )
    add(
        "--views",
        type=options.whole_number(1, options.MAX_COPIES),
        default=4,
        help="augmented copies of each image (default: %(default)s)",
    )
    add("--augmentation", choices=("street", "classic"), default="street", help="their kind (default: %(default)s)")
    add("--head", choices=("classic", "flatten"), default="classic", help="the layers above MobileNetV2's features")
    add("--image-size", type=image_size, default=224, help="width and height of the input (default: %(default)s)")
    add(
        "--backbone-size",
        type=image_size,
        metavar="PX",
        help="let the network scale its input to this, 160 say: faster, slightly less accurate (default: --image-size)",
    )
    add(
        "--patience",
        type=options.count,
        default=5,
        help="epochs without progress before it stops and takes the best; 0: never, and the last one counts (default: "
        "%(default)s)",
    )
    add(
        "--class-weight",
        nargs="+",
        default=["balanced"],
        metavar="WEIGHT",
        help="balanced: all classes have the same part in the loss; none: all images have; NAME=0.2 ...: the named "
        "classes have that part, the others share the rest (default: balanced)",
    )
    add(
        "--bias-for",
        metavar="NAME[=BIAS]",
        help="fold a bias on this class's log-probability into the model: the one of the highest F1 score on the "
        "validation images, or a given one",
    )
    add("--validation-size", type=options.fraction, default=0.1, help="fraction for validation (default: %(default)s)")
    add("--test-size", type=options.fraction, default=0.2, help="fraction for the final test (default: %(default)s)")
    add(
        "--seed",
        type=options.seed,
        default=42,
        help="the same seed gives the same split and copies (default: %(default)s)",
    )


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


def feature_writer(cluster: str | None) -> FeatureWriter:
    """What computes the features: this process, or Ray on a cluster or on this machine."""
    if cluster is None:
        from mask_detection.training.features import write_features

        return write_features
    cli.require_ray()
    from mask_detection.distributed.features import write_features as write_with_ray

    return partial(write_with_ray, address=None if cluster == LOCAL else cluster)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    write_features = feature_writer(vars(args).pop("cluster"))
    from mask_detection.training.run import RunOptions, mistakes_file, train_classifier

    written = [args.model, args.model.with_suffix(".tflite"), args.plot, args.report, mistakes_file(args.report)]
    outputs.check([*args.dataset, *args.background, *args.keep_out], [*written, args.split_file])
    outputs.check([args.init], written[1:])  # but a model may be trained on under its own name
    n_unreadable = train_classifier(RunOptions(**vars(args)), write_features)
    return cli.EXIT_SOME_FAILED if n_unreadable else cli.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
