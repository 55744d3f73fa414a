"""Trying networks in a child process before they are loaded in this one: OpenCV crashes at some that are damaged."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from mask_detection.utils import downloads, sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole, written_whole

TRIAL_S = 60.0
TRIAL_CPU_S = 10  # on the processor; what is whole takes one or two, start included
TRIAL = """
import sys
from contextlib import suppress
from pathlib import Path
from mask_detection.models import opencv_detectors
from mask_detection.utils import sandbox
from mask_detection.models import trial
sandbox.limit_processor_time(trial.TRIAL_CPU_S)
with suppress(Exception):  # it comes again in the parent process, which tells of it
    getattr(opencv_detectors, sys.argv[1])(*map(Path, sys.argv[2:]))
"""
MAX_REMEMBERED = 100


def survive(loader: str, *files: Path) -> None:
    """Load files that nobody has checked where it does no harm; what went well is remembered in the cache folder.

    Args:
        loader: name of the function in :mod:`mask_detection.models.opencv_detectors` that loads them.
        files: its arguments.

    Raises:
        MaskDetectionError: it crashes or doesn't end.
    """
    if all(map(downloads.is_known, files)):
        return
    digest = hashlib.sha256(b"".join(hashlib.sha256(read_whole(file, "a network")).digest() for file in files))
    record = user_cache_path("face-mask-detection", appauthor=False) / "networks_tried.txt"
    tried = record.read_text(encoding="ascii").split() if record.is_file() else []
    if digest.hexdigest() in tried:
        return
    if fault := sandbox.run_probe(TRIAL, TRIAL_S, loader, *(str(file.resolve()) for file in files)).fault:
        names = " or ".join(map(str, files))
        raise MaskDetectionError(f"{names}: is damaged so that OpenCV crashes ({fault}); delete it and get it again")
    with suppress(OSError, MaskDetectionError):  # nothing is lost but time
        record.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(record) as part:
            part.write_text("\n".join([*tried[1 - MAX_REMEMBERED :], digest.hexdigest()]), encoding="ascii")
