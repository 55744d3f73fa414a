"""A run as the live page and MQTT see it, without networks: sources that are told what they show."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mask_detection.inference.detections import Detections
from mask_detection.io.capture import SourceState
from mask_detection.io.sources import Frame
from mask_detection.serving.state import LiveState

CLASSES = ("with_mask", "without_mask")
MASKED, BARE, UNSURE = (0.99, 0.01), (0.02, 0.98), (0.55, 0.45)
BOX = (10, 20, 50, 70)


@dataclass
class StandInSource:
    """Has a name and a state, as a video source has."""

    name: str
    state: SourceState = field(default_factory=lambda: SourceState(True, time.time()))


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def frame_of(source: str, time_s: float = 0.0, level: int = 90) -> Frame:
    """A grey frame, 160 x 120."""
    return Frame(np.full((120, 160, 3), level, np.uint8), round(time_s * 25), time_s, source=source)


def faces(*rows: tuple[int, Sequence[float]], box: Sequence[int] = BOX) -> Detections:
    """Faces by track and probabilities, all in the same place."""
    tracks = [track for track, _ in rows]
    return Detections(
        boxes=np.array([box] * len(rows), np.int32).reshape(-1, 4),
        face_confidences=np.full(len(rows), 0.9, np.float32),
        probabilities=np.array([row for _, row in rows], np.float32).reshape(-1, len(CLASSES)),
        class_names=CLASSES,
        track_ids=np.array(tracks, np.int32),
    )


def alarm_event(source: str, **changes: Any) -> dict[str, Any]:
    """As an alarm gives it to its listeners."""
    event = {"source": source, "frame": 75, "time_s": 3.0, "seconds": 3.0, "box": list(BOX), "label": "without_mask"}
    return {**event, "classes": ["without_mask"], "tracks": [1], "count": 1, **changes}


def live_state(*names: str, **options: Any) -> LiveState:
    """The state of a run with these sources."""
    return LiveState([StandInSource(name) for name in names], CLASSES, **options)


@dataclass
class Answer:
    """A server's answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(url: str, path: str = "/", method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    """One request on a connection of its own; the names of headers are given with ``_`` for ``-``."""
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()
