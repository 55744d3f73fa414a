"""From a face's box to the numbers that the classifier sees: the same code in training and in detection."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

CROP_MARGIN = 0.0  # added on each side of a face's box, in parts of its width and height

PREPROCESSING = "mobilenet_v2"  # as model files name what `normalise` does


def crop_faces(frame: np.ndarray, boxes: np.ndarray, margin: float = CROP_MARGIN) -> list[np.ndarray]:
    """Cut faces out of a picture.

    Args:
        frame: the picture, (H, W, 3) BGR uint8.
        boxes: (N, 4) xyxy in pixels, x2 and y2 exclusive, inside the picture and not empty.
        margin: how much to add on each side, in parts of the box's width and height; what would lie
            outside the picture is left away.

    Returns:
        N views into the picture, each (h, w, 3) BGR uint8 with h, w >= 1.
    """
    height, width = frame.shape[:2]
    sides = (boxes[:, 2:] - boxes[:, :2]) * margin  # (N, 2)
    wider = np.concatenate([boxes[:, :2] - sides, boxes[:, 2:] + sides], axis=1).round().astype(int)
    wider = np.clip(wider, 0, [width, height, width, height])
    return [frame[y1:y2, x1:x2] for x1, y1, x2, y2 in wider]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Scale an image (h, w, 3) uint8 to (size, size, 3), without regard to its shape, as the classic recipe does."""
    shrinks = image.shape[0] > size and image.shape[1] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def normalise(rgb: np.ndarray) -> np.ndarray:
    """Map uint8 values 0..255 to float32 -1..1, as ``keras.applications.mobilenet_v2.preprocess_input`` does."""
    return rgb.astype(np.float32) / 127.5 - 1.0


def classifier_input(crops: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Make one batch of face crops.

    Args:
        crops: N images (h, w, 3) BGR uint8 of any size.
        size: the classifier's input size in pixels.

    Returns:
        (N, size, size, 3) float32 RGB in -1..1.
    """
    batch = np.empty((len(crops), size, size, 3), np.uint8)
    for i, crop in enumerate(crops):
        cv2.cvtColor(resize(crop, size), cv2.COLOR_BGR2RGB, dst=batch[i])
    return normalise(batch)
