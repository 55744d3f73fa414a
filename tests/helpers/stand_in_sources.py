"""Stand-ins for sources and for a detector: frames that are as bright as their number."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from mask_detection.inference.detections import Detections
from mask_detection.io.sources import Frame, VideoSource

PATIENCE_S = 30  # for what should come at once


class Numbered(VideoSource):
    """Gives so many frames; a live one gives the second when it is let to.

    Attributes:
        go_on: set it to let a live one go on.
        all_came: is set when it has given all.
    """

    def __init__(
        self, name: str = "numbered", n_frames: int = 5, is_live: bool = False, fault: BaseException | None = None
    ) -> None:
        super().__init__(name, 10.0, n_frames)
        self.n_frames, self.is_live, self.fault = n_frames, is_live, fault
        self.go_on, self.all_came = threading.Event(), threading.Event()
        self.is_closed = False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.n_frames):
            yield Frame(np.full((4, 4, 3), index % 256, np.uint8), index, index / 10, source=self.name)
            if self.is_live:
                assert self.go_on.wait(PATIENCE_S)
        self.all_came.set()
        if self.fault:
            raise self.fault

    def stop(self) -> None:
        self.go_on.set()

    def close(self) -> None:
        self.is_closed = True


class Brightness:
    """Stands in for a detector: the corner of its one box shows what frame it saw."""

    class_names = ("with_mask", "without_mask")
    is_one_stage = True

    def __init__(self) -> None:
        self.seen: list[int] = []

    def finder(self) -> Brightness:
        return self

    def find(self, image: np.ndarray) -> Detections:
        self.seen.append(int(image[0, 0, 0]))
        boxes = np.array([[self.seen[-1], 0, 255, 1]], np.int32)
        return Detections(boxes, np.ones(1, np.float32), np.full((1, 2), 0.5, np.float32), self.class_names)
