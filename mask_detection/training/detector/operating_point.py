"""Where a class begins, and where a face: biases on their logits, folded into the network.

That of a class can be chosen on photos for validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mask_detection.models.face_detector import keep_faces
from mask_detection.models.fcos import FACE, INPUT_MULTIPLE, STRIDES, decode
from mask_detection.models.preprocessing import detector_input
from mask_detection.training.detector.dataset import ImageStore
from mask_detection.utils.boxes import SAME_FACE_IOU, box_iou
from mask_detection.utils.defaults import CONFIDENCE

if TYPE_CHECKING:
    import keras


def found_classes(
    predict: Callable[[np.ndarray], np.ndarray], photos: ImageStore, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the detector takes the faces for that it finds.

    Args:
        predict: the detector as a function.
        photos: whose faces are known.
        size: of the detector's input in pixels.

    Returns:
        (N,) int, the true classes of the found faces of a known class, and (N, n_classes) float32 probabilities.
    """
    labels, probabilities = [], []
    for photo in (photos[i] for i in range(len(photos))):
        batch, scale = detector_input(photo.image, size, INPUT_MULTIPLE, square=True)
        boxes, scores, predicted = decode(predict(batch)[0], batch.shape[1:3], CONFIDENCE)
        boxes, kept = keep_faces(boxes / scale, scores, photo.image.shape[:2], CONFIDENCE)
        overlaps = box_iou(photo.boxes, boxes)  # (T, M)
        found = (overlaps.max(axis=1, initial=0.0) >= SAME_FACE_IOU) & (photo.labels >= 0)
        if found.any():
            labels.append(photo.labels[found])
            probabilities.append(predicted[kept][overlaps[found].argmax(axis=1)])
    n_classes = predicted.shape[1] if len(photos) else 0
    if not labels:
        return np.empty(0, int), np.empty((0, n_classes), np.float32)
    return np.concatenate(labels), np.concatenate(probabilities)


def add_class_bias(model: keras.Model, index: int, bias: float) -> None:
    """Add a bias on a class's logit to the last layers of a detector, one a level."""
    _add_bias(model, "classes", index, bias)


def add_face_bias(model: keras.Model, bias: float) -> None:
    """Add a bias on the logit of whether there is a face: the confidences of all boxes change, but not their order."""
    _add_bias(model, "places", FACE, bias)


def _add_bias(model: keras.Model, layers: str, index: int, bias: float) -> None:
    for stride in STRIDES:
        layer = model.get_layer(f"{layers}_{stride}")
        kernel, biases = layer.get_weights()
        biases[index] += bias
        layer.set_weights([kernel, biases])
