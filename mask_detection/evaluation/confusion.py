"""How often which class was predicted for which, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of true and predicted classes; what has no value, such as the recall of a class without faces, is NaN.

    Attributes:
        truth_names: R row names: the model's classes, then those unknown to it, which count in no other figure.
        class_names: C column names: the model's classes.
        counts: (R, C) int.
        recalls: (C,) float, the fraction of each class that was predicted right: the accuracy per class.
        precisions: (C,) float, the fraction of the predictions of each class that are right.
        accuracy: the fraction of all predictions that are right.
    """

    truth_names: tuple[str, ...]
    class_names: tuple[str, ...]
    counts: np.ndarray
    recalls: np.ndarray
    precisions: np.ndarray
    accuracy: float

    @property
    def balanced_accuracy(self) -> float:
        """The mean of ``recalls`` over the classes that occur."""
        return mean_of_defined(self.recalls)


def confusion(truth: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]) -> Confusion:
    """Count the predictions for each class.

    Args:
        truth: (N,) str true classes, some perhaps unknown to the model.
        predictions: (N,) str, among ``class_names``; an empty one is no prediction and does not count.
        class_names: the model's C classes.
    """
    n_classes = len(class_names)
    rows = [*class_names, *sorted(set(truth.tolist()) - set(class_names))]
    counts = np.zeros((len(rows), n_classes), int)
    recalls = precisions = np.full(n_classes, np.nan)
    accuracy = float("nan")
    if len(truth):  # scikit-learn refuses to count nothing
        counts = confusion_matrix(truth, predictions, labels=rows)[:, :n_classes]
    known = np.isin(truth, class_names) & np.isin(predictions, class_names)
    if known.any():
        of_known = truth[known], predictions[known]
        precisions, recalls, *_ = precision_recall_fscore_support(*of_known, labels=class_names, zero_division=np.nan)
        accuracy = float(accuracy_score(*of_known))
    return Confusion(tuple(rows), tuple(class_names), counts, recalls, precisions, accuracy)


def mean_of_defined(values: Sequence[float] | np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN where there are none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
