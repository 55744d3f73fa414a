"""Where a video's frames come from: video files, folders of frames, cameras and streams."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from mask_detection.io import ffmpeg
from mask_detection.io.capture import (
    WARM_UP_S,
    LiveCapture,
    SourceState,
    find_cameras,
    growing_pauses,
    has_length,
    open_camera,
    open_stream,
    read_frame,
)
from mask_detection.io.clock import FileClock
from mask_detection.io.image_files import list_image_files
from mask_detection.io.images import read_image
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.urls import safe_name, scheme_of, without_file_scheme, without_secrets

logger = logging.getLogger(__name__)

FALLBACK_FRAME_RATE = 30.0  # frames per second, for sources that don't know their own
IMPLAUSIBLE_FRAME_RATE = 1000.0  # frames per second; some containers give their clock's ticks instead
SAME_RATE = 0.05  # the fraction by which intervals vary in files of one rate, too
MAX_RECORDING_RATE = 120.0  # frames per second
FRAMES_FOR_RATE = 31
HTTP = ("http", "https")
CAMERA_FORMAT = "mpjpeg"  # FFmpeg's name of Motion JPEG over HTTP, which is never a file
CAMERA_FILES = ("/dev/video", "/dev/v4l/")
LONGEST_INDEX = 9  # digits
CAMERA_SEARCH_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Frame:
    """An image of a video, and when it was.

    Attributes:
        image: (H, W, 3) BGR uint8.
        index: 0 for the first frame.
        time_s: seconds from the start.
        time: the time of day when a live source gave it, ISO 8601 in UTC; None for a file.
        gap_s: seconds until then in which a live source had dropped and gave nothing.
        source: the name of the source, see :class:`VideoSource`.
    """

    image: np.ndarray
    index: int
    time_s: float
    time: str | None = None
    gap_s: float = 0.0
    source: str = ""

    def moment(self) -> dict[str, Any]:
        """Number, time, and gaps if there were any, as they stand in the log."""
        moment: dict[str, Any] = {"frame": self.index, "time_s": round(self.time_s, 3)}
        if self.time:
            moment["time"] = self.time
        if self.gap_s:
            moment["gap_s"] = round(self.gap_s, 3)
        return moment


class VideoSource(ABC):
    """An iterator of frames, made by :func:`open_source`; a context manager that releases what is open at the end.

    Attributes:
        name: a short one that stands in lines and file names, see :func:`mask_detection.utils.urls.safe_name`.
        address: what the user called it, without secrets.
        is_live: True for a camera or a stream, which has no end of its own.
        frame_rate: frames per second, ``FALLBACK_FRAME_RATE`` where the source doesn't know.
        frame_count: how many frames a file announces, None where that is unknown.
    """

    is_live = False

    def __init__(self, address: str, frame_rate: float, frame_count: int | None) -> None:
        self.name = safe_name(address)
        self.address = address
        self.frame_rate = frame_rate
        self.frame_count = frame_count
        self._state = SourceState(True, time.time())

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def recording_rate(self) -> float:
        """Frames per second that a recording of the source needs."""
        return self.frame_rate

    @property
    def state(self) -> SourceState:
        """Whether it gives frames now; any thread may ask."""
        return self._state

    def stop(self) -> None:  # noqa: B027 (what has an end gives its next frame soon)
        """Let the iteration end soon, also in the middle of a pause; any thread may ask for it, and doesn't wait."""

    def close(self) -> None:  # noqa: B027 (a folder holds nothing open)
        """Release what is open."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            MaskDetectionError: there is no frame at all, or the source ended for good before its end.
        """


class RecordedVideo(VideoSource):
    """A video with an end: a file, on disk or behind an address."""

    def __init__(self, address: str, capture: cv2.VideoCapture, path: Path | None = None) -> None:
        """Take over an open capture; it gets released here.

        Args:
            address: for messages.
            capture: at its first frame.
            path: where the file is, if it is on disk.
        """
        super().__init__(address, *_rate_and_count(capture))
        self._capture = capture
        self._path = path
        self._raw_rate, self._raw_count = (capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))

    @property
    def recording_rate(self) -> float:
        """See :meth:`VideoSource.recording_rate`. A file's rate may be a mean, or the ticks of a clock."""
        usual = _rate_at_start(self._path) if self._path else None
        if usual is None or abs(usual - self.frame_rate) <= SAME_RATE * self.frame_rate:
            return self.frame_rate
        return min(usual, MAX_RECORDING_RATE)

    def close(self) -> None:
        """Release the file."""
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """See :meth:`VideoSource.__iter__`."""
        clock = FileClock(self.frame_rate)
        for index in count():
            image = read_frame(self._capture)
            if image is None:
                self._state = SourceState(False, time.time(), "has ended")
                self._check_end(index, clock)
                return
            yield Frame(image, index, clock.time_of(index, _timestamp(self._capture)), source=self.name)

    def _check_end(self, frames_read: int, clock: FileClock) -> None:
        if frames_read == 0:
            raise MaskDetectionError(f"{self.address}: gives no frame; check that it plays in a video player")
        # Containers round the number of frames, or make it of duration and rate, which means nothing where the rate
        # varies. So time has to be missing, too: a second, and where the rate varies what the last frame may last.
        if not (self._raw_rate > 0 and frames_read < self._raw_count - self._raw_rate):
            return
        missing_s = (self._raw_count - 1) / self._raw_rate - clock.last_s
        if missing_s <= (1.0 if clock.is_regular else 1.0 + 2 * clock.longest_gap_s):
            return
        seconds = f"{clock.last_s:.1f} of {clock.last_s + missing_s:.1f} s"
        done = f"{frames_read} of {self.frame_count} frames" if self.frame_count and clock.is_regular else seconds
        raise MaskDetectionError(
            f"{self.address}: breaks off after {done}; the file is damaged or incomplete, get it again"
        )


