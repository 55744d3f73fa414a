"""What every command shares: arguments, exit statuses, one-line messages on standard error."""

from __future__ import annotations

import argparse
import functools
import itertools
import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.tensorflow import silent_native_libraries

if TYPE_CHECKING:
    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count it; by SIGTERM too

logger = logging.getLogger("mask_detection")


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Wrap a script's ``main(argv)``: errors become one line on standard error and the documented exit status."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        _quieten_libraries()
        if reconfigure := getattr(sys.stdout, "reconfigure", None):  # a notebook's standard output has no such thing
            # File names may hold what the terminal cannot show; and the log of a long run should show where it is.
            reconfigure(errors="backslashreplace", line_buffering=True)
        _log_to_standard_error()
        try:
            with _interrupted_by_sigterm(), silent_native_libraries():
                return main(argv)
        except MaskDetectionError as error:
            logger.error("error: %s", error)
        except ImportError as error:
            logger.error("error: %s", import_remedy(error))
        except BrokenPipeError:  # the reader of our standard output has left, as `| head` does
            _discard_unwritable_output()
            return EXIT_SOME_FAILED
        except OSError as error:  # such as a folder that denies entry, or standard output on a full disk
            place, reason = error.filename or "standard output", error.strerror or error
            logger.error("error: %s: cannot be used (%s); check the path, its permissions and the disk", place, reason)
            _discard_unwritable_output()
        except KeyboardInterrupt:
            logger.error("interrupted")
            return EXIT_INTERRUPTED
        return EXIT_UNUSABLE

    return guarded


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, with which services and shutdowns end a program, do what Ctrl-C does: save what was made so far."""

    def interrupt(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # `timeout` sends it twice, and now the outputs are being finished
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def _discard_unwritable_output() -> None:
    """Keep Python from trying once more, at exit, to write what standard output did not take."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def argument_parser(script_docstring: str | None) -> argparse.ArgumentParser:
    """A parser whose help opens with the script's own docstring, examples included."""
    return argparse.ArgumentParser(description=script_docstring, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_detection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what both detection scripts understand."""
    add_stage_arguments(parser)
    parser.add_argument("--no-display", action="store_true", help="open no window")


def add_stage_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which face detector and which classifier :func:`load_stages` loads."""
    add_face_detector_arguments(parser)
    add_model_argument(parser)
    parser.add_argument(
        "--classes",
        type=lambda text: tuple(text.split(",")),
        metavar="A,B",
        help="class names in the order of the model's outputs, for models that don't know them",
    )
    parser.add_argument(
        "-c",
        "--confidence",
        type=share,
        default=defaults.CONFIDENCE,
        metavar="0..1",
        help="leave out faces that the detector is less sure of (default: %(default)s)",
    )


def add_face_detector_arguments(parser: argparse.ArgumentParser, default: str | None = "auto") -> None:
    """Add what says which face detector to load, and how large it is to see a picture."""
    add_face_folder_argument(parser)
    parser.add_argument(
        "--detector",
        choices=defaults.DETECTORS,
        default=default,
        help="face detector; auto takes caffe or yunet if their files are there, otherwise builtin "
        f"(default: {default or 'none'})",
    )
    parser.add_argument(
        "--detect-size",
        type=positive_int,
        metavar="PIXELS",
        help="scale a picture's longer side to this for the face detector: larger finds smaller faces and takes longer "
        "(default: the detector's own choice)",
    )


def add_face_folder_argument(parser: argparse.ArgumentParser) -> None:
    """Add where the face detectors' files lie."""
    parser.add_argument(
        "-f",
        "--face",
        type=Path,
        default=defaults.FACE_FOLDER,
        metavar="DIR",
        help="folder with the face detector's files (default: face_detector beside the scripts)",
    )


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add which classifier to load."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        default=defaults.MODEL_FILE,
        metavar="FILE",
        help="mask classifier, .h5 or .tflite, made by train_mask_detector.py or `mask_detection export`; or builtin: "
        "the built-in face detector's own word, faster in crowds (default: mask_detector.h5 beside the scripts)",
    )


