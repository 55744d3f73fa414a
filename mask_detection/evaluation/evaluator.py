"""How right the answers are: what was seen in annotated photos, and figures over many of them.

Three questions are kept apart. Are the faces found: recall, precision and average precision of boxes of any class. Are
the faces that a human marked classified right: accuracy on the true boxes, whatever the face detector does. And the
two together, as a user meets them: average precision by class.

Sizes are square roots of a box's area in pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.evaluation.metrics import GroundTruth, Matches, ScoredBoxes, match_images
from mask_detection.inference.detections import CERTAIN_FROM, Detections
from mask_detection.utils.boxes import box_iou, box_sizes

if TYPE_CHECKING:
    from mask_detection.data.annotations import Annotation
    from mask_detection.inference.detector import MaskDetector

IOU_THRESHOLD = 0.5  # the least overlap with a true face that counts as finding it
AP_CONFIDENCE = 0.1  # average precision is over faces from here on, however sure a user wants to be
FAR_IOU = 0.1  # a detected box that overlaps every true face less shows something else
SIZES = (0, 16, 32, 64)  # pixels; each stratum holds the faces of at least this size


@dataclass(frozen=True)
class PhotoResult:
    """What one annotated photo holds and what was seen in it.

    Attributes:
        truth: its N faces.
        answers: (N,) str, what the classifier says of each true box; empty where there is no classifier and the face
            detector, whose word counts then, did not find the face.
        answer_probabilities: (N,) float32, how probable it finds that.
        detections: the faces found down to a low confidence, for curves.
        seconds: what finding and classifying the faces took at the usual confidence.
    """

    truth: GroundTruth
    answers: np.ndarray
    answer_probabilities: np.ndarray
    detections: Detections
    seconds: float


def examine_photo(frame: np.ndarray, annotation: Annotation, detector: MaskDetector) -> PhotoResult:
    """Detect in a photo and classify its true boxes.

    Args:
        frame: the photo, (H, W, 3) BGR uint8.
        annotation: its faces.
        detector: at the usual confidence; the run with it is timed.
    """
    # First, so that warming up is not timed.
    detections = detector.with_confidence(min(AP_CONFIDENCE, detector.confidence))(frame)
    start = time.perf_counter()
    detector(frame)
    seconds = time.perf_counter() - start
    truth = GroundTruth(annotation.boxes, np.asarray(annotation.labels, str))
    of_truth = detector.classify(frame, annotation.boxes)
    # Even probabilities: in one-stage mode, a face that was not found.
    is_classified = of_truth.probabilities.max(axis=1, initial=0) > of_truth.probabilities.min(axis=1, initial=1)
    predictions = np.where(is_classified, np.asarray(of_truth.labels, str), "")
    return PhotoResult(truth, predictions, of_truth.label_probabilities * is_classified, detections, seconds)


def match_faces(photos: Iterable[PhotoResult], min_size: float = 0.0) -> Matches:
    """Match the faces of any class, scored by the face detector's confidence alone.

    Args:
        photos: what was seen.
        min_size: smaller faces count neither for nor against, see :func:`match_images`.
    """
    images = ((_scored(photo.detections, by_class=False), photo.truth) for photo in photos)
    return match_images(images, min_size=min_size, iou_threshold=IOU_THRESHOLD)


def match_classes(
    photos: Sequence[PhotoResult], class_names: Sequence[str], min_size: float = 0.0
) -> dict[str, Matches]:
    """Match the faces of each class, scored by face confidence times probability.

    Faces whose class is not among ``class_names`` count neither for nor against: a model cannot answer what it
    does not know.

    Args:
        photos: what was seen.
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


@dataclass(frozen=True)
class Confusion:
    """How often which answer was given to which class.

    Attributes:
        truth_names: R row names: the model's classes, then those unknown to it, which no figure here counts.
        class_names: C column names: the model's classes.
        counts: (R, C) int.
    """

    truth_names: tuple[str, ...]
    class_names: tuple[str, ...]
    counts: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(C, C) int, the rows of the classes that the model knows."""
        return self.counts[: len(self.class_names)]

    @property
    def recalls(self) -> np.ndarray:
        """(C,) the share of each class that got the right answer: the accuracy per class."""
        return _ratio(self.known.diagonal(), self.known.sum(axis=1))

    @property
    def precisions(self) -> np.ndarray:
        """(C,) the share of each answer that is right."""
        return _ratio(self.known.diagonal(), self.known.sum(axis=0))

    @property
    def accuracy(self) -> float:
        """The share of all answers that are right."""
        return float(_ratio(self.known.trace(), self.known.sum()))

    @property
    def balanced_accuracy(self) -> float:
        """The mean of ``recalls`` over the classes that occur."""
        return _mean_of_defined(self.recalls)


def confusion(truth: np.ndarray, answers: np.ndarray, class_names: Sequence[str]) -> Confusion:
    """Count the answers to each class.

    Args:
        truth: (N,) str true classes, some perhaps unknown to the model.
        answers: (N,) str, among ``class_names``.
        class_names: the model's classes.
    """
    rows = (*class_names, *sorted(set(truth.tolist()) - set(class_names)))
    counts = [[np.sum((truth == row) & (answers == column)) for column in class_names] for row in rows]
    return Confusion(rows, tuple(class_names), np.array(counts))


def confusion_on_truth(photos: Sequence[PhotoResult], class_names: Sequence[str], min_size: float = 0.0) -> Confusion:
    """Count the classifier's answers to the true boxes of at least a size."""
    sizes = np.concatenate([box_sizes(photo.truth.boxes) for photo in photos])
    truth = np.concatenate([photo.truth.labels for photo in photos])
    answers = np.concatenate([photo.answers for photo in photos])
    large = sizes >= min_size
    return confusion(truth[large], answers[large], class_names)


