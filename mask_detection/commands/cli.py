"""What every command shares: exit statuses, and one-line messages on standard error instead of tracebacks."""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.interrupts import one_interrupt
from mask_detection.utils.tensorflow import silent_native_libraries
from mask_detection.utils.text import one_line
from mask_detection.utils.urls import without_secrets_in_line

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count it; by SIGTERM and SIGHUP too

logger = logging.getLogger("mask_detection")


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Wrap a script's ``main(argv)``: errors become one line on standard error and the documented exit status."""

    @functools.wraps(main)
    @_logging_to_standard_error()
    def guarded(argv: Sequence[str] | None = None) -> int:
        with one_interrupt(for_good=argv is None):  # as a script, this process ends now
            try:
                return run(argv)
            except KeyboardInterrupt:
                logger.error("interrupted")
                return EXIT_INTERRUPTED

    def run(argv: Sequence[str] | None) -> int:
        _quieten_libraries()
        if reconfigure := getattr(sys.stdout, "reconfigure", None):  # a notebook's standard output has no such thing
            # File names may hold what the terminal cannot show; and the log of a long run should show where it is.
            reconfigure(errors="backslashreplace", line_buffering=True)
        try:
            with silent_native_libraries():
                return main(argv)
        except MaskDetectionError as error:
            logger.error("error: %s", error)
        except ImportError as error:
            logger.error("error: %s", import_remedy(error))
        except BrokenPipeError:  # the reader of our standard output has left, as `| head` does
            _discard_unwritable(sys.stdout)
            return EXIT_SOME_FAILED
        except OSError as error:  # such as a folder that denies entry, or standard output on a full disk
            place, reason = error.filename or "standard output", error.strerror or error
            logger.error("error: %s: cannot be used (%s); check the path, its permissions and the disk", place, reason)
            _discard_unwritable(sys.stdout)
        return EXIT_UNUSABLE

    return guarded


def _discard_unwritable(stream: TextIO) -> None:
    """Keep Python from trying once more, at exit, to write what standard output or standard error did not take."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def decide_display(no_display: bool, has_output: bool, output_options: str) -> bool:
    """Tell whether to open a window.

    Raises:
        MaskDetectionError: there is neither a window nor anything to write.
    """
    from mask_detection.io.window import can_show_window

    shows = not no_display and can_show_window()
    if not shows and not has_output:
        reason = "--no-display is given" if no_display else "no window can be opened here"
        raise MaskDetectionError(f"nothing to do: {reason} and no output is asked for; add {output_options}")
    return shows


def exit_status(failed: int, total: int) -> int:
    """0 when all inputs were done, 1 when some failed, 2 when none could be done."""
    if not failed:
        return EXIT_DONE
    return EXIT_SOME_FAILED if failed < total else EXIT_UNUSABLE


def _quieten_libraries() -> None:
    """Spare OpenCV and FFmpeg log lines that nobody sees, and the terminal Pillow's warnings."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(defaults.MAX_PIXELS))
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    warnings.filterwarnings("ignore", module="PIL")


class _StandardErrorHandler(logging.Handler):
    """Writes one line to whatever ``sys.stderr`` is at the moment, above a progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        line = without_secrets_in_line(self.format(record))  # wherever an address was given: as an image, too
        try:
            tqdm.write(one_line(line), file=sys.stderr)  # file names may hold line breaks, and what terminals obey
        except OSError:  # such as that of a terminal that was closed: nobody reads it
            _discard_unwritable(sys.stderr)


@contextmanager
def _logging_to_standard_error() -> Iterator[None]:
    """Log while a command runs; a program or notebook that calls it has its own way before and after."""
    if any(isinstance(handler, _StandardErrorHandler) for handler in logger.handlers):  # one command runs another
        yield
        return
    handler, level = _StandardErrorHandler(), logger.level
    nothing = logging.NullHandler()  # without any, libraries' lines would be printed, or they would add one of theirs
    logging.getLogger().addHandler(nothing)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(nothing)
        logger.removeHandler(handler)
        logger.setLevel(level)


def require_ray() -> None:
    """Import Ray before anything that needs it is begun.

    Raises:
        MaskDetectionError: it is missing.
    """
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # read at the import: Ray would start again when interrupted
    try:
        import ray.data  # noqa: F401
    except ModuleNotFoundError as error:
        remedy = f"`pip install -r {defaults.PROJECT_FOLDER / 'requirements-cluster.txt'}`"
        raise MaskDetectionError(f"{error}; this needs Ray: run {remedy}") from None


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