class FrameFolder(VideoSource):
    """A folder of images, in the order of the numbers in their names; they may differ in size."""

    def __init__(self, folder: Path) -> None:
        """List the images.

        Raises:
            MaskDetectionError: there are none.
        """
        self._files = sorted(list_image_files(folder, subfolders=False, counts_others=True), key=_by_number)
        if not self._files:
            raise MaskDetectionError(f"{folder}: no images are there; give a video file, or a folder of frames")
        super().__init__(str(folder), FALLBACK_FRAME_RATE, len(self._files))

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; one that cannot be read is reported and excluded, and counts in the error at the end."""
        n_failed = 0
        for index, path in enumerate(self._files):
            try:
                image = read_image(path)
            except MaskDetectionError as error:
                logger.error("error: %s", error)
                n_failed += 1
            else:
                yield Frame(image, index, index / self.frame_rate, source=self.name)
        self._state = SourceState(False, time.time(), "has ended")
        if n_failed:
            raise MaskDetectionError(
                f"{self.address}: {n_failed} of {self.frame_count} frames cannot be read; repair or remove them"
            )


class LiveVideo(VideoSource):
    """A camera or stream, which goes on until it is closed or is gone for good."""

    is_live = True

    def __init__(self, address: str, capture: LiveCapture, frame_rate: float) -> None:
        """Take over an open capture; it gets released here."""
        super().__init__(address, frame_rate, None)
        self._capture = capture

    @property
    def state(self) -> SourceState:
        """See :meth:`VideoSource.state`."""
        return self._capture.state

    def stop(self) -> None:
        """See :meth:`VideoSource.stop`."""
        self._capture.stop()

    def close(self) -> None:
        """Release the camera or stream; see :meth:`mask_detection.io.capture.LiveCapture.close`."""
        self._capture.close()

    def __iter__(self) -> Iterator[Frame]:
        """See :meth:`VideoSource.__iter__`."""
        started = time.monotonic()
        for index, image in enumerate(self._capture):
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            yield Frame(image, index, time.monotonic() - started, now, self._capture.gap_s, self.name)


def open_source(
    source: str, timeout_s: float = defaults.SOURCE_TIMEOUT_S, stopped: threading.Event | None = None
) -> VideoSource:
    """Open where frames come from.

    Args:
        source: a camera's index such as ``"0"`` or its device file, a video file, a folder of frames, or an address
            such as ``http://…`` or ``rtsp://…``.
        timeout_s: how long a camera or stream may give no frame, at first or after it dropped, before it is given up.
        stopped: when it is set, a stream that is not there is waited for no longer.

    Raises:
        MaskDetectionError: it is missing, not a video, or cannot be opened.
    """
    if source.isdecimal() or source.startswith(CAMERA_FILES):
        return _open_camera(source, timeout_s)
    if scheme_of(source) not in ("", "file"):
        return _open_address(source, timeout_s, stopped or threading.Event())
    try:
        path = Path(without_file_scheme(source))
        return FrameFolder(path) if path.is_dir() else _open_file(path)
    except (OSError, ValueError) as error:  # such as a name that is too long, or holds a null
        reason = getattr(error, "strerror", None) or error
        raise MaskDetectionError(f"{without_secrets(source)}: cannot be opened ({reason}); check the path") from None


def _open_camera(source: str, timeout_s: float) -> VideoSource:
    if len(source) > LONGEST_INDEX and source.isdecimal():  # beyond what OpenCV can be asked for
        raise MaskDetectionError(f"camera {source[:LONGEST_INDEX]}…: does not open; {_other_cameras()}")
    capture = open_camera(source)
    if not capture.isOpened():
        raise MaskDetectionError(f"camera {source}: does not open; {_other_cameras()}")
    live = LiveCapture(f"camera {source}", capture, lambda: open_camera(source), timeout_s, WARM_UP_S)
    return LiveVideo(source, live, _rate_and_count(capture)[0])


def _other_cameras() -> str:
    cameras, _ = find_cameras(CAMERA_SEARCH_TIMEOUT_S)
    usable = ", ".join(str(camera) for camera in cameras if camera.size)
    if usable:
        return f"these do: {usable}; check that it is plugged in and free, or try another --source"
    return "nor does another; check that one is plugged in and free, and that the system's settings allow access to it"


def _open_address(address: str, timeout_s: float, stopped: threading.Event) -> VideoSource:
    name = without_secrets(address)
    if scheme_of(address) not in ffmpeg.ADDRESSES:
        raise MaskDetectionError(f"{name}: is no address that is read here; use one of {', '.join(ffmpeg.ADDRESSES)}")
    capture, formats = _wait_for(address, name, timeout_s, stopped)
    may_be_clip = scheme_of(address) in HTTP and formats != CAMERA_FORMAT
    # A file on a server has an end; opening it again would start it anew.
    if capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0 or (may_be_clip and has_length(address, timeout_s)):
        return RecordedVideo(name, capture)
    again = partial(open_stream, address, timeout_s, formats)
    live = LiveCapture(name, capture, again, timeout_s, ends_at_repeat=may_be_clip)
    return LiveVideo(name, live, _rate_and_count(capture)[0])


def _wait_for(address: str, name: str, timeout_s: float, stopped: threading.Event) -> tuple[cv2.VideoCapture, str]:
    """Open an address as soon as it is there; return with it the formats that it may have, empty for all.

    Raises:
        MaskDetectionError: it didn't open within ``timeout_s``, or until ``stopped`` was set.
    """
    for n_tries, _ in enumerate(chain([0.0], growing_pauses(timeout_s, stopped.wait))):
        # Asked first whether it is a camera's, as cameras may serve one client at a time, and each only once.
        for formats in (CAMERA_FORMAT, "") if scheme_of(address) in HTTP else ("",):
            capture = open_stream(address, timeout_s, formats)
            if capture.isOpened():
                return capture, formats
        if not n_tries:
            logger.warning("%s: does not open; trying again for %g s", name, timeout_s)
    raise MaskDetectionError(f"{name}: does not open; {_remedy(address)}")


def _remedy(address: str) -> str:
    if urlsplit(address).path.lower().endswith(ffmpeg.PLAYLIST_SUFFIXES):
        return "it looks like a playlist, which could name any host; give the address of the stream itself"
    return "check the address and that the stream runs"


def _open_file(path: Path) -> VideoSource:
    if not path.exists():
        name = without_secrets(str(path))  # it may be a mistyped address
        raise MaskDetectionError(f"{name}: no such video file; check the path, or give a camera's index such as 0")
    if not path.is_file():
        raise MaskDetectionError(f"{path}: is a pipe or device and no video file; save the video as a file first")
    if path.stat().st_size == 0:
        raise MaskDetectionError(f"{path}: is empty (0 bytes); get the video again")
    if ffmpeg.is_playlist(path):
        raise MaskDetectionError(f"{path}: is a playlist, which names other files; give one of them")
    capture = ffmpeg.open_capture(str(path.absolute()), ffmpeg.FILE)
    if not capture.isOpened():
        raise MaskDetectionError(
            f"{path}: is not a video that OpenCV can read; convert it to .mp4, for instance with ffmpeg"
        )
    return RecordedVideo(str(path), capture, path)


def _rate_and_count(capture: cv2.VideoCapture) -> tuple[float, int | None]:
    """Frames per second, and how many there are; where the rate makes no sense, neither does the count made from it."""
    rate, n_frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    if not 0 < rate < IMPLAUSIBLE_FRAME_RATE:  # NaN too
        return FALLBACK_FRAME_RATE, None
    return rate, int(n_frames) if n_frames > 0 else None


def _timestamp(capture: cv2.VideoCapture) -> float:
    """The file's timestamp of the frame that was read last, in seconds; 0 where it has none."""
    milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
    return milliseconds / 1000 if math.isfinite(milliseconds) else 0.0


def _rate_at_start(path: Path) -> float | None:
    """Frames per second that show nearly all of a file's first frames in time; None where timestamps say nothing."""
    capture = ffmpeg.open_capture(str(path.absolute()), ffmpeg.FILE)
    stamps = [_timestamp(capture) for _ in range(FRAMES_FOR_RATE) if capture.grab()]
    capture.release()
    steps = np.diff(stamps)
    return 1 / float(np.quantile(steps, 0.1)) if steps.size and np.all(steps > 0) else None


def _by_number(path: Path) -> list[str | int]:
    """Sorts 10.png behind 9.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]
