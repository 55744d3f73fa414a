"""A corner of the frame that shows how fast it goes and how many faces of each class there are."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from mask_detection.inference.classes import shown
from mask_detection.inference.detections import Detections
from mask_detection.inference.drawing import Color, choose_text_height, class_colors, render_label
from mask_detection.utils.boxes import intersection_areas

DARK: Color = (50, 50, 50)
RATE_FRAMES = 30  # the frames over which the rate is averaged
MAX_FRACTION = 0.5  # of the frame's width, and of its height


class Overlay:
    """Draws into the frames of one video, always into the same corner unless a face is there."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start counting.

        Args:
            clock: gives seconds.
        """
        self._clock = clock
        self._moments: deque[float] = deque(maxlen=RATE_FRAMES + 1)
        self._corner = 0

    def draw(self, frame: np.ndarray, detections: Detections) -> None:
        """Draw frames a second and the number of faces of each class; on small frames the bare numbers, or nothing.

        Args:
            frame: (H, W, 3) BGR uint8; it is drawn into.
            detections: what was found in it.
        """
        self.count_frame()
        for with_names in (True, False):
            patches = self._render(detections, with_names, choose_text_height(frame.shape))
            height, width = sum(len(patch) for patch in patches), max(patch.shape[1] for patch in patches)
            if height <= MAX_FRACTION * frame.shape[0] and width <= MAX_FRACTION * frame.shape[1]:
                self._paste(frame, patches, self._choose_place((height, width), frame.shape, detections.boxes))
                return

    def count_frame(self) -> None:
        """Take notice of a frame, also of one into which nothing is drawn."""
        self._moments.append(self._clock())

    @property
    def frames_per_second(self) -> float:
        """Over the last frames; 0 before the second."""
        elapsed = self._moments[-1] - self._moments[0] if self._moments else 0.0
        return (len(self._moments) - 1) / elapsed if elapsed > 0 else 0.0

    def _render(self, detections: Detections, with_names: bool, text_height: int) -> list[np.ndarray]:
        """A patch (h, w, 3) for each line."""
        counts, rate = Counter(detections.labels), f"{self.frames_per_second:.1f}"
        lines = [(f"{rate} frames/s" if with_names else rate, DARK)]
        for name, color in class_colors(detections.class_names).items():
            lines.append((f"{shown(name)}: {counts[name]}" if with_names else f"{counts[name]}", color))
        return [render_label(text, color, text_height) for text, color in lines]

    def _choose_place(self, size: tuple[int, int], image_shape: tuple[int, ...], boxes: np.ndarray) -> np.ndarray:
        """The corner in use, or where a face is in it the one that hides the least of faces: (4,) xyxy."""
        bottom, right = (limit - side for limit, side in zip(image_shape[:2], size, strict=True))
        origins = np.array([(0, 0), (right, 0), (0, bottom), (right, bottom)])
        places = np.hstack([origins, origins + size[::-1]])  # (4, 4)
        hidden = intersection_areas(places, boxes).sum(axis=1)  # (4,) square pixels
        if hidden[self._corner] > 0:
            self._corner = int(hidden.argmin())
        return places[self._corner]

    def _paste(self, frame: np.ndarray, patches: list[np.ndarray], place: np.ndarray) -> None:
        left, top, right, _ = place.tolist()
        for patch in patches:
            height, width = patch.shape[:2]
            start = right - width if left > 0 else left
            frame[top : top + height, start : start + width] = patch
            top += height
