"""Fetch a face detector or the classic data set from its official address, and check every byte of it.

python -m mask_detection download caffe                    # OpenCV's res10 SSD: 2 files, 10.7 MB
python -m mask_detection download yunet                    # OpenCV's YuNet, finds small faces too: 1 file, 0.2 MB
python -m mask_detection download dataset                  # 1,376 images in the folders with_mask and without_mask
python -m mask_detection download dataset --to ~/masks

A file gets its name only when it has arrived whole and its sha256 is the known one; a right file that is there already
is not fetched again. Detecting needs no network afterwards. Origin, licence and limits of each stand in
face_detector/README.md and dataset/README.md. Exit status: 0 done, 2 not done, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mask_detection.commands import cli, options
from mask_detection.utils import defaults, downloads
from mask_detection.utils.files import make_folder


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection download"
    parser.add_argument("what", choices=[*downloads.KITS, "dataset"], help="what to fetch")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="folder for it (default: face_detector or dataset beside the scripts)",
    )
    parser.add_argument(
        "--timeout",
        type=silence,
        default=downloads.TIMEOUT_S,
        metavar="S",
        help="seconds of silence after which the server counts as gone (default: %(default)g)",
    )
    return parser.parse_args(argv)


def silence(text: str) -> float:
    """Argparse type of a span of time above 0 s, in seconds."""
    span = float(text)
    if not 0 < span <= downloads.TRANSFER_LIMIT_S:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {downloads.TRANSFER_LIMIT_S:g} s")
    return span


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.data import classic

    is_dataset = args.what == "dataset"
    folder = args.to or (defaults.DATASET_FOLDER if is_dataset else defaults.FACE_FOLDER)
    make_folder(folder)
    if is_dataset:
        for class_name, n_images in classic.fetch(folder, args.timeout).items():
            print(f"{folder / class_name}: {n_images} images")
    else:
        for remote_file in downloads.KITS[args.what]:
            print(downloads.fetch(remote_file, folder, args.timeout))
    return cli.EXIT_DONE
