"""Augmented copies of a training image: the classic recipe's, and on top of it what street cameras do to faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np

from mask_detection.models.preprocessing import resize

# The classic recipe's ranges, as its ImageDataGenerator was given them.
ROTATION_DEGREES = 20.0
ZOOM = 0.15
SHIFT = 0.2  # of the image's size
SHEAR = 0.15  # radians, as Keras took it when the recipe was written; later releases read it as degrees

MAX_CUT = 0.15  # of the image's size, cut away on each side: face detectors differ in how tight their boxes are
GAIN = 0.3  # brightness and contrast change by up to this part
COLOR_GAIN = 0.1  # each colour channel likewise
FACE_PIXELS = (12, 64)  # width of a face in the distance
LOW_RESOLUTION_FRACTION = 0.5  # of all copies
JPEG_QUALITY = (25, 90)
JPEG_FRACTION = 0.5
BLUR_SIGMA = (0.4, 2.0)  # in hundredths of the image's width
BLUR_FRACTION = 0.2
GREY_FRACTION = 0.05


def classic_copy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate, shift, shear, zoom and mirror at random, in one step; what comes in from outside repeats the edge.

    Args:
        image: (H, W, 3) uint8.
        rng: decides; the same state gives the same copy.

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


def street_copy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The classic copy, then other margins, other light, blur, and for half of the copies a small, compressed face.

    Args:
        image: (S, S, 3) BGR uint8, a square.
        rng: decides; the same state gives the same copy.

    Returns:
        A new image of the same shape.
    """
    size = len(image)
    image = _cut_margins(classic_copy(image, rng), rng)
    image = _change_light(image, rng)
    if rng.random() < BLUR_FRACTION:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR_SIGMA) * image.shape[1] / 100)
    if rng.random() < LOW_RESOLUTION_FRACTION:
        image = resize(image, round(np.exp(rng.uniform(*np.log(FACE_PIXELS)))))
    if rng.random() < JPEG_FRACTION:
        quality = int(rng.integers(*JPEG_QUALITY))
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cast(np.ndarray, cv2.imdecode(encoded, cv2.IMREAD_COLOR))  # None only for what is no image
    return resize(image, size)


def _cut_margins(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    left, top, right, bottom = (rng.uniform(0, MAX_CUT, 4) * (width, height, width, height)).astype(int)
    return image[top : height - bottom, left : width - right]


def _change_light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    contrast = rng.uniform(1 - GAIN, 1 + GAIN)
    brightness = rng.uniform(-GAIN, GAIN) * 128
    gains = contrast * rng.uniform(1 - COLOR_GAIN, 1 + COLOR_GAIN, 3)
    image = np.clip(image * gains.astype(np.float32) + np.float32(brightness), 0, 255).astype(np.uint8)
    if rng.random() < GREY_FRACTION:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return image


Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # (S, S, 3) BGR uint8 -> an augmented copy

AUGMENTATIONS: dict[str, Augmentation] = {"classic": classic_copy, "street": street_copy}
