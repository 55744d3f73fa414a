"""Fixtures that tests of streams and cameras share."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import cv2
import pytest

from mask_detection.io import capture
from tests.helpers.stand_ins import Camera
from tests.helpers.web_server import serving


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a source that dropped be opened again at once."""
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def no_stale_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no frame be dropped: these sources give all of theirs at once, as no camera does."""
    monkeypatch.setattr("mask_detection.io.readers._Reader._drop_stale", lambda reader: None)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of live sources all come at the same time, however busy the machine is."""
    monkeypatch.setattr("mask_detection.io.sources.time", SimpleNamespace(monotonic=lambda: 0.0, time=time.time))


@pytest.fixture
def served(tmp_path) -> Iterator[Callable[..., str]]:
    """A function that puts a file on a server and returns its address."""
    with serving() as server:

        def serve(name: str, content: bytes) -> str:
            server.files[f"/{name}"] = content
            return f"{server.address}/{name}"

        yield serve


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[bool]], type[Camera]]:
    """A function that plugs in a camera as number 0."""
    true_capture = cv2.VideoCapture

    def plug_in(shots: list[bool]) -> type[Camera]:
        kind = type("PluggedIn", (Camera,), {"shots": shots})

        def opened(source: int | str, *parameters: object) -> Camera | cv2.VideoCapture:
            return kind() if source in (0, "/dev/video0") else true_capture(source, *parameters)

        monkeypatch.setattr(cv2, "VideoCapture", opened)
        return kind

    return plug_in


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in seconds of a clock that only they move."""
    made: list[float] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            made.append(timeout or 0.0)
            return self.is_set()

    monkeypatch.setattr(capture, "threading", SimpleNamespace(Event=Event, Lock=threading.Lock))
    monkeypatch.setattr(capture, "time", SimpleNamespace(monotonic=lambda: math.fsum(made), time=time.time))
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 0.1)
    return made
