"""A window that shows images, and whether one can be opened here."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence

import cv2
import imutils
import numpy as np

from mask_detection.utils import sandbox

ESCAPE_KEY = 27
MAX_WINDOW_HEIGHT = 900  # pixels; larger images are scaled down to fit on screens
TRY_OUT_S = 20.0
GRID_WIDTH, GRID_HEIGHT = 1280, 720  # pixels


def can_show_window() -> bool:
    """Find out in a child process whether a window opens: OpenCV aborts the process where none does."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    return not sandbox.run(open_window, timeout_s=TRY_OUT_S).fault


def open_window() -> None:
    """Open a window for a moment, or crash."""
    cv2.namedWindow("test")
    cv2.waitKey(1)
    cv2.destroyAllWindows()


class Grid:
    """The latest frame of each of several sources, side by side in one image."""

    def __init__(self, names: Sequence[str]) -> None:
        """Lay the grid out, as wide as high; the names are those of the sources, in order."""
        self._places = {name: place for place, name in enumerate(names)}
        self._n_columns = math.ceil(math.sqrt(len(names)))
        n_rows = math.ceil(len(names) / self._n_columns)
        self._cell = (GRID_WIDTH // self._n_columns, GRID_HEIGHT // n_rows)  # width, height
        self._image = np.zeros((self._cell[1] * n_rows, self._cell[0] * self._n_columns, 3), np.uint8)

    def updated(self, name: str, frame: np.ndarray) -> np.ndarray:
        """The grid with a source's new frame, both (H, W, 3) BGR uint8; it is the same array each time."""
        row, column = divmod(self._places[name], self._n_columns)
        width, height = self._cell
        scale = min(width / frame.shape[1], height / frame.shape[0])
        size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
        x, y = column * width + (width - size[0]) // 2, row * height + (height - size[1]) // 2
        self._image[row * height : (row + 1) * height, column * width : (column + 1) * width] = 0
        self._image[y : y + size[1], x : x + size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        return self._image


class Window:
    """A window that shows images until a key says stop; a context manager that closes it."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exception: object) -> None:
        cv2.destroyAllWindows()

    def show(self, frame: np.ndarray, wait_ms: int = 1) -> bool:
        """Show an image and wait for a key.

        Args:
            frame: (H, W, 3) BGR uint8.
            wait_ms: how long to wait, 0 for ever.

        Returns:
            False when the user pressed q or ESC, or closed the window.
        """
        if frame.shape[0] > MAX_WINDOW_HEIGHT:
            frame = imutils.resize(frame, height=MAX_WINDOW_HEIGHT)
        cv2.imshow(self.title, frame)
        key = self._wait_for_key(wait_ms)
        closed = cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1
        return not (closed or key in (ord("q"), ESCAPE_KEY))

    def _wait_for_key(self, wait_ms: int) -> int:
        if wait_ms:
            return cv2.waitKey(wait_ms) & 0xFF
        # waitKey(0) would wait on after the user closed the window.
        while cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1:
            key = cv2.waitKey(50)
            if key >= 0:
                return key & 0xFF
        return ESCAPE_KEY