def certainty_on_truth(photos: Sequence[PhotoResult], class_names: Sequence[str], min_size: float = 0.0) -> float:
    """The share of the true boxes of at least a size, of known classes, whose answer is not uncertain."""
    sizes = np.concatenate([box_sizes(photo.truth.boxes) for photo in photos])
    labels = np.concatenate([photo.truth.labels for photo in photos])
    probabilities = np.concatenate([photo.answer_probabilities for photo in photos])
    chosen = (sizes >= min_size) & np.isin(labels, class_names) & (probabilities > 0)
    return _mean_of_defined(probabilities[chosen] >= CERTAIN_FROM)


def certainty_off_truth(photos: Sequence[PhotoResult], min_size: float = 0.0) -> float:
    """The share of the detected boxes of at least a size, far from every true face, whose answer is not uncertain."""
    certain: list[bool] = []
    for photo in photos:
        boxes = photo.detections.boxes
        far = box_iou(boxes, photo.truth.boxes).max(axis=1, initial=0) < FAR_IOU
        chosen = far & (box_sizes(boxes) >= min_size)
        certain += (~photo.detections.uncertain[chosen]).tolist()
    return _mean_of_defined(certain)


def photo_figures(photos: Sequence[PhotoResult], class_names: Sequence[str], confidence: float) -> dict[str, Any]:
    """All figures of annotated photos, ready for JSON; what has no value, such as a recall of no faces, is None.

    Args:
        photos: what was seen, at least one.
        class_names: the model's classes.
        confidence: of a face, at which recall and precision are meant.
    """
    seconds = [photo.seconds for photo in photos]
    return {
        "seconds_per_photo": {"median": float(np.median(seconds)), "mean": float(np.mean(seconds))},
        "by_size": [_size_figures(photos, class_names, confidence, size) for size in SIZES],
    }


def _size_figures(
    photos: Sequence[PhotoResult], class_names: Sequence[str], confidence: float, min_size: float
) -> dict[str, Any]:
    faces = match_faces(photos, min_size)
    sure = faces.above(confidence)
    answers = confusion_on_truth(photos, class_names, min_size)
    return {
        "min_size": min_size,
        "faces": faces.n_ground_truth,
        "face_recall": _or_none(sure.recall),
        "face_precision": _or_none(sure.precision),
        "face_ap": _or_none(faces.average_precision),
        **_ap_figures(match_classes(photos, class_names, min_size)),
        "accuracy": _by_class(class_names, answers.recalls),
        "balanced_accuracy": _or_none(answers.balanced_accuracy),
        "certain_on_true_boxes": _or_none(certainty_on_truth(photos, class_names, min_size)),
        "certain_on_false_boxes": _or_none(certainty_off_truth(photos, min_size)),
        "confusion_matrix": _confusion_figures(answers),
    }


def crop_figures(truth: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """All figures of classified face crops, as :func:`photo_figures`; for the arguments see :func:`match_crops`."""
    answers = confusion(truth, np.asarray(class_names)[probabilities.argmax(axis=1)], class_names)
    return {
        "accuracy": _or_none(answers.accuracy),
        "balanced_accuracy": _or_none(answers.balanced_accuracy),
        "precision": _by_class(class_names, answers.precisions),
        "recall": _by_class(class_names, answers.recalls),
        **_ap_figures(match_crops(truth, probabilities, class_names)),
        "confusion_matrix": _confusion_figures(answers),
    }


def _ap_figures(matches_by_class: Mapping[str, Matches]) -> dict[str, Any]:
    ap = [matches.average_precision for matches in matches_by_class.values()]
    return {"ap": _by_class(matches_by_class, ap), "map": _or_none(_mean_of_defined(ap))}


def _confusion_figures(answers: Confusion) -> dict[str, Any]:
    return {"truth": answers.truth_names, "answers": answers.class_names, "counts": answers.counts.tolist()}


def _by_class(class_names: Iterable[str], values: Iterable[float]) -> dict[str, float | None]:
    return {name: _or_none(value) for name, value in zip(class_names, values, strict=True)}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean_of_defined(values: Iterable[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
