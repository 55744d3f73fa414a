"""What is known of a run at this moment: the one place that the page, the metrics and the MQTT topics read."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from mask_detection.inference.sinks import Sink
from mask_detection.serving.crops import face_jpeg
from mask_detection.serving.history import History
from mask_detection.serving.names import safe_names, shown_name
from mask_detection.serving.tracks import Event, TrackEvents

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.inference.detections import Detections
    from mask_detection.io.capture import SourceState
    from mask_detection.io.sources import Frame

MAX_ALARMS = 20  # that are kept
RATE_FRAMES = 30  # over which frames a second are averaged
GONE_S = 1.0  # seconds after the last frame of a source that is down
STALE_S = 5.0  # after which a source without a new frame counts as one with 0 frames a second
UNCERTAIN = "uncertain"  # what faces are counted as whose class is not certain
EVENT_TOPIC, ALARM_TOPIC, STATISTICS_TOPIC, SNAPSHOT_TOPIC = "events", "alarm", "statistics", "snapshot"
AVAILABLE_TOPIC, ALL_TOPIC = "available", "all"
RESERVED = {UNCERTAIN, ALL_TOPIC, EVENT_TOPIC, ALARM_TOPIC, STATISTICS_TOPIC, SNAPSHOT_TOPIC, AVAILABLE_TOPIC}


class Source(Protocol):
    """What is asked of a :class:`mask_detection.io.sources.VideoSource`."""

    name: str

    @property
    def state(self) -> SourceState:
        """Whether it gives frames now."""


class Listener(Protocol):
    """Hears what happens, at once, from the thread in which it does; it must not wait."""

    def on_event(self, key: str, event: Event) -> None:
        """A track of a source began, changed or ended; see :class:`mask_detection.serving.tracks.TrackEvents`."""

    def on_alarm(self, alarm: Alarm) -> None:
        """An alarm was raised."""

    def on_statistics(self, key: str, row: dict[str, Any]) -> None:
        """An interval of the statistics is over."""


@dataclass(frozen=True)
class Alarm:
    """An alarm that was raised.

    Attributes:
        number: 1 for the first of the run.
        key: of its source, see :class:`SourceView`.
        time: seconds since 1970.
        event: as the alarm's command gets it, with ``source``.
        crop: the face as a JPEG; None where crops are not kept.
    """

    number: int
    key: str
    time: float
    event: dict[str, Any]
    crop: bytes | None


@dataclass(frozen=True)
class SourceView:
    """A source at one moment.

    Attributes:
        name: what the user calls it.
        key: its name in addresses and topics.
        state: whether it gives frames, since when, and why not.
        n_frames: how many went through.
        frames_per_second: over the last frames; 0 where none came for a while.
        frame_age_s: seconds since the last frame; None before the first.
        faces: in view now, for each class and ``UNCERTAIN``.
        tracks: that have ended, likewise, by their last label.
        n_alarms: how many were raised.
        intervals: tracks that began in each interval of the last hours, by label: see :class:`History`.
        statistics: the last row, if there is one.
    """

    name: str
    key: str
    state: SourceState
    n_frames: int
    frames_per_second: float
    frame_age_s: float | None
    faces: dict[str, int]
    tracks: dict[str, int]
    n_alarms: int
    intervals: list[tuple[float, Counter[str]]]
    statistics: dict[str, Any] | None


class _Watched:
    """What is kept of one source."""

    def __init__(self, source: Source, key: str, clock: Callable[[], float]) -> None:
        self.source, self.key, self.name = source, key, shown_name(source.name)
        self.events = TrackEvents(self.name, clock)
        self.history = History()
        self.moments: deque[float] = deque(maxlen=RATE_FRAMES + 1)
        self.image: np.ndarray | None = None  # the last frame's
        self.boxes: np.ndarray | None = None  # the faces in it
        self.n_frames = self.n_alarms = 0
        self.faces: Counter[str] = Counter()
        self.tracks: Counter[str] = Counter()
        self.statistics: dict[str, Any] | None = None

    def has_gone(self, now: float) -> bool:
        """Whether it gives no frames, and those that it gave have gone through."""
        return not self.source.state.is_up and (not self.moments or now - self.moments[-1] > GONE_S)

    def frames_per_second(self, now: float) -> float:
        if len(self.moments) < 2 or now - self.moments[-1] > STALE_S:
            return 0.0
        return (len(self.moments) - 1) / max(self.moments[-1] - self.moments[0], 1e-6)


class LiveState(Sink):
    """Takes the frames of all sources, the alarms and the statistics; any thread may read.

    Attributes:
        class_names: the model's classes.
        labels: those and ``UNCERTAIN``, in the order in which counts are shown.
        label_keys: the name of each label in topics.
        listeners: who else hears of it.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        class_names: Sequence[str],
        keeps_crops: bool = False,
        conceal: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start with nothing seen.

        Args:
            sources: whose frames will come, of different names.
            class_names: the model's classes.
            keeps_crops: keep the face of each alarm.
            conceal: makes of an image (H, W, 3) and its faces, boxes (N, 4) xyxy, one in which nobody is to be
                recognized; crops are cut from it.
            clock: gives seconds since 1970.
        """
        self.class_names = tuple(class_names)
        self.labels = (*self.class_names, UNCERTAIN)
        self.label_keys = {**safe_names(self.class_names, RESERVED), UNCERTAIN: UNCERTAIN}
        self.listeners: list[Listener] = []
        self._keeps_crops, self._conceal, self._clock = keeps_crops, conceal, clock
        keys = safe_names(source.name for source in sources)
        self._sources = {source.name: _Watched(source, keys[source.name], clock) for source in sources}
        self._alarms: deque[Alarm] = deque(maxlen=MAX_ALARMS)
        self._alarm_numbers = count(1)
        self._lock = threading.RLock()

    # --- what a run gives ---

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take the next frame of any source."""
        with self._lock:
            source, now = self._sources[frame.source], self._clock()
            source.moments.append(now)
            source.n_frames += 1
            if self._keeps_crops:
                source.image, source.boxes = frame.image, detections.boxes
            labels = [UNCERTAIN if face.uncertain else face.label for face in detections]
            source.faces = Counter(labels)
            self._report(source, source.events.update(frame, detections))
            for track, label in zip(detections.tracks, labels, strict=True):
                if track is not None:
                    source.history.see(track, label, now)

    def add_alarm(self, event: dict[str, Any]) -> None:
        """Take an alarm, raised for a face of its source's last frame."""
        with self._lock:
            source = self._sources[event["source"]]
            source.n_alarms += 1
            alarm = Alarm(next(self._alarm_numbers), source.key, self._clock(), event, self._crop(source, event))
            self._alarms.append(alarm)
        for listener in self.listeners:
            listener.on_alarm(alarm)

    def add_statistics(self, row: dict[str, Any]) -> None:
        """Take a row of the statistics, of the source that it names."""
        with self._lock:
            source = self._sources[row["source"]]
            source.statistics = row
        for listener in self.listeners:
            listener.on_statistics(source.key, row)

    def close(self) -> None:
        """End all tracks."""
        with self._lock:
            for source in self._sources.values():
                self._empty(source)

    # --- what others read ---

    def check_sources(self) -> None:
        """End the tracks of sources that have gone, and count no faces there."""
        with self._lock:
            for source in self._sources.values():
                if source.has_gone(self._clock()):
                    self._empty(source)

    def views(self) -> list[SourceView]:
        """All sources as they are now."""
        self.check_sources()
        with self._lock:
            return [self._view(source) for source in self._sources.values()]

    def source_of(self, key: str) -> str | None:
        """The name that frames carry of the source with this key; None where there is no such source."""
        return next((name for name, source in self._sources.items() if source.key == key), None)

    def alarms(self) -> list[Alarm]:
        """The last alarms, the newest first."""
        with self._lock:
            return [*reversed(self._alarms)]

    def _view(self, source: _Watched) -> SourceView:
        now = self._clock()
        return SourceView(
            name=source.name,
            key=source.key,
            state=source.source.state,
            n_frames=source.n_frames,
            frames_per_second=round(source.frames_per_second(now), 1),
            frame_age_s=now - source.moments[-1] if source.moments else None,
            faces={label: source.faces[label] for label in self.labels},
            tracks={label: source.tracks[label] for label in self.labels},
            n_alarms=source.n_alarms,
            intervals=source.history.intervals(now),
            statistics=source.statistics,
        )

    def _crop(self, source: _Watched, event: dict[str, Any]) -> bytes | None:
        image = source.image
        if image is None or "box" not in event:  # a crowd has none
            return None
        if self._conceal and source.boxes is not None:
            image = self._conceal(image, source.boxes)
        return face_jpeg(image, event["box"])

    def _empty(self, source: _Watched) -> None:
        source.faces, source.image = Counter(), None
        self._report(source, source.events.end_all())

    def _report(self, source: _Watched, events: list[Event]) -> None:
        for event in events:
            track = event["after"]
            if event["type"] == "end":
                source.tracks[UNCERTAIN if track["uncertain"] else track["label"]] += 1
                source.history.end(track["track"])
            for listener in self.listeners:
                listener.on_event(source.key, event)
