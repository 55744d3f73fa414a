"""The frames of several sources in one window."""

from __future__ import annotations

import numpy as np
import pytest

from mask_detection.io.window import GRID_HEIGHT, GRID_WIDTH, Grid


def frame(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(("n", "columns", "rows"), [(2, 2, 1), (4, 2, 2), (5, 3, 2), (9, 3, 3)])
def test_each_source_has_its_place(n, columns, rows):
    names = [f"camera{i}" for i in range(n)]
    grid = Grid(names)
    for i, name in enumerate(names):
        image = grid.updated(name, frame(20 * (i + 1)))
    assert image.shape[0] <= GRID_HEIGHT
    assert image.shape[1] <= GRID_WIDTH
    height, width = image.shape[0] // rows, image.shape[1] // columns
    for i in range(n):
        row, column = divmod(i, columns)
        assert image[row * height + height // 2, column * width + width // 2, 0] == 20 * (i + 1)


def test_frames_keep_their_shape_and_are_replaced():
    grid = Grid(["a", "b"])
    grid.updated("a", frame(200, 640, 480))
    image = grid.updated("a", frame(100, 100, 400))  # tall: bars left and right
    assert image[image.shape[0] // 2, 5].max() == 0
    assert image[image.shape[0] // 2, image.shape[1] // 4, 0] == 100
    assert image.max() == 100
