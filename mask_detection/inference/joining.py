"""What a face's class probabilities are: the classifier's, weighed by the size, joined with those of the detector."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from mask_detection.inference.classes import worn_wrong_columns
from mask_detection.utils.boxes import box_sizes

logger = logging.getLogger(__name__)

# Measured on street photos that the models had not seen: below this size the classifier takes ever more faces of other
# classes for worn wrong, and hardly any that is.
NOSE_SEEN_FROM = 48  # pixels, the square root of a box's area


def weigh_worn_wrong(probabilities: np.ndarray, boxes: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Make masks worn wrong less probable on small faces: their odds shrink with the face, below ``NOSE_SEEN_FROM``.

    Args:
        probabilities: the classifier's, (N, n_classes) float32.
        boxes: (N, 4) xyxy in pixels.
        class_names: of the columns.

    Returns:
        (N, n_classes) float32; the same array where no class or no face is concerned.
    """
    columns = worn_wrong_columns(class_names)
    sizes = box_sizes(boxes)
    small = sizes < NOSE_SEEN_FROM
    if not columns or not small.any():
        return probabilities
    weighed = probabilities.copy()
    for column in columns:
        weighed[small, column] *= (sizes[small] / NOSE_SEEN_FROM).astype(np.float32)
    weighed[small] /= weighed[small].sum(axis=1, keepdims=True)
    return weighed


class Join:
    """Joins class probabilities of the same faces: the mean, over the classes that both know.

    Where only the classifier knows the class of masks worn wrong, it decides how probable that is, and both decide how
    the rest is divided between the other classes. Class lists that differ otherwise are not joined.
    """

    def __init__(self, classifier_classes: Sequence[str], detector_classes: Sequence[str]) -> None:
        """Compare the class lists; where they can't be joined, a line is logged.

        Args:
            classifier_classes: in the order of the classifier's columns.
            detector_classes: in the order of the detector's columns; none for one that doesn't classify.
        """
        alone = [i for i in worn_wrong_columns(classifier_classes) if classifier_classes[i] not in detector_classes]
        shared = [i for i in range(len(classifier_classes)) if i not in alone]
        self._is_possible = sorted(detector_classes) == sorted(classifier_classes[i] for i in shared)
        if detector_classes and not self._is_possible:
            logger.warning(
                "the face detector knows the classes %s and the classifier %s; the classifier decides alone",
                ", ".join(detector_classes),
                ", ".join(classifier_classes),
            )
        if self._is_possible:
            self._shared, self._alone = np.array(shared, int), np.array(alone, int)
            self._order = [list(detector_classes).index(classifier_classes[i]) for i in shared]

    @property
    def columns(self) -> dict[str, list[int]] | None:
        """What is joined, for those who join elsewhere; None where the classifier decides alone.

        ``shared`` are the columns of the classifier that the detector knows, too, ``order`` the detector's for each of
        these, and ``alone`` the classifier's others.
        """
        if not self._is_possible:
            return None
        return {"shared": self._shared.tolist(), "order": self._order, "alone": self._alone.tolist()}

    def __call__(self, of_classifier: np.ndarray, of_detector: np.ndarray) -> np.ndarray:
        """Join probabilities (N, n_classes) and (N, n_detector_classes) in the classifier's columns."""
        if not self._is_possible:
            return of_classifier
        joined = of_classifier.copy()
        rest = 1 - of_classifier[:, self._alone].sum(axis=1, keepdims=True)
        joined[:, self._shared] = (of_classifier[:, self._shared] + rest * of_detector[:, self._order]) / 2
        return joined
