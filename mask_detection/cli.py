"""What every command shares: exit statuses, one-line messages on standard error, default places."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mask_detection.errors import MaskDetectionError

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count it

PROJECT_FOLDER = Path(__file__).resolve().parent.parent

logger = logging.getLogger("mask_detection")


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Wrap a script's ``main(argv)``: errors become one line on standard error and the documented exit status."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        _quieten_libraries()
        _log_to_standard_error()
        try:
            return main(argv)
        except MaskDetectionError as error:
            logger.error("error: %s", error)
        except ImportError as error:
            logger.error("error: %s", _import_remedy(error))
        except KeyboardInterrupt:
            logger.error("interrupted")
            return EXIT_INTERRUPTED
        return EXIT_UNUSABLE

    return guarded


def _quieten_libraries() -> None:
    """Keep the log lines of TensorFlow, OpenCV and FFmpeg off the terminal; their errors reach the user as ours."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


class _StandardErrorHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at the moment, above a progress bar if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def _log_to_standard_error() -> None:
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _StandardErrorHandler) for handler in logger.handlers):
        logger.addHandler(_StandardErrorHandler())


def _import_remedy(error: ImportError) -> str:
    """One line for a library that is missing or cannot be loaded."""
    if "cv2" in (error.name or "") or "libGL" in str(error) or "libgthread" in str(error):
        return (
            f"OpenCV cannot be loaded ({error}); on a desktop run `apt install libgl1 libglib2.0-0`, on a server "
            "`pip uninstall opencv-python` and `pip install 'opencv-python-headless>=4.10,<5'`"
        )
    return f"{error}; run `pip install -r {PROJECT_FOLDER / 'requirements.txt'}`"
