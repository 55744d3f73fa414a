"""Statistics of a whole video: how many faces, each for how long, and how much of that time with a mask."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.inference.classes import is_masked
from mask_detection.inference.sinks import Sink
from mask_detection.utils.files import atomic_write, check_can_write
from mask_detection.utils.interrupts import finishing

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame

MAX_TRACKS = 100_000  # listed, the latest: a camera may run for months. The totals are over all of them.
NOTE = "a track is a face followed without a long break, not a person: who leaves and comes back is counted again"

Seconds = defaultdict[str | None, float]  # by label; None is the time in which the label was uncertain


@dataclass
class _TrackTimes:
    first_s: float
    last_s: float
    label: str | None = None
    seconds: Seconds = field(default_factory=lambda: defaultdict(float))


class VideoSummary(Sink):
    """Adds up the frames of one video.

    The time between two sightings of a track counts for the label at the first of them.

    Attributes:
        frames: how many were added.
    """

    def __init__(self, source: str) -> None:
        """Start adding up.

        Args:
            source: what the user calls the video.
        """
        self.frames = 0
        self._source = source
        self._class_names: tuple[str, ...] = ()
        self._first_s = self._last_s = 0.0
        self._faces: Counter[str] = Counter()
        self._seconds: Seconds = defaultdict(float)
        self._n_tracks = 0
        self._tracks: dict[int, _TrackTimes] = {}

    def write(self, frame: Frame, detections: Detections) -> None:
        """Add the next frame."""
        self._first_s = self._first_s if self.frames else frame.time_s
        self._last_s = frame.time_s
        self.frames += 1
        self._class_names = detections.class_names
        self._faces.update(detections.labels)
        for track_id, label, is_uncertain in zip(
            detections.tracks, detections.labels, detections.uncertain, strict=True
        ):
            if track_id is not None:
                self._add_sighting(track_id, frame.time_s, None if is_uncertain else label)

    def _add_sighting(self, track_id: int, time_s: float, label: str | None) -> None:
        if track_id not in self._tracks:
            self._n_tracks += 1
            self._tracks[track_id] = _TrackTimes(time_s, time_s)
        track = self._tracks[track_id]
        for seconds in (track.seconds, self._seconds):
            seconds[track.label] += time_s - track.last_s
        track.last_s, track.label = time_s, label
        if len(self._tracks) > MAX_TRACKS:
            del self._tracks[next(iter(self._tracks))]

    @property
    def mask_wearing_rate(self) -> float | None:
        """The fraction of all tracks' time with a certain label that was with a mask; None where it is undefined.

        That is so before any certain label, and for a model without a class that is known to mean a mask.
        """
        known = {name: self._seconds[name] for name in self._class_names}
        if not sum(known.values()) or not any(map(is_masked, known)):
            return None
        return sum(seconds for name, seconds in known.items() if is_masked(name)) / sum(known.values())

    def to_record(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        tracks = [
            {"track": track_id, "first_s": round(track.first_s, 3), "last_s": round(track.last_s, 3)}
            | self._split(track.seconds)
            for track_id, track in self._tracks.items()
        ]
        return {
            "source": self._source,
            "frames": self.frames,
            "duration_s": round(self._last_s - self._first_s, 3),
            "faces": {name: self._faces[name] for name in self._class_names},
            "mask_wearing_rate": None if self.mask_wearing_rate is None else round(self.mask_wearing_rate, 4),
            **self._split(self._seconds),
            "n_tracks": self._n_tracks,
            "note": NOTE,
            "tracks": tracks,
        }

    def _split(self, seconds: Seconds) -> dict[str, Any]:
        """``seconds`` for each class and ``uncertain_s``."""
        by_class = {name: round(seconds[name], 3) for name in self._class_names}
        return {"seconds": by_class, "uncertain_s": round(seconds[None], 3)}

    def __str__(self) -> str:
        """One or two lines."""
        seen = ", ".join(f"{number} {label}" for label, number in sorted(self._faces.items())) or "none"
        line = f"{self._source}: {self.frames} frames; faces in all frames: {seen}"
        if not self._n_tracks:
            return line
        times = ", ".join(f"{self._seconds[name]:.1f} s {name}" for name in self._class_names)
        rate = "" if self.mask_wearing_rate is None else f"; masked for {self.mask_wearing_rate:.0%} of the time"
        return f"{line}\n{self._n_tracks} tracks (faces followed, not persons): {times}{rate}"


@contextmanager
def open_summaries(path: Path | None, sources: Sequence[str]) -> Iterator[list[VideoSummary]]:
    """Yield a summary a source to add frames to; they are written as JSON at the end, also after an error or Ctrl-C.

    That of one source is written as it is, those of several as ``{"sources": […]}``.

    Args:
        path: where to; None writes nothing.
        sources: what the user calls them.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    if path:
        check_can_write(path)
    summaries = [VideoSummary(source) for source in sources]
    try:
        yield summaries
    finally:
        if path and any(summary.frames for summary in summaries):
            records = [summary.to_record() for summary in summaries]
            record = records[0] if len(records) == 1 else {"sources": records}
            with finishing(), atomic_write(path) as part:
                part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