def share(text: str) -> float:
    """An argument's number between 0 and 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive_int(text: str) -> int:
    """An argument's whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return value


def count(text: str) -> int:
    """An argument's whole number from 0 on."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return value


def seconds(text: str) -> float:
    """An argument's number of seconds, from 0 on."""
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 on")
    return value


def load_stages(args: argparse.Namespace) -> tuple[FaceDetector, MaskClassifier | None]:
    """Load the face detector and the classifier that ``add_stage_arguments`` asked for.

    Returns:
        The classifier is None where the face detector's own word is asked for.

    Raises:
        MaskDetectionError: one of them cannot be loaded, or the face detector has no word of its own.
    """
    from mask_detection.models.load import load_classifier, load_face_detector

    if args.model != defaults.BUILTIN_MODEL:
        face_detector = load_face_detector(args.detector, args.face, args.confidence, args.detect_size)
        return face_detector, load_classifier(args.model, args.classes)
    if args.detector not in ("auto", "builtin") or args.classes:
        raise MaskDetectionError(
            "--model builtin: is the built-in face detector's own word; leave --classes away, and --detector too"
        )
    return load_face_detector("builtin", args.face, args.confidence, args.detect_size), None


def stage_loader(args: argparse.Namespace) -> Callable[[], tuple[FaceDetector, MaskClassifier | None]]:
    """A function that loads the stages once more at each call; what there is to say of them is said at the first."""
    calls = itertools.count()

    def load() -> tuple[FaceDetector, MaskClassifier | None]:
        logger.setLevel(logging.ERROR if next(calls) else logging.INFO)
        try:
            return load_stages(args)
        finally:
            logger.setLevel(logging.INFO)

    return load


def decide_display(no_display: bool, has_output: bool, output_options: str) -> bool:
    """Tell whether to open a window.

    Raises:
        MaskDetectionError: there is neither a window nor anything to write.
    """
    from mask_detection.io.writers import can_show_window

    shows = not no_display and can_show_window()
    if not shows and not has_output:
        reason = "--no-display is given" if no_display else "no window can be opened here"
        raise MaskDetectionError(f"nothing to do: {reason} and no output is asked for; add {output_options}")
    return shows


def plain_arguments(args: argparse.Namespace, without: Collection[str]) -> dict[str, Any]:
    """The arguments as JSON knows them, but for those named in ``without``."""
    return {name: _plain(value) for name, value in vars(args).items() if name not in without}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def exit_status(failed: int, total: int) -> int:
    """0 when all inputs were done, 1 when some failed, 2 when none could be done."""
    if not failed:
        return EXIT_DONE
    return EXIT_SOME_FAILED if failed < total else EXIT_UNUSABLE


def _quieten_libraries() -> None:
    """Spare OpenCV and FFmpeg log lines that nobody sees, and the terminal Pillow's warnings."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    warnings.filterwarnings("ignore", module="PIL")


class _StandardErrorHandler(logging.Handler):
    """Writes one line to whatever ``sys.stderr`` is at the moment, above a progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        one_line = self.format(record).replace("\n", "\\n")  # file names may hold line breaks
        tqdm.write(one_line, file=sys.stderr)


def _log_to_standard_error() -> None:
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _StandardErrorHandler) for handler in logger.handlers):
        logger.addHandler(_StandardErrorHandler())


def import_remedy(error: ImportError) -> str:
    """One line for a library that is missing or cannot be loaded."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error}; run `pip install -r {defaults.PROJECT_FOLDER / 'requirements.txt'}`"
    if "cv2" in (error.name or "") or "lib" in str(error):
        return (
            f"OpenCV cannot be loaded ({error}); run `apt install libgl1 libglib2.0-0`, or on a server "
            "`pip uninstall opencv-python` and `pip install 'opencv-python-headless>=4.10,<5'`"
        )
    return (
        f"{error}; run `pip install -r {defaults.PROJECT_FOLDER / 'requirements.txt'}` in a fresh virtual environment"
    )
