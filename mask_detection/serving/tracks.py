"""The life of each track, in events of the shape that Frigate's users know: new, update, end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.inference.tracking import MAX_GAP
from mask_detection.utils.boxes import box_areas, box_iou

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame

MIN_INTERVAL_S = 1.0  # between two events of a track
MOVED_IOU = 0.5  # with the box last reported: below it, the face counts as moved

Event = dict[str, Any]


@dataclass
class _Followed:
    """A track that is in view, or was a moment ago.

    Attributes:
        state: as it is now.
        reported: as the last event had it.
        reported_s: the video's time of that event.
        seen_s: the video's time when it was last seen.
    """

    state: dict[str, Any]
    reported: dict[str, Any]
    reported_s: float
    seen_s: float


class TrackEvents:
    """Turns the detections of one source into events; it has to see the frames in order.

    An event is ``{"type": "new" | "update" | "end", "before": {…}, "after": {…}}``. An update says that the label, its
    certainty or the place has changed, and comes no sooner than ``MIN_INTERVAL_S`` after the track's event before.
    """

    def __init__(self, source: str, clock: Callable[[], float] = time.time) -> None:
        """Start without tracks.

        Args:
            source: what events call the source.
            clock: gives seconds since 1970.
        """
        self._source = source
        self._clock = clock
        self._tracks: dict[int, _Followed] = {}

    def update(self, frame: Frame, detections: Detections) -> list[Event]:
        """The events of the next frame."""
        now, time_s = round(self._clock(), 3), frame.time_s
        events = [self._end(track) for track, known in [*self._tracks.items()] if time_s - known.seen_s > MAX_GAP]
        for face, area in zip(detections, box_areas(detections.boxes).tolist(), strict=True):
            if face.track is None:
                continue
            seen = {
                "label": face.label,
                "uncertain": face.uncertain,
                "score": round(face.probability, 4),
                "box": list(face.box),
                "area": int(area),
                "frame_time": now,
            }
            events += self._see(face.track, seen, time_s)
        return events

    def end_all(self) -> list[Event]:
        """The ends of all tracks: the source has gone."""
        return [self._end(track) for track in [*self._tracks]]

    def _see(self, track: int, seen: dict[str, Any], time_s: float) -> list[Event]:
        known = self._tracks.get(track)
        if known is None:
            now = seen["frame_time"]
            state = {"id": f"{now:.3f}-{track}", "camera": self._source, "track": track, **seen}
            state |= {"top_score": seen["score"], "start_time": now, "end_time": None}
            self._tracks[track] = _Followed(state, state, time_s, time_s)
            return [{"type": "new", "before": state, "after": state}]
        known.seen_s = time_s
        best = known.state["top_score"] if known.state["label"] == seen["label"] else 0.0  # it is the label's
        known.state = {**known.state, **seen, "top_score": max(best, seen["score"])}
        if time_s - known.reported_s < MIN_INTERVAL_S or not _differs(known.reported, known.state):
            return []
        event = {"type": "update", "before": known.reported, "after": known.state}
        known.reported, known.reported_s = known.state, time_s
        return [event]

    def _end(self, track: int) -> Event:
        known = self._tracks.pop(track)
        after = {**known.state, "end_time": known.state["frame_time"]}
        return {"type": "end", "before": known.reported, "after": after}


def _differs(reported: dict[str, Any], state: dict[str, Any]) -> bool:
    if any(reported[name] != state[name] for name in ("label", "uncertain")):
        return True
    overlap = box_iou(np.array([reported["box"]]), np.array([state["box"]]))
    return bool(overlap[0, 0] < MOVED_IOU)
