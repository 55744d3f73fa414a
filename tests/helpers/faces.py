"""Comparing what detectors found."""

from __future__ import annotations

import numpy as np

import mask_detection


def same_faces(one: mask_detection.Detections, other: mask_detection.Detections) -> bool:
    """Tell whether both hold the very same faces."""
    columns = ("boxes", "face_confidences", "probabilities")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
