"""Rare classes: what an image counts in the loss, and the bias that moves the decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mask_detection.data.dataset import Samples
from mask_detection.training.balance import add_bias, best_bias, class_weights, f1_score
from mask_detection.training.classifier import Examples
from mask_detection.utils.errors import MaskDetectionError

pytestmark = pytest.mark.xdist_group("tensorflow")

NAMES = ("mask_weared_incorrect", "with_mask", "without_mask")
COUNTS = np.array([10, 60, 30])


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        (["balanced"], [1 / 3, 1 / 3, 1 / 3]),
        (["none"], [0.1, 0.6, 0.3]),
        (["mask_weared_incorrect=0.2"], [0.2, 0.4, 0.4]),
        (["without_mask=0.3", "with_mask=0.5"], [0.2, 0.5, 0.3]),
        (["without_mask=0.3", "with_mask=0.5", "mask_weared_incorrect=0.2"], [0.2, 0.5, 0.3]),
    ],
)
def test_classes_have_their_part_in_the_loss(choice, parts):
    totals = class_weights(choice, NAMES, COUNTS) * COUNTS
    np.testing.assert_allclose(totals / COUNTS.sum(), parts)


@pytest.mark.parametrize(
    ("choice", "fault"),
    [
        (["with_maks=0.2"], "no class with_maks"),
        (["with_mask=a"], "a is not a number"),
        (["with_mask=nan"], "nan is not a number"),
        (["with_mask"], "give balanced, none, or"),
        (["with_mask=-0.1"], "give balanced, none, or"),
        (["with_mask=1"], "must leave something for the other classes"),
        (["with_mask=0.7", "without_mask=0.7"], "must leave something for the other classes"),
        (["balanced", "none"], "no class balanced"),
    ],
)
def test_parts_that_make_no_sense_are_refused(choice, fault):
    with pytest.raises(MaskDetectionError, match=fault):
        class_weights(choice, NAMES, COUNTS)


def test_backgrounds_count_once_whatever_the_classes_count():
    samples = Samples((Path("a"), Path("b")), np.array([2, 0]), NAMES, np.array(["", ""]), Path())
    examples = Examples.of(samples, [Path("c")], np.array([5.0, 1.0, 0.5]))
    assert examples.weights.tolist() == [0.5, 5.0, 1.0]
    np.testing.assert_allclose(examples.targets, [[0, 0, 1], [1, 0, 0], [1 / 3] * 3])
    assert examples.shuffled(1).weights.tolist() == [
        {"a": 0.5, "b": 5.0, "c": 1.0}[path.name] for path in examples.shuffled(1).paths
    ]


def random_predictions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities with which the first class is predicted too often."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 60)
    logits = rng.normal(0, 1.5, (60, 3)) + 2 * np.eye(3)[labels] + [2, 0, 0]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_bias_has_a_higher_f1(seed):
    labels, probabilities = random_predictions(seed)
    best = f1_score(labels, probabilities, 0, best_bias(labels, probabilities, 0))
    assert best == max(f1_score(labels, probabilities, 0, bias) for bias in np.linspace(-8, 8, 3001))
    assert best > f1_score(labels, probabilities, 0)


def test_f1_is_scikit_learns():
    from sklearn import metrics

    labels, probabilities = random_predictions(9)
    expected = metrics.f1_score(labels == 0, probabilities.argmax(axis=1) == 0)
    assert f1_score(labels, probabilities, 0) == pytest.approx(expected)


def test_where_all_is_right_already_nothing_is_moved_across():
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    labels = np.array([0, 0, 1, 1])
    assert f1_score(labels, probabilities, 0, best_bias(labels, probabilities, 0)) == 1
    assert best_bias(labels, probabilities, 0) == pytest.approx((np.log(4 / 6) + np.log(7 / 3)) / 2)


def test_equal_predictions_are_not_divided():
    probabilities = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    bias = best_bias(np.array([0, 1, 0]), probabilities, 0)
    assert f1_score(np.array([0, 1, 0]), probabilities, 0, bias) == pytest.approx(0.8)


def test_the_bias_is_part_of_the_model():
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    inputs = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
    before = np.asarray(model(inputs))

    add_bias(model, 1, -1.5)

    expected = before * np.exp([0, -1.5, 0])
    np.testing.assert_allclose(model(inputs), expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
