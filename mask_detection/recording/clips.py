"""Clips of what surrounds alarms: until one comes, the last seconds wait in memory as JPEGs."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from mask_detection.inference.sinks import Sink
from mask_detection.recording.segments import Segments, Video

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame

MAX_WAITING_BYTES = 64 << 20  # of JPEGs, a source
JPEG_QUALITY = 90
WRITTEN_AT_ONCE = 3  # frames that waited, at each new one: so an alarm makes no pause


class _Waiting(NamedTuple):
    """A frame that may become part of a clip: its time, the gaps until then, and itself as (n_bytes,) uint8."""

    time_s: float
    gap_s: float
    jpeg: np.ndarray


class Clips(Sink):
    """Writes the frames of one source that surround alarms; it takes them as they are to be seen."""

    def __init__(self, segments: Segments[Video], before_s: float, after_s: float) -> None:
        """Choose what is kept and where.

        Args:
            segments: a file a clip.
            before_s: seconds before the alarm.
            after_s: seconds after it; another alarm in that time makes the clip longer.
        """
        self._segments = segments
        self._before_s = before_s
        self._after_s = after_s
        self._waiting: deque[_Waiting] = deque()
        self._n_bytes = 0
        self._until_s: float | None = None  # where the clip that has begun ends

    def on_alarm(self, event: dict[str, Any]) -> None:
        """Begin a clip, or make the one that has begun longer."""
        if self._until_s is None:
            self._drop_before(event["time_s"] - self._before_s)
        self._until_s = event["time_s"] + self._after_s

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take the next frame."""
        _, jpeg = cv2.imencode(".jpg", frame.image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        self._waiting.append(_Waiting(frame.time_s, frame.gap_s, jpeg))
        self._n_bytes += jpeg.nbytes
        if self._until_s is None:
            self._drop_before(frame.time_s - self._before_s)
            return
        self._write_some(self._until_s, WRITTEN_AT_ONCE)
        if self._waiting and self._waiting[0].time_s > self._until_s:
            self._end()

    def close(self) -> None:
        """Finish the clip that has begun."""
        if self._until_s is not None:
            self._write_some(self._until_s, len(self._waiting))
            self._end()

    def _drop_before(self, time_s: float) -> None:
        while self._waiting and (self._waiting[0].time_s < time_s or self._is_full()):
            self._take()

    def _is_full(self) -> bool:
        return self._n_bytes > MAX_WAITING_BYTES and len(self._waiting) > 1

    def _take(self) -> _Waiting:
        taken = self._waiting.popleft()
        self._n_bytes -= taken.jpeg.nbytes
        return taken

    def _write_some(self, until_s: float, n_frames: int) -> None:
        while self._waiting and self._waiting[0].time_s <= until_s and (n_frames > 0 or self._is_full()):
            n_frames -= 1
            time_s, gap_s, jpeg = self._take()
            self._segments.write(time_s - gap_s, partial(_write, jpeg, time_s - gap_s))

    def _end(self) -> None:
        self._until_s = None
        self._segments.end()


def _write(jpeg: np.ndarray, time_s: float, video: Video) -> None:
    video.write(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)), time_s)
