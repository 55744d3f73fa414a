"""The crop of one face, as the JPEG that is shown or sent with an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mask_detection.io.images import encode_image
from mask_detection.models.preprocessing import crop_faces

MARGIN = 0.3  # on each side, in parts of the box's longer side: enough to recognise a hat or a scarf
LONGEST_SIDE = 256  # pixels
JPEG = Path("face.jpg")  # names the format


def face_jpeg(image: np.ndarray, box: Sequence[int]) -> bytes:
    """Cut a face out of an image, at most ``LONGEST_SIDE`` pixels wide and high.

    Args:
        image: (H, W, 3) BGR uint8.
        box: xyxy in pixels of the image, x2 and y2 exclusive.

    Returns:
        A JPEG file's bytes.
    """
    (crop,) = crop_faces(image, np.array([box]), MARGIN)
    return encode_image(JPEG, at_most(crop, LONGEST_SIDE))


def at_most(image: np.ndarray, longest_side: int) -> np.ndarray:
    """An image (H, W, 3) scaled down until no side has more than so many pixels; one that is small enough as it is."""
    scale = longest_side / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
