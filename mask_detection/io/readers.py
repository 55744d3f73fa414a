"""Several sources at once: a thread reads each, and their frames come in turn."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from mask_detection.io.capture import SourceState
from mask_detection.io.sources import FALLBACK_FRAME_RATE, Frame, VideoSource, open_source
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.urls import without_secrets

FRAMES_AHEAD = 2  # of a file, that are read before they are asked for
LAST_WAIT_S = 1.5  # at the end for all threads; one that waits longer for a stream is left behind

logger = logging.getLogger(__name__)


class LateSource(VideoSource):
    """A source that is opened when it is first read, by the thread that reads it: others don't wait for it."""

    def __init__(self, source: str, timeout_s: float = defaults.SOURCE_TIMEOUT_S) -> None:
        """Note what to open; see :func:`open_source`."""
        super().__init__(without_secrets(source), FALLBACK_FRAME_RATE, None)
        self._state = SourceState(False, time.time(), "is not open yet")
        self._source, self._timeout_s = source, timeout_s
        self._opened: VideoSource | None = None
        self._stopped = threading.Event()

    @property
    def recording_rate(self) -> float:
        """See :meth:`VideoSource.recording_rate`."""
        return self._opened.recording_rate if self._opened else self.frame_rate

    @property
    def state(self) -> SourceState:
        """See :meth:`VideoSource.state`."""
        return self._opened.state if self._opened else self._state

    def stop(self) -> None:
        """See :meth:`VideoSource.stop`."""
        self._stopped.set()
        if self._opened:
            self._opened.stop()

    def close(self) -> None:
        """Release what is open."""
        if self._opened:
            self._opened.close()

    def __iter__(self) -> Iterator[Frame]:
        """Open it, and see :meth:`VideoSource.__iter__`."""
        try:
            opened = open_source(self._source, self._timeout_s, self._stopped)
        except MaskDetectionError:
            self._state = SourceState(False, self._state.since, "cannot be opened")
            raise
        opened.name, self._opened = self.name, opened
        self.is_live, self.frame_rate, self.frame_count = opened.is_live, opened.frame_rate, opened.frame_count
        if self._stopped.is_set():
            opened.stop()
        yield from opened


class Readers(Iterator[Frame]):
    """The frames of several sources, which share the time fairly; a context manager that ends their threads.

    The sources that have a frame give one each in turn: of a live source the newest, as those that nobody asked for are
    dropped; of a file each. A source that is lost doesn't end the others.

    Attributes:
        sources: all of them.
        lost: those that could not be read to their end, in that order.
    """

    def __init__(self, sources: Sequence[VideoSource]) -> None:
        """Take over the sources; they get released here.

        Args:
            sources: opened, or to be opened by their threads. Their names have to differ.
        """
        self.sources = tuple(sources)
        self.lost: list[VideoSource] = []
        self._changed = threading.Condition()
        self._readers = [_Reader(source, self._changed) for source in sources]
        self._next_turn = 0

    def __enter__(self) -> Readers:
        for reader in self._readers:
            reader.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        deadline = time.monotonic() + LAST_WAIT_S
        for reader in self._readers:
            reader.thread.join(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """End the iteration soon, without waiting for it; any thread may ask for it."""
        with self._changed:
            for reader in self._readers:
                reader.is_stopped = True
            self._changed.notify_all()
        for reader in self._readers:
            reader.source.stop()

    def __next__(self) -> Frame:
        """The next frame.

        Raises:
            MaskDetectionError: the only source was lost. Of several, each that is lost is logged instead.
        """
        with self._changed:
            while True:
                if frame := self._take():
                    return frame
                if all(reader.has_ended or reader.is_stopped for reader in self._readers):
                    raise StopIteration
                self._changed.wait()

    def _take(self) -> Frame | None:
        """The frame of the source whose turn it is, or of the next one that has any."""
        for i in range(len(self._readers)):
            place = (self._next_turn + i) % len(self._readers)
            reader = self._readers[place]
            if reader.frames:
                self._next_turn = place + 1
                self._changed.notify_all()
                return reader.frames.popleft()
            if reader.fault:
                self._lose(reader)
        return None

    def _lose(self, reader: _Reader) -> None:
        fault, reader.fault = reader.fault, None
        if not isinstance(fault, MaskDetectionError):
            raise fault or StopIteration
        self.lost.append(reader.source)
        if len(self._readers) == 1:
            raise fault
        logger.error("error: %s", fault)


class _Reader:
    """Reads one source in a thread of its own.

    Attributes:
        frames: those that wait to be taken.
        fault: how the reading ended, if it failed.
        has_ended: whether nothing more will come.
        is_stopped: whether nobody wants more.
    """

    def __init__(self, source: VideoSource, changed: threading.Condition) -> None:
        self.source = source
        self.frames: deque[Frame] = deque()
        self.fault: BaseException | None = None
        self.has_ended = False
        self.is_stopped = False
        self.thread = threading.Thread(target=self._read, name=f"reader of {source.name}", daemon=True)
        self._changed = changed

    def _read(self) -> None:
        fault: BaseException | None = None
        try:
            with self.source:
                for frame in self.source:
                    if not self._give(frame):
                        break
        except BaseException as error:  # whoever takes the frames is to meet it
            fault = error
        with self._changed:
            self.fault = None if self.is_stopped else fault
            self.has_ended = True
            self._changed.notify_all()

    def _give(self, frame: Frame) -> bool:
        """Lay a frame down to be taken; False when nobody wants more."""
        with self._changed:
            self._drop_stale()
            self._changed.wait_for(lambda: self.is_stopped or len(self.frames) < FRAMES_AHEAD)
            if self.is_stopped:
                return False
            self.frames.append(frame)
            self._changed.notify_all()
            return True

    def _drop_stale(self) -> None:
        if self.source.is_live:
            self.frames.clear()
