"""Figures over many photos or face crops: recall and precision, average precision, accuracy.

Three questions are kept apart. Are the faces found: recall, precision and average precision of boxes of any class. Are
the faces that a human marked classified right: accuracy on the true boxes, whatever the face detector does. And the
two together, as a user meets them: average precision by class.

Sizes are square roots of a box's area in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mask_detection.evaluation.confusion import Confusion, confusion, mean_of_defined
from mask_detection.evaluation.metrics import GroundTruth, Matches, ScoredBoxes, match_images
from mask_detection.inference.classes import is_worn_wrong
from mask_detection.inference.detections import CERTAIN_FROM, Detections
from mask_detection.utils.boxes import box_iou, box_sizes

IOU_THRESHOLD = 0.5  # the least overlap with a true face that counts as finding it
FAR_IOU = 0.1  # a detected box that overlaps every true face less shows something else
SIZES = (0, 16, 32, 64)  # pixels; each stratum holds the faces of at least this size


@dataclass(frozen=True, eq=False)
class EvaluatedPhoto:
    """The N faces of an annotated photo and what was detected in it.

    Attributes:
        truth: the N faces.
        predictions: (N,) str, the class predicted for each true box; empty where there is none: in one-stage mode,
            for faces that were not found.
        probabilities: (N, n_classes) float32, of each class for each true box.
        detections: the faces found down to a low confidence, for curves.
        seconds: what finding and classifying the faces took at the usual confidence.
    """

    truth: GroundTruth
    predictions: np.ndarray
    probabilities: np.ndarray
    detections: Detections
    seconds: float


def size_title(min_size: int) -> str:
    """What a stratum of ``SIZES`` is called."""
    return f">= {min_size} px" if min_size else "all"


def match_faces(photos: Iterable[EvaluatedPhoto], min_size: float = 0.0) -> Matches:
    """Match the faces of any class, scored by the face detector's confidence alone.

    Args:
        photos: truth and detections.
        min_size: smaller faces count neither for nor against, see :func:`match_images`.
    """
    images = ((_scored(photo.detections, by_class=False), photo.truth) for photo in photos)
    return match_images(images, min_size=min_size, iou_threshold=IOU_THRESHOLD)


def match_classes(
    photos: Sequence[EvaluatedPhoto], class_names: Sequence[str], min_size: float = 0.0
) -> dict[str, Matches]:
    """Match the faces of each class, scored by face confidence times probability.

    Faces whose class is not among ``class_names`` count neither for nor against: a model cannot predict what it
    does not know.

    Args:
        photos: truth and detections.
        class_names: the model's classes.
        min_size: as in :func:`match_faces`.
    """
    images = [(_scored(photo.detections, by_class=True), photo.truth) for photo in photos]
    unknown = {label for _, truth in images for label in truth.labels} - set(class_names)
    match = partial(match_images, images, ignored_labels=unknown, min_size=min_size, iou_threshold=IOU_THRESHOLD)
    return {name: match(name) for name in class_names}


def _scored(detections: Detections, *, by_class: bool) -> ScoredBoxes:
    scores = detections.face_confidences * (detections.label_probabilities if by_class else 1)
    return ScoredBoxes(detections.boxes, np.asarray(detections.labels, str), scores)


def match_crops(truth: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> dict[str, Matches]:
    """Take each class's probability for the score of a search among all face crops of known classes.

    Args:
        truth: (N,) str true classes.
        probabilities: (N, n_classes).
        class_names: the model's classes.
    """
    known = np.isin(truth, class_names)
    return {
        name: Matches(scores[known], truth[known] == name, int(np.count_nonzero(truth == name)))
        for name, scores in zip(class_names, probabilities.T, strict=True)
    }


def photo_figures(photos: Sequence[EvaluatedPhoto], class_names: Sequence[str], confidence: float) -> dict[str, Any]:
    """All figures of annotated photos, ready for JSON; what has no value, such as a recall of no faces, is None.

    Args:
        photos: truth and detections, of at least one photo.
        class_names: the model's classes.
        confidence: of a face, at which recall and precision are meant.
    """
    seconds = [photo.seconds for photo in photos]
    return {
        "seconds_per_photo": {"median": float(np.median(seconds)), "mean": float(np.mean(seconds))},
        "by_size": [_size_figures(photos, class_names, confidence, size) for size in SIZES],
    }


def _size_figures(
    photos: Sequence[EvaluatedPhoto], class_names: Sequence[str], confidence: float, min_size: float
) -> dict[str, Any]:
    faces = match_faces(photos, min_size)
    confident = faces.above(confidence)
    labels, predictions, probabilities = _on_true_boxes(photos, min_size)
    predicted = confusion(labels, predictions, class_names)
    counts = np.isin(labels, class_names) & (predictions != "")
    on_true_boxes = match_crops(labels, probabilities, class_names)
    return {
        "min_size": min_size,
        "faces": faces.n_ground_truth,
        "face_recall": _or_none(confident.recall),
        "face_precision": _or_none(confident.precision),
        "face_ap": _or_none(faces.average_precision),
        **_ap_figures(match_classes(photos, class_names, min_size)),
        "accuracy": _by_class(class_names, predicted.recalls),
        "balanced_accuracy": _or_none(predicted.balanced_accuracy),
        "certain_on_true_boxes": _or_none(mean_of_defined(probabilities[counts].max(axis=1) >= CERTAIN_FROM)),
        "certain_on_false_boxes": _or_none(_certain_fraction_off_truth(photos, min_size)),
        "confusion_matrix": _confusion_figures(predicted),
        "precision": _by_class(class_names, predicted.precisions),
        "ap_on_true_boxes": _by_class(class_names, (found.average_precision for found in on_true_boxes.values())),
        **_figures_without_worn_wrong(photos, class_names, predicted, min_size),
    }


def _figures_without_worn_wrong(
    photos: Sequence[EvaluatedPhoto], class_names: Sequence[str], predicted: Confusion, min_size: float
) -> dict[str, Any]:
    """What compares a model that knows masks worn wrong with one that doesn't; nothing for the latter.

    A face of another class that is predicted as worn wrong counts as a miss; faces with a mask worn wrong count neither
    for nor against.
    """
    others = [name for name in class_names if not is_worn_wrong(name)]
    if len(others) == len(class_names):
        return {}
    recalls = [recall for name, recall in zip(class_names, predicted.recalls, strict=True) if name in others]
    precisions = [found.average_precision for found in match_classes(photos, others, min_size).values()]
    return {
        "balanced_accuracy_without_worn_wrong": _or_none(mean_of_defined(recalls)),
        "map_without_worn_wrong": _or_none(mean_of_defined(precisions)),
    }


def _on_true_boxes(photos: Sequence[EvaluatedPhoto], min_size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes (N,), predictions (N,) and probabilities (N, n_classes) of the true boxes of at least a size."""
    large = np.concatenate([box_sizes(photo.truth.boxes) for photo in photos]) >= min_size
    labels = np.concatenate([photo.truth.labels for photo in photos])
    predictions = np.concatenate([photo.predictions for photo in photos])
    probabilities = np.concatenate([photo.probabilities for photo in photos])
    return labels[large], predictions[large], probabilities[large]


