"""Outputs of a run that goes on and on, cut into files: none grows without end, and a fault costs one of them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from mask_detection.recording.retention import Manifest, Retention
from mask_detection.utils.errors import OutputError

RETRY_S = 10.0  # after a fault, such as a full disk, until the next file is begun
LEAST_FREE_BYTES = 8 << 20  # of the disk: FFmpeg writes in blocks, and OpenCV says nothing of those that fail
LOOK_AT_DISK_S = 1.0

logger = logging.getLogger(__name__)

Output = TypeVar("Output")
NextName = Callable[[], Path]


def names_by_time(path: Path) -> NextName:
    """Names with the time in UTC, ``door-20260131T091502Z.mkv``, for live sources; none that is there already."""

    def next_name() -> Path:
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        name, n = path.with_name(f"{path.stem}-{stamp}{path.suffix}"), 2
        while name.exists():
            name, n = path.with_name(f"{path.stem}-{stamp}-{n}{path.suffix}"), n + 1
        return name

    return next_name


def names_by_number(path: Path) -> NextName:
    """Names with a number, ``door-000001.mkv``, for files: the same again in another run."""
    numbers = iter(range(1, 1_000_000_000))
    return lambda: path.with_name(f"{path.stem}-{next(numbers):06}{path.suffix}")


class Segments(Generic[Output]):
    """Files one after the other, of which one is open; a fault ends that one, and another is begun a while later.

    Attributes:
        has_failed: whether something could not be written.
    """

    def __init__(
        self,
        next_name: NextName,
        open_output: Callable[[Path], AbstractContextManager[Output]],
        length_s: float,
        manifest: Manifest | None = None,
        retention: Retention | None = None,
    ) -> None:
        """Choose the files.

        Args:
            next_name: gives the next file's name.
            open_output: opens it.
            length_s: seconds of the source until the next file is begun.
            manifest: lists the files.
            retention: is asked to delete the oldest whenever one is finished.
        """
        self._next_name = next_name
        self._open_output = open_output
        self._length_s = length_s
        self._manifest = manifest
        self._retention = retention
        self.has_failed = False
        self._stack = ExitStack()
        self._path: Path | None = None
        self._output: Output | None = None
        self._began_s = 0.0
        self._retry_at = self._look_at = 0.0

    def write(self, time_s: float, write_to: Callable[[Output], object]) -> None:
        """Write something to the file of its time, in seconds of the source; what comes after a fault is dropped."""
        with self._surviving():
            if self._output is not None and time_s - self._began_s >= self._length_s:
                self._end()
            if self._output is None and time.monotonic() >= self._retry_at:
                self._begin(time_s)
            if self._output is not None and self._path:
                self._look_at_disk(self._path)
                write_to(self._output)

    def end(self) -> None:
        """Finish the file that is open, if there is one."""
        with self._surviving():
            self._end()

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            logger.error("error: %s; trying again with another file in %g s", error, RETRY_S)
            self.has_failed = True
            self._retry_at = time.monotonic() + RETRY_S
            with suppress(OutputError):  # the same once more
                self._end()

    def _end(self) -> None:
        path, self._path, self._output = self._path, None, None
        try:
            self._stack.pop_all().close()
        finally:
            if path and self._manifest:
                self._manifest.finish(path)
            if path and self._retention:
                self._retention.tidy()

    def _begin(self, time_s: float) -> None:
        path, self._look_at = self._next_name(), 0.0
        self._look_at_disk(path)
        if self._manifest:
            self._manifest.begin(path)
        self._path, self._began_s = path, time_s
        self._output = self._stack.enter_context(self._open_output(path))

    def _look_at_disk(self, path: Path) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_AT_DISK_S
        with suppress(OSError):
            if shutil.disk_usage(path.parent).free < LEAST_FREE_BYTES:
                raise OutputError(f"{path}: the disk is nearly full; make room")


class RecordWriter(Protocol):
    """A log, see :mod:`mask_detection.io.writers`."""

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""


class SegmentedLog:
    """A log of records with ``time_s``, cut into files."""

    def __init__(self, segments: Segments[RecordWriter]) -> None:
        self._segments = segments

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        self._segments.write(record["time_s"], lambda log: log.write(record))


class Video(Protocol):
    """A video in the making, see :mod:`mask_detection.io.writers`."""

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Append a frame."""


class SegmentedVideo:
    """A video cut into files; each frame is in one of them."""

    def __init__(self, segments: Segments[Video]) -> None:
        self._segments = segments

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Append a frame (H, W, 3) BGR uint8 of the time in seconds."""
        self._segments.write(time_s, lambda video: video.write(frame, time_s))
