"""What was seen in one picture: the type that travels between the stages, and the function that makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.models.preprocessing import crop_faces

if TYPE_CHECKING:
    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector


CERTAIN_FROM = 0.8  # probability; the shipped model is trained to stay below it where it sees no face


@dataclass(frozen=True)
class Detections:
    """N faces of one picture with the classifier's answer for each; no faces are N = 0 with the same columns.

    Attributes:
        boxes: (N, 4) int32, xyxy in pixels of the picture, x2 and y2 exclusive, inside the picture.
        face_confidences: (N,) float32, how sure the face detector is, 0..1.
        probabilities: (N, n_classes) float32, rows sum to 1.
        class_names: the classes in the order of the columns of ``probabilities``.
        track_ids: (N,) int32, the number by which a face goes in all frames of a video, from 1 on; -1 for one that is
            not followed. None where nothing is followed, as in a single picture.
    """

    boxes: np.ndarray
    face_confidences: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    track_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check shapes and types once, so that no later stage has to."""
        count = len(self.boxes)
        expected = {
            "boxes": ((count, 4), np.int32),
            "face_confidences": ((count,), np.float32),
            "probabilities": ((count, len(self.class_names)), np.float32),
        }
        if self.track_ids is not None:
            expected["track_ids"] = ((count,), np.int32)
        for name, (shape, dtype) in expected.items():
            column = getattr(self, name)
            if column.shape != shape or column.dtype != dtype:
                raise ValueError(f"{name} is {column.shape} {column.dtype}, expected {shape} {np.dtype(dtype)}")

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def class_ids(self) -> np.ndarray:
        """(N,) index of each face's most probable class."""
        return self.probabilities.argmax(axis=1)

    @property
    def labels(self) -> list[str]:
        """The most probable class of each face."""
        return [self.class_names[i] for i in self.class_ids]

    @property
    def label_probabilities(self) -> np.ndarray:
        """(N,) float32, the probability of each face's label."""
        return self.probabilities.max(axis=1, initial=0.0)

    @property
    def uncertain(self) -> np.ndarray:
        """(N,) bool, where the label's probability is too low to rely on it."""
        return self.label_probabilities < CERTAIN_FROM

    @property
    def tracks(self) -> list[int | None]:
        """Each face's number in the video, None for one that is not followed."""
        if self.track_ids is None:
            return [None] * len(self)
        return [track_id if track_id >= 0 else None for track_id in self.track_ids.tolist()]

    def to_records(self) -> list[dict[str, Any]]:
        """One plain dictionary a face, ready for JSON, with its track if it has one; an uncertain one says so."""
        records = [
            {
                "box": box.tolist(),
                "label": label,
                "probability": round(float(probability), 4),
                "face_confidence": round(float(confidence), 4),
            }
            for box, label, probability, confidence in zip(
                self.boxes, self.labels, self.label_probabilities, self.face_confidences, strict=True
            )
        ]
        for record, is_uncertain in zip(records, self.uncertain, strict=True):
            if is_uncertain:
                record["uncertain"] = True
        for record, track_id in zip(records, self.tracks, strict=True):
            if track_id is not None:
                record["track"] = track_id
        return records


def detect_masks(frame: np.ndarray, face_detector: FaceDetector, classifier: MaskClassifier | None) -> Detections:
    """Find the faces of a picture and tell for each whether it wears a mask, all in one batch.

    Args:
        frame: the picture, (H, W, 3) BGR uint8.
        face_detector: from :func:`mask_detection.models.load.load_face_detector`.
        classifier: from :func:`mask_detection.models.load.load_classifier`; None takes the face detector's own
            word, if it is one that tells classes.
    """
    boxes, confidences, own = face_detector.detect_with_classes(frame)
    if classifier is None:
        return Detections(boxes, confidences, own, face_detector.class_names)
    probabilities = classifier.classify(crop_faces(frame, boxes))
    if sorted(face_detector.class_names) == sorted(classifier.class_names):
        order = [face_detector.class_names.index(name) for name in classifier.class_names]
        probabilities = joined(probabilities, own[:, order])
    return Detections(boxes, confidences, probabilities, classifier.class_names)


def joined(classifiers: np.ndarray, detectors: np.ndarray) -> np.ndarray:
    """Join what a classifier and a face detector say of the same faces: the mean of their probabilities, (N, n)."""
    return (classifiers + detectors) / 2
