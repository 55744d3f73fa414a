"""Faces that nobody marked: where two detectors of different kinds agree, a face is added to a photo's labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mask_detection.data.annotations import Annotation
from mask_detection.io.images import read_image
from mask_detection.models.face_detector import FaceDetector
from mask_detection.models.load import load_face_detector
from mask_detection.training.detector.dataset import DOUBTFUL, NO_CLASS
from mask_detection.utils.boxes import SAME_FACE_IOU, box_iou
from mask_detection.utils.defaults import BUILTIN_PHOTO_SIZE

YUNET_SIZE = 960  # pixels of a photo's longer side
FACE_CONFIDENCE = 0.5  # of both, for a face
DOUBT_CONFIDENCE = 0.2  # of either: perhaps a face
CLASS_PROBABILITY = 0.9  # from here on the built-in detector's class counts
MARKED_IOU = 0.3  # with a marked face: it is that one, marked by somebody with other habits


def load_witnesses(folder: Path) -> tuple[FaceDetector, FaceDetector]:
    """YuNet and the built-in detector, as sensitive as this takes.

    Raises:
        MaskDetectionError: a file of theirs is missing.
    """
    yunet = load_face_detector("yunet", folder, DOUBT_CONFIDENCE, YUNET_SIZE)
    return yunet, load_face_detector("builtin", folder, DOUBT_CONFIDENCE, BUILTIN_PHOTO_SIZE)


def add_unmarked(
    annotations: Iterable[Annotation], witnesses: tuple[FaceDetector, FaceDetector]
) -> Iterator[Annotation]:
    """Add to the photos' faces those that nobody marked.

    Found by both detectors, it is a face, and of the second one's class if that is certain; found by one, or by both
    with low confidence, it is doubtful. What overlaps a marked face is that face.

    Args:
        annotations: the photos, readable ones.
        witnesses: two detectors, of which the second one classifies.
    """
    for annotation in annotations:
        boxes, labels = unmarked_faces(read_image(annotation.image), annotation.boxes, witnesses)
        yield Annotation(
            annotation.image,
            np.concatenate([annotation.boxes, boxes]).astype(np.float32),
            (*annotation.labels, *labels),
        )


def unmarked_faces(
    image: np.ndarray, marked: np.ndarray, witnesses: tuple[FaceDetector, FaceDetector]
) -> tuple[np.ndarray, Sequence[str]]:
    """See :func:`add_unmarked`; ``marked`` are (N, 4) xyxy in pixels of the image (H, W, 3) BGR uint8.

    Returns:
        (M, 4) float xyxy and M labels.
    """
    other, builtin = witnesses
    other_boxes, other_confidences = other.detect(image)
    boxes, confidences, probabilities = builtin.detect_with_classes(image)
    overlaps = box_iou(boxes, other_boxes)  # (B, O)
    is_same = overlaps >= SAME_FACE_IOU
    agreed = (is_same & (other_confidences >= FACE_CONFIDENCE)).any(axis=1) & (confidences >= FACE_CONFIDENCE)
    labels = [
        _label(builtin.class_names, row) if is_agreed else DOUBTFUL
        for is_agreed, row in zip(agreed, probabilities, strict=True)
    ]
    alone = ~is_same.any(axis=0)
    boxes = np.concatenate([boxes, other_boxes[alone]]).astype(np.float32)
    labels += [DOUBTFUL] * int(alone.sum())
    is_new = box_iou(boxes, marked).max(axis=1, initial=0.0) < MARKED_IOU
    return boxes[is_new], [label for label, new in zip(labels, is_new, strict=True) if new]


def _label(class_names: Sequence[str], probabilities: np.ndarray) -> str:
    best = int(probabilities.argmax())
    return class_names[best] if probabilities[best] >= CLASS_PROBABILITY else NO_CLASS
