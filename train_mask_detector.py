"""Train a classifier that tells faces with a mask from faces without one.

python train_mask_detector.py --dataset dataset
python train_mask_detector.py --dataset photos more_photos --model my_model.h5 --plot my_plot.png --epochs 10

The data set is a folder with one folder of face images for each class: dataset/with_mask, dataset/without_mask. Any
names and any number of classes will do. Exit status: 0 all done, 1 some images could not be read and the rest was used,
2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mask_detection import cli, defaults


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.argument_parser(__doc__)
    add = parser.add_argument
    add(
        "-d",
        "--dataset",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="one or more folders of class folders",
    )
    add("-m", "--model", type=h5_file, default=defaults.MODEL_FILE, metavar="FILE", help="write the model here (.h5)")
    add("-p", "--plot", type=Path, default=Path("plot.png"), metavar="FILE", help="draw loss and accuracy here")
    add("--epochs", type=cli.positive_int, default=20, help="rounds over the training images (default: %(default)s)")
    add("--batch-size", type=cli.positive_int, default=32, help="images in a batch (default: %(default)s)")
    add("--learning-rate", type=float, default=1e-4, help="of the Adam optimizer (default: %(default)s)")
    add("--views", type=cli.positive_int, default=4, help="random views made of each image (default: %(default)s)")
    add("--image-size", type=image_size, default=224, help="width and height the network sees (default: %(default)s)")
    add(
        "--validation-size",
        type=cli.share,
        default=0.1,
        help="part of the images for the curves (default: %(default)s)",
    )
    add("--test-size", type=cli.share, default=0.2, help="part of the images for the final test (default: %(default)s)")
    add("--seed", type=int, default=42, help="the same seed gives the same split and views (default: %(default)s)")
    add("--init", type=Path, metavar="MODEL", help="start from this model's backbone instead of ImageNet's weights")
    return parser.parse_args(argv)


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
    from sklearn.metrics import classification_report

    from mask_detection import dataset
    from mask_detection.backend import start_tensorflow
    from mask_detection.files import check_can_write
    from mask_detection.report import write_plot

    for output in (args.model, args.plot):
        check_can_write(output)
    samples, n_unreadable = dataset.leave_out_unreadable(dataset.scan(args.dataset))
    split = dataset.split(samples, args.validation_size, args.test_size, args.seed)
    print(f"{len(samples)} images of {len(samples.class_names)} classes: {', '.join(samples.class_names)}")
    print(f"training {len(split.train)}, validation {len(split.validation)}, test {len(split.test)}")

    start_tensorflow()
    import keras

    from mask_detection.model import build_model, save_model
    from mask_detection.training import TrainingOptions, predict, train_head

    keras.utils.set_random_seed(args.seed)
    options = TrainingOptions(args.epochs, args.batch_size, args.learning_rate, args.views, args.seed)
    model = build_model(len(samples.class_names), args.image_size, args.init)
    curves = train_head(model, split, options)
    save_model(model, args.model, samples.class_names)
    write_plot(args.plot, curves)

    print(f"\nOn the {len(split.test)} test images, which took no part in training:")
    answers = predict(model, split.test, args.batch_size).argmax(axis=1)
    labels = range(len(samples.class_names))
    print(
        classification_report(
            split.test.labels, answers, labels=labels, target_names=samples.class_names, digits=3, zero_division=0
        )
    )
    print(f"model: {args.model}\nplot: {args.plot}")
    return cli.EXIT_SOME_FAILED if n_unreadable else cli.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
