"""OpenCV's cameras and streams: found, opened with time-outs, and opened again when they drop."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

import cv2
import numpy as np

from mask_detection.io import ffmpeg
from mask_detection.utils import sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.urls import scheme_of

logger = logging.getLogger(__name__)

N_CAMERAS = 4  # that are looked for, from index 0
SEARCH_TIMEOUT_S = 30.0
OPEN_TIMEOUT_S = 10.0  # FFmpeg looks at a slow stream for up to 5 s before it knows the format
READ_TIMEOUT_S = 5.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
WARM_UP_S = 1.0  # cameras that give empty frames at first are read again until the pauses are so long


class Camera(NamedTuple):
    """A camera that opens.

    Attributes:
        source: what ``--source`` calls it.
        size: of its frames, such as ``640 x 480``; empty where it gives none.
    """

    source: str
    size: str

    def __str__(self) -> str:
        return f"{self.source} ({self.size})"


class CameraSearch(NamedTuple):
    """What a search for cameras found.

    Attributes:
        cameras: those that open.
        fault: how the search failed before its end, in a few words; empty where it didn't.
    """

    cameras: list[Camera]
    fault: str = ""


def find_cameras(timeout_s: float = SEARCH_TIMEOUT_S) -> CameraSearch:
    """Open the cameras 0 to 3 for a moment, silently; what doesn't answer in ``timeout_s`` seconds counts as none."""
    lines, fault = sandbox.run(print_cameras, timeout_s=timeout_s)
    return CameraSearch([Camera(source, " x ".join(size)) for source, *size in map(str.split, lines)], fault)


def print_cameras() -> None:
    """Print index, width and height of each camera that opens, or the index alone where it gives no frame."""
    for index in range(N_CAMERAS):
        capture = cv2.VideoCapture(index)
        if capture.isOpened():
            frame = read_frame(capture)
            print(index, *(() if frame is None else frame.shape[1::-1]), flush=True)


def open_camera(source: str) -> cv2.VideoCapture:
    """Open a camera by its index or, on Linux, its device file; check ``isOpened``."""
    return cv2.VideoCapture(int(source)) if source.isdecimal() else cv2.VideoCapture(source, cv2.CAP_V4L2)


def open_stream(address: str, timeout_s: float, formats: str = "") -> cv2.VideoCapture:
    """Open an address with FFmpeg; check ``isOpened``.

    Args:
        address: such as ``http://…`` or ``rtsp://…``, its scheme one of ``ffmpeg.ADDRESSES``.
        timeout_s: for opening it and for each frame, where that is less than the time-outs here.
        formats: FFmpeg's names of those that it may have; by default all that suit the kind of address.
    """
    limits_s = (_limited(OPEN_TIMEOUT_S, timeout_s), _limited(READ_TIMEOUT_S, timeout_s))
    open_ms, read_ms = (math.ceil(1000 * limit_s) for limit_s in limits_s)
    parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_ms]
    scheme = scheme_of(address)  # FFmpeg knows it in small letters only
    access = ffmpeg.ADDRESSES[scheme]
    access = access._replace(formats=formats or access.formats)
    return ffmpeg.open_capture(scheme + address[len(scheme) :], access, parameters)


