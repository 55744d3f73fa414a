"""A detector and a photo of a group, for the tests of all that the detector does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import mask_detection
from tests.helpers.paths import GROUP


@pytest.fixture(scope="module")
def detector() -> mask_detection.MaskDetector:
    return mask_detection.load(face_detector="builtin")


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    """(H, W, 3) BGR uint8, read-only."""
    image = cv2.imread(str(GROUP))
    image.setflags(write=False)
    return image
