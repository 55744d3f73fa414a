"""Argument types and groups that several commands share, and what they are turned into."""

from __future__ import annotations

import argparse
import math
import re
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.urls import without_secrets_in_line

if TYPE_CHECKING:
    from mask_detection.inference.detector import MaskDetector

BUILTIN_MODEL = Path("builtin")  # as --model, the older spelling of --one-stage
STANDARD_OUTPUTS = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
BYTES_PER_UNIT = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SECONDS_PER_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600}
MAX_SECONDS = 366 * 24 * 3600.0
MAX_COUNT = 1_000_000_000
MAX_COPIES = 1000
MAX_DIGITS = 20  # that a number is read of


def argument_parser(docstring: str | None) -> Parser:
    """A parser whose help opens with the docstring of the script or command, examples included."""
    return Parser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)


class Parser(argparse.ArgumentParser):
    """One that repeats no password to the terminal, such as that of an address given without ``--source``."""

    _file: Path | None = None

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Parse what stands in a file: then its faults are :class:`MaskDetectionError` that name it."""
        self._file = path
        try:
            yield
        finally:
            self._file = None

    def error(self, message: str) -> NoReturn:
        """End with a usage error."""
        if self._file:
            raise MaskDetectionError(f"{self._file}: {message}")
        super().error(without_secrets_in_line(message))


def output_file(text: str) -> Path:
    """An argument's output; ``-`` for standard output, by whatever name."""
    return Path("-" if text in STANDARD_OUTPUTS else text)


def fraction(text: str) -> float:
    """An argument's number between 0 and 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number in these limits."""

    def parse(text: str) -> int:
        value = int(text) if len(text) <= MAX_DIGITS else most + 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{reprlib.repr(text)} is not a whole number from {least} to {most:,}")
        return value

    parse.__name__ = "whole number"  # as argparse calls what is no number at all
    return parse


positive_int = whole_number(1, MAX_COUNT)
count = whole_number(0, MAX_COUNT)
copies = whole_number(0, MAX_COPIES)  # of each image or face
seed = whole_number(0, 2**32 - 1)  # as NumPy and Keras take it


def learning_rate(text: str) -> float:
    """An argument's number above 0, and at most 1."""
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def seconds(text: str) -> float:
    """An argument's duration in seconds: a plain number, or one with a unit such as ``5s``, ``10m`` or ``1h``."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*([smh]?)\s*", text.lower())
    value = float(match[1]) * SECONDS_PER_UNIT[match[2]] if match else math.nan
    if not 0.0 <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not a duration up to a year, such as 30, 5s, 10m or 1h")
    return value


def between_seconds(least: float, most: float) -> Callable[[str], float]:
    """The type of an argument that is a duration in these limits, see :func:`seconds`."""

    def parse(text: str) -> float:
        value = seconds(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a duration from {least:g} to {most:g} seconds")
        return value

    return parse


def n_bytes(text: str) -> int:
    """An argument's size in bytes: a plain number, or one with a unit such as ``500MB``, ``10GB`` or ``1.5TB``."""
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([kmgt]?)b?\s*", text.lower())
    if not match:
        raise argparse.ArgumentTypeError(f"{reprlib.repr(text)} is not a size such as 500MB or 10GB")
    return round(float(match[1]) * BYTES_PER_UNIT[match[2]])


def add_resume_options(parser: argparse.ArgumentParser) -> None:
    """Add what is to become of a run that was killed; a new one in its place needs either."""
    group = parser.add_mutually_exclusive_group()
    resume_help = "continue a run that was killed, from its last finished epoch"
    group.add_argument("--resume", action="store_true", help=resume_help)
    group.add_argument("--restart", action="store_true", help="delete what is left of a run that was killed")


def add_detection_options(parser: argparse.ArgumentParser) -> None:
    """Add what both detection scripts understand."""
    add_detector_options(parser)
    parser.add_argument("--no-display", action="store_true", help="open no window")
    blur_help = "make the faces that are found unrecognizable in all that is drawn, recorded or sent"
    parser.add_argument("--blur-faces", action="store_true", help=blur_help)


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`mask_detector` turns into a detector."""
    add_face_detector_options(parser)
    add_model_option(parser)
    parser.add_argument(
        "--one-stage",
        action="store_true",
        help="let the built-in face detector classify the faces, too, without the classifier: faster in crowds",
    )
    parser.add_argument(
        "--classes",
        type=lambda text: tuple(text.split(",")),
        metavar="A,B",
        help="class names in the order of the model's outputs, for models that don't hold them",
    )
    parser.add_argument(
        "-c",
        "--confidence",
        type=fraction,
        default=defaults.CONFIDENCE,
        metavar="0..1",
        help="drop faces that the face detector is less confident of (default: %(default)s)",
    )


def add_face_detector_options(parser: argparse.ArgumentParser, default: str | None = "auto") -> None:
    """Add which face detector to load, and how large it is to see an image."""
    add_face_folder_option(parser)
    parser.add_argument(
        "--detector",
        choices=defaults.DETECTORS,
        default=default,
        help="face detector; auto takes caffe or yunet if their files are there, otherwise builtin; builtin and yunet "
        f"find far more masked and small faces than caffe (default: {default or 'none'})",
    )
    parser.add_argument(
        "--detect-size",
        type=whole_number(1, defaults.MAX_DETECT_SIZE),
        metavar="PIXELS",
        help="scale an image's longer side to this for the face detector: larger finds smaller faces and takes longer "
        f"(default: the detector's own choice; builtin: {defaults.BUILTIN_PHOTO_SIZE} for photos, and for video "
        f"{defaults.BUILTIN_VIDEO_SIZE}, which takes under half the time and misses more small faces)",
    )


def add_face_folder_option(parser: argparse.ArgumentParser) -> None:
    """Add where the face detectors' files lie."""
    parser.add_argument(
        "-f",
        "--face",
        type=Path,
        default=defaults.FACE_FOLDER,
        metavar="DIR",
        help="folder with the face detector's files (default: face_detector beside the scripts)",
    )


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add which classifier to load."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        default=defaults.MODEL_FILE,
        metavar="FILE",
        help="mask classifier, .h5 or .tflite, made by train_mask_detector.py or the export command "
        "(default: mask_detector.h5 beside the scripts)",
    )


def is_one_stage(args: argparse.Namespace) -> bool:
    """Tell whether the arguments of :func:`add_detector_options` ask for no classifier."""
    return args.one_stage or args.model == BUILTIN_MODEL


def mask_detector(args: argparse.Namespace) -> MaskDetector:
    """The detector that the arguments of :func:`add_detector_options` ask for; its networks are loaded when needed."""
    from mask_detection.inference import detector

    return detector.lazy(**detector_settings(args))


def detector_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The same as the keyword arguments of :func:`mask_detection.load`."""
    return {
        "classifier": args.model,
        "face_detector": args.detector,
        "face_folder": args.face,
        "class_names": args.classes,
        "confidence": args.confidence,
        "detect_size": args.detect_size,
        "one_stage": is_one_stage(args),
    }