def has_length(address: str, timeout_s: float) -> bool:
    """Ask a server how long its answer is, which it knows of a file and not of a live stream; False if it doesn't say.

    Args:
        address: ``http://…`` or ``https://…``.
        timeout_s: for the answer, where that is less than the time-out here.
    """
    try:
        parts = urlsplit(address)
        user, is_given, host = parts.netloc.rpartition("@")
        request = Request(urlunsplit(parts._replace(netloc=host)))  # noqa: S310 (see above)
        if is_given:  # and stays with this server where it redirects to another
            secret = b64encode(unquote(user).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {secret}")
        with urlopen(request, timeout=_limited(READ_TIMEOUT_S, timeout_s)) as answer:  # noqa: S310
            return "Content-Length" in answer.headers
    except (OSError, ValueError, HTTPException):
        return False


def _limited(limit_s: float, timeout_s: float) -> float:
    return min(limit_s, timeout_s) or limit_s  # 0 would be no limit to FFmpeg


def read_frame(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The next frame, (H, W, 3) BGR uint8; None where it is empty or there is none."""
    arrived, image = capture.read()
    return image if arrived and image is not None and image.size else None


def growing_pauses(timeout_s: float, wait: Callable[[float], bool]) -> Iterator[float]:
    """Wait, then yield how long, until the time is up or waiting returned True."""
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while (left_s := deadline - time.monotonic()) > 0 and not wait(min(pause_s, left_s)):
        yield pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _is_same(image: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two frames are equal, and not because a camera in the dark gives nothing but black."""
    return np.array_equal(image, other) and int(image.min()) != int(image.max())


@dataclass(frozen=True)
class SourceState:
    """Whether a source gives frames.

    Attributes:
        is_up: so it does.
        since: when that began, in seconds as ``time.time`` gives them.
        reason: why it doesn't, in a few words; None where it does.
    """

    is_up: bool
    since: float
    reason: str | None = None


class LiveCapture:
    """An open camera or stream that is opened again, after growing pauses, when it drops.

    One thread may read while another closes; closing waits for what is being read or opened, up to its time-out.

    Attributes:
        gap_s: seconds without frames so far, because the source had dropped.
        state: whether it gives frames now.
    """

    def __init__(
        self,
        name: str,
        capture: cv2.VideoCapture,
        open_again: Callable[[], cv2.VideoCapture],
        timeout_s: float,
        warm_up_s: float = 0.0,
        ends_at_repeat: bool = False,
    ) -> None:
        """Take over an open capture.

        Args:
            name: for messages.
            capture: it gets released here.
            open_again: makes another one like it.
            timeout_s: how long to try to get a frame before the source is given up.
            warm_up_s: until pauses are longer than this, an empty frame is only read again.
            ends_at_repeat: whether it may be a clip, which has ended where it starts anew with the same frame.
        """
        self.gap_s = 0.0
        self.state = SourceState(False, time.time(), "gave no frame yet")
        self._name = name
        self._capture = capture
        self._open_again = open_again
        self._timeout_s = timeout_s
        self._read_timeout_s = _limited(READ_TIMEOUT_S, timeout_s)
        self._warm_up_s = warm_up_s
        self._ends_at_repeat = ends_at_repeat
        self._in_use = threading.Lock()
        self._closed = threading.Event()

    def stop(self) -> None:
        """End the iteration soon, also in the middle of a pause, without waiting for that."""
        self._closed.set()

    def close(self) -> None:
        """Release the source and end the iteration, also in the middle of a pause."""
        self._closed.set()
        with self._in_use:
            self._capture.release()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames, (H, W, 3) BGR uint8, until closed; their size may change.

        Raises:
            MaskDetectionError: there was none for ``timeout_s``.
        """
        first = np.empty(0, np.uint8)
        for n_images in itertools.count():
            asked_at = time.monotonic()
            image = self._read()
            if image is None:
                self._set_down("gives no frame" if n_images else "gave no frame yet")
                image = self._retry(n_images)
                if image is None:
                    self._set_down("was closed")
                    return
                if self._ends_at_repeat and _is_same(image, first):
                    logger.warning(
                        "%s: starts anew with the same frame; it is taken for a clip that has ended", self._name
                    )
                    return
                if n_images:  # before the first frame there is nothing to miss
                    gap_s = time.monotonic() - asked_at
                    self.gap_s += gap_s
                    logger.warning("%s: is back after %.1f s", self._name, gap_s)
            if not self.state.is_up:
                self.state = SourceState(True, time.time())
            first = first if n_images else image.copy()  # the user may draw on it
            yield image

    def _read(self, opens_again: bool = False) -> np.ndarray | None:
        with self._in_use:
            if self._closed.is_set():
                return None
            if opens_again:
                self._capture.release()
                self._capture = self._open_again()
            started = time.monotonic()
            image = read_frame(self._capture)
            # After its time-out, FFmpeg's decoder still hands out what it held back: up to a frame a core, 5 s apart.
            is_late = time.monotonic() - started > self._read_timeout_s
            return None if is_late else image

    def _retry(self, n_images: int) -> np.ndarray | None:
        """The first frame after none came; None when the source was closed."""
        if n_images:
            logger.warning("%s: gives no more frames; trying again for %g s", self._name, self._timeout_s)
        for pause_s in growing_pauses(self._timeout_s, self._closed.wait):
            image = self._read(opens_again=pause_s >= self._warm_up_s)
            if image is not None:
                return image
        if self._closed.is_set():
            return None
        self._set_down("is lost")
        raise MaskDetectionError(self._fault(n_images))

    def _set_down(self, reason: str) -> None:
        self.state = SourceState(False, self.state.since if not self.state.is_up else time.time(), reason)

    def _fault(self, n_images: int) -> str:
        if not n_images:
            return f"{self._name}: gives no frame within {self._timeout_s:g} s; check that it plays in a video player"
        return (
            f"{self._name}: stopped giving frames after {n_images} and did not come back within "
            f"{self._timeout_s:g} s; check its connection"
        )