def _certain_fraction_off_truth(photos: Sequence[EvaluatedPhoto], min_size: float) -> float:
    """The fraction of the detections of at least a size, far from every true face, that are not uncertain."""
    certain: list[bool] = []
    for photo in photos:
        boxes = photo.detections.boxes
        far = box_iou(boxes, photo.truth.boxes).max(axis=1, initial=0) < FAR_IOU
        chosen = far & (box_sizes(boxes) >= min_size)
        certain += (~photo.detections.uncertain[chosen]).tolist()
    return mean_of_defined(certain)


def crop_figures(truth: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """All figures of classified face crops, as :func:`photo_figures`; for the arguments see :func:`match_crops`."""
    predicted = confusion(truth, np.asarray(class_names)[probabilities.argmax(axis=1)], class_names)
    return {
        "accuracy": _or_none(predicted.accuracy),
        "balanced_accuracy": _or_none(predicted.balanced_accuracy),
        "precision": _by_class(class_names, predicted.precisions),
        "recall": _by_class(class_names, predicted.recalls),
        **_ap_figures(match_crops(truth, probabilities, class_names)),
        "confusion_matrix": _confusion_figures(predicted),
    }


def _ap_figures(matches_by_class: Mapping[str, Matches]) -> dict[str, Any]:
    ap = [matches.average_precision for matches in matches_by_class.values()]
    return {"ap": _by_class(matches_by_class, ap), "map": _or_none(mean_of_defined(ap))}


def _confusion_figures(predicted: Confusion) -> dict[str, Any]:
    return {"truth": predicted.truth_names, "answers": predicted.class_names, "counts": predicted.counts.tolist()}


def _by_class(class_names: Iterable[str], values: Iterable[float]) -> dict[str, float | None]:
    return {name: _or_none(value) for name, value in zip(class_names, values, strict=True)}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
