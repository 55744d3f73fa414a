"""The face of matplotlib's portrait, 512 x 600 pixels, by hand."""

from __future__ import annotations

import numpy as np

SIZE = (512, 600)  # width, height
BOX = np.array([176, 113, 350, 325])  # xyxy, from the brows' top to the chin
# An eye and the other, the tip of the nose, the corners of the mouth: those on the left first.
LANDMARKS = np.array([(228, 199), (308, 199), (271, 239), (229, 271), (304, 273)], np.float32)


def find_landmarks(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What YuNet would find in the portrait at any scale, or in one above the other; nothing in other images."""
    height, width = image.shape[:2]
    scale = width / SIZE[0]
    count = round(height / scale / SIZE[1])
    if abs(height / scale - count * SIZE[1]) > 2 * count:
        count = 0
    down = np.arange(count)[:, None, None] * np.array([0, SIZE[1]])
    boxes = BOX.reshape(1, 2, 2) + down
    landmarks = LANDMARKS + down
    return (
        (boxes * scale).round().astype(np.int32).reshape(-1, 4),
        np.full(count, 0.9, np.float32),
        (landmarks * scale).astype(np.float32),
    )
