"""How much a rare class counts: in the loss, as a weight, and in the decision, as a bias on its log-probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    import keras

BALANCED, NONE = "balanced", "none"


def class_weights(choice: Sequence[str], class_names: Sequence[str], counts: np.ndarray) -> np.ndarray:
    """The weight of an image of each class in the loss, (n_classes,) float; over all images they average 1.

    Args:
        choice: ``balanced``: all classes have the same part in the loss; ``none``: all images have; or ``NAME=PART``
            for one or more classes: these have that part, 0..1, and the other classes share the rest evenly.
        class_names: of all classes.
        counts: (n_classes,) training images of each.

    Raises:
        MaskDetectionError: it is none of these, a name is none of the classes, or nothing is left for the rest.
    """
    if tuple(choice) == (NONE,):
        return np.ones(len(class_names))
    parts = np.full(len(class_names), np.nan)
    if tuple(choice) != (BALANCED,):
        for text in choice:
            index, part = named_value("--class-weight", text, class_names)
            parts[index] = -1.0 if part is None else part
    is_rest = np.isnan(parts)
    remaining = 1.0 - parts[~is_rest].sum()
    if (parts < 0).any() or remaining < 0 or is_rest.any() != (remaining > 0):
        raise MaskDetectionError(
            f"--class-weight {' '.join(choice)}: give balanced, none, or classes with their part of the whole such as "
            f"{class_names[0]}=0.2; the parts must leave something for the other classes, or sum to 1 if all are named"
        )
    parts[is_rest] = remaining / max(is_rest.sum(), 1)
    return parts * counts.sum() / np.maximum(counts, 1)


def named_value(option: str, text: str, class_names: Sequence[str]) -> tuple[int, float | None]:
    """The index of the class in ``NAME`` or ``NAME=VALUE``, and the value if there is one.

    Raises:
        MaskDetectionError: the data set has no such class, or the value is no number.
    """
    name, separator, value = text.partition("=")
    if name not in class_names:
        raise MaskDetectionError(f"{option} {text}: the data set has no class {name}, only {', '.join(class_names)}")
    index = list(class_names).index(name)
    if not separator:
        return index, None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise MaskDetectionError(f"{option} {text}: {value} is not a number")
    return index, number


def best_bias(labels: np.ndarray, probabilities: np.ndarray, index: int) -> float:
    """The bias on a class's log-probability with which its F1 score is highest.

    With a bias b, an image is of the class if log p(class) + b exceeds the log-probabilities of all others. Between two
    images for which that changes, b is in the middle; of biases that are equally good it is the smallest.

    Args:
        labels: (N,) the true classes.
        probabilities: (N, n_classes) as predicted without a bias.
        index: of the class.
    """
    needed = _needed_biases(probabilities, index)
    order = np.argsort(needed)
    needed, is_class = needed[order], labels[order] == index
    n_found = np.arange(1, len(needed) + 1)  # if the images up to this one are taken for the class
    f1 = 2 * np.cumsum(is_class) / (n_found + is_class.sum())
    ends = np.append(needed[1:], needed[-1] + 1.0)
    f1[ends == needed] = 0.0  # no bias lies between equals
    candidates = np.flatnonzero(f1 == f1.max())
    biases = (needed[candidates] + ends[candidates]) / 2
    return float(biases[np.abs(biases).argmin()])


def f1_score(labels: np.ndarray, probabilities: np.ndarray, index: int, bias: float = 0.0) -> float:
    """The F1 score of a class, 0..1, with a bias on its log-probability; for the arguments see :func:`best_bias`."""
    found, is_class = _needed_biases(probabilities, index) < bias, labels == index
    return float(2 * (found & is_class).sum() / max(found.sum() + is_class.sum(), 1))


def _needed_biases(probabilities: np.ndarray, index: int) -> np.ndarray:
    """The bias above which each image is taken for the class, (N,)."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return np.delete(logs, index, axis=1).max(axis=1) - logs[:, index]


def add_bias(model: keras.Model, index: int, bias: float) -> None:
    """Add a bias on a class's log-probability to the last layer of a model, which is a softmax layer."""
    kernel, biases = model.layers[-1].get_weights()
    biases[index] += bias
    model.layers[-1].set_weights([kernel, biases])
