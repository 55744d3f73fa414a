"""The newest annotated frame of each source as a JPEG, made once for all who wait for it, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mask_detection.inference.sinks import Sink
from mask_detection.serving.crops import at_most

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame

MAX_RATE = 10.0  # frames a second
LONGEST_SIDE = 1280  # pixels
QUALITY = 80  # of the JPEG, 0..100


class Pictures(Sink):
    """Hands annotated frames from the run's thread to the server's, which waits for them in an event loop.

    Nobody who waits means no work: the run need not even draw. Someone who looks but doesn't read what was sent
    doesn't wait for the next.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without frames.

        Args:
            clock: gives seconds.
        """
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, asyncio.Future[bytes]] = {}  # touched in the loop alone
        self._wanted: set[str] = set()  # the sources of ``_waiting`` that have not got their frame yet
        self._due: dict[str, float] = {}  # when a source's next frame may be taken

    # --- the run's side ---

    def wants(self, source: str) -> bool:
        """Tell whether somebody waits for a frame of this source, and it is time for one."""
        return source in self._wanted and self._clock() >= self._due.get(source, 0.0)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take the newest annotated frame, whose image nobody changes any more, where it is wanted."""
        source = frame.source
        if not self.wants(source) or self._loop is None:
            return
        self._wanted.discard(source)
        self._due[source] = max(self._due.get(source, 0.0) + 1 / MAX_RATE, self._clock())
        try:
            self._loop.call_soon_threadsafe(self._hand_out, source, frame.image)
        except RuntimeError:  # the server has ended
            self._loop = None

    # --- the server's side ---

    async def next(self, source: str) -> bytes:
        """Wait for the next frame of a source, as a JPEG."""
        self._loop = asyncio.get_running_loop()
        if source not in self._waiting:
            self._waiting[source] = self._loop.create_future()
            self._wanted.add(source)
        return await asyncio.shield(self._waiting[source])

    def _hand_out(self, source: str, image: np.ndarray) -> None:
        task = asyncio.ensure_future(asyncio.to_thread(_encode, image))
        task.add_done_callback(lambda _: self._fulfil(source, task))

    def _fulfil(self, source: str, task: asyncio.Future[bytes]) -> None:
        waiting = self._waiting.pop(source)
        if task.cancelled():
            waiting.cancel()
        elif error := task.exception():
            waiting.set_exception(error)
        else:
            waiting.set_result(task.result())


def _encode(image: np.ndarray) -> bytes:
    _, data = cv2.imencode(".jpg", at_most(image, LONGEST_SIDE), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()
