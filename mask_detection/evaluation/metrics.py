"""How well boxes were found: matching with the ground truth, precision, recall and average precision.

The matching is COCO's (Lin et al. 2014): in each image, detections in descending score take the best ground
truth that is still free. The average precision is VOC's since 2010 (Everingham et al. 2010): the whole area
under the precision-recall curve, after precision is made to fall monotonically. pycocotools, with which the
tests compare this module, has the same matching, but samples the curve at 101 recalls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from mask_detection.utils.boxes import as_boxes, box_iou, box_sizes

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class GroundTruth:
    """The N faces that one image truly shows.

    Attributes:
        boxes: (N, 4) xyxy in pixels, x2 and y2 exclusive.
        labels: (N,) the class of each.
    """

    boxes: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        """Take lists for arrays, and check that the columns fit together."""
        _set_columns(self, boxes=as_boxes(self.boxes), labels=np.asarray(self.labels, dtype=str))


@dataclass(frozen=True)
class ScoredBoxes:
    """The M faces that a detector found in one image.

    Attributes:
        boxes: (M, 4) xyxy in pixels, x2 and y2 exclusive.
        labels: (M,) the class that each was given.
        scores: (M,) how confident the detector is of box and class; only their order matters.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        """Take lists for arrays, and check that the columns fit together."""
        _set_columns(
            self,
            boxes=as_boxes(self.boxes),
            labels=np.asarray(self.labels, dtype=str),
            scores=np.asarray(self.scores, dtype=np.float64),
        )


@dataclass(frozen=True)
class Matches:
    """What became of the K detections that count, over all images.

    Attributes:
        scores: (K,) float64.
        is_true_positive: (K,) bool; the others are false positives.
        n_ground_truth: the boxes that were there to be found.
    """

    scores: np.ndarray
    is_true_positive: np.ndarray
    n_ground_truth: int

    def above(self, score: float) -> Matches:
        """The matches as they were if the detector had kept only what scores at least ``score``."""
        kept = self.scores >= score
        return Matches(self.scores[kept], self.is_true_positive[kept], self.n_ground_truth)

    @property
    def precision(self) -> float:
        """The fraction of the detections that are right; NaN without detections."""
        return _ratio(self.is_true_positive.sum(), len(self.scores))

    @property
    def recall(self) -> float:
        """The fraction of the ground truth that was found; NaN without ground truth."""
        return _ratio(self.is_true_positive.sum(), self.n_ground_truth)

    @property
    def average_precision(self) -> float:
        """All-point average precision, see :func:`average_precision`."""
        return average_precision(self.scores, self.is_true_positive, self.n_ground_truth)


def match_images(
    images: Iterable[tuple[ScoredBoxes, GroundTruth]],
    label: str | None = None,
    *,
    ignored_labels: Collection[str] = (),
    min_size: float = 0.0,
    iou_threshold: float = 0.5,
) -> Matches:
    """Match the detections of many images with their ground truth, for one class or for faces of any class.

    A detection of ``label`` on a face of another class is a false positive. A detection on an ignored face
    counts neither for nor against; ignored are the faces of ``ignored_labels`` and, as in COCO's area ranges,
    those smaller than ``min_size``. Nor do unmatched detections smaller than ``min_size`` count.

    Args:
        images: detections and ground truth of each image.
        label: the class; None takes all boxes, whatever their class.
        ignored_labels: classes of the ground truth that the detector isn't asked to know.
        min_size: the square root of a box's area, in pixels.
        iou_threshold: the least overlap of a detection with the face that it found.
    """
    scores, outcomes, n_ground_truth = [np.empty(0)], [np.empty(0, int)], 0
    for found, truth in images:
        ignored = np.isin(truth.labels, list(ignored_labels))
        relevant = ignored | _has_label(truth.labels, label)
        ignored |= box_sizes(truth.boxes) < min_size
        asked = _has_label(found.labels, label)
        boxes, box_scores = found.boxes[asked], found.scores[asked]
        outcome = match_boxes(boxes, box_scores, truth.boxes[relevant], ignored[relevant], iou_threshold)
        outcome[(outcome == FALSE_POSITIVE) & (box_sizes(boxes) < min_size)] = IGNORED
        scores.append(box_scores)
        outcomes.append(outcome)
        n_ground_truth += int((relevant & ~ignored).sum())
    outcome = np.concatenate(outcomes)
    counts = outcome != IGNORED
    return Matches(np.concatenate(scores)[counts], outcome[counts] == TRUE_POSITIVE, n_ground_truth)


def match_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    truth_boxes: np.ndarray,
    truth_ignored: np.ndarray,
    iou_threshold: float = 0.5,
) -> np.ndarray:
    """Match the detections of one image, in descending score, each with the best ground truth still free.

    A detection goes to an ignored ground truth only if it finds no other; an ignored one takes any number.

    Args:
        boxes: (M, 4) detections, xyxy.
        scores: (M,) their scores; of equal ones the earlier comes first.
        truth_boxes: (N, 4) ground truth, xyxy.
        truth_ignored: (N,) bool, ground truth that counts neither for nor against.
        iou_threshold: the least overlap of a match.

    Returns:
        (M,) int, ``TRUE_POSITIVE``, ``FALSE_POSITIVE`` or ``IGNORED`` for each detection.
    """
    overlaps = box_iou(boxes, truth_boxes)  # (M, N)
    overlaps[overlaps < iou_threshold] = 0.0
    is_ignored = np.asarray(truth_ignored, dtype=bool)
    is_free = ~is_ignored
    outcome = np.full(len(boxes), FALSE_POSITIVE)
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        candidates = overlaps[i] * is_free
        if candidates.any():
            is_free[candidates.argmax()] = False
            outcome[i] = TRUE_POSITIVE
        elif overlaps[i, is_ignored].any():
            outcome[i] = IGNORED
    return outcome


def average_precision(scores: np.ndarray, is_true_positive: np.ndarray, n_ground_truth: int) -> float:
    """All-point interpolated average precision: VOC's since 2010, Everingham et al. 2010.

    The area under the precision-recall curve, where precision is the best at this recall or any higher one.

    Args:
        scores: (K,) the detections' scores.
        is_true_positive: (K,) bool.
        n_ground_truth: the boxes that were there to be found.

    Returns:
        0..1, or NaN without ground truth.
    """
    if not n_ground_truth:
        return float("nan")
    precision, recall, _ = precision_recall_curve(scores, is_true_positive, n_ground_truth)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def precision_recall_curve(
    scores: np.ndarray, is_true_positive: np.ndarray, n_ground_truth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall if one kept the best 1, 2, ... K detections.

    Args:
        scores: (K,) the detections' scores; of equal ones the earlier comes first.
        is_true_positive: (K,) bool.
        n_ground_truth: the boxes that were there to be found.

    Returns:
        Precision, recall (NaN without ground truth) and the lowest score kept, (K,) float64 each.
    """
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(np.asarray(is_true_positive, bool)[order])
    precision = hits / np.arange(1, len(hits) + 1)
    recall = hits / (n_ground_truth or np.nan)
    return precision, recall, scores[order]


def _has_label(labels: np.ndarray, label: str | None) -> np.ndarray:
    return np.ones(len(labels), bool) if label is None else labels == label


def _set_columns(table: GroundTruth | ScoredBoxes, **columns: np.ndarray) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns of unequal length: {lengths}")
    for name, column in columns.items():
        object.__setattr__(table, name, column)  # the way into a frozen dataclass


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
