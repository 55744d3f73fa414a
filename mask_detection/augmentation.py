"""Random views of a training image."""

from __future__ import annotations

import cv2
import numpy as np

# The classic recipe's ranges, as its ImageDataGenerator was given them.
ROTATION_DEGREES = 20.0
ZOOM = 0.15
SHIFT = 0.2  # of the image's size
SHEAR = 0.15  # radians, as Keras took it when the recipe was written; later releases read it as degrees


def classic_view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate, shift, shear, zoom and mirror at random, in one step; what comes in from outside repeats the edge.

    Args:
        image: (H, W, 3) uint8.
        rng: decides; the same state gives the same view.

    Returns:
        A new image of the same shape.
    """
    height, width = image.shape[:2]
    angle = np.deg2rad(rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES))
    shear = rng.uniform(-SHEAR, SHEAR)
    zoom_x, zoom_y = rng.uniform(1 - ZOOM, 1 + ZOOM, 2)
    shift = rng.uniform(-SHIFT, SHIFT, 2) * (width, height)
    mirror = rng.choice((-1.0, 1.0))

    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shearing = np.array([[1.0, -np.sin(shear)], [0.0, np.cos(shear)]])
    linear = rotation @ shearing @ np.diag((zoom_x * mirror, zoom_y))
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([linear, center - linear @ center + shift])  # (2, 3)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
