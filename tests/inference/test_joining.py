"""Probabilities of a classifier: worn wrong by the size of the face, and joined with a face detector's."""

from __future__ import annotations

import numpy as np
import pytest

from mask_detection.inference.joining import NOSE_SEEN_FROM, Join, weigh_worn_wrong

TWO = ("with_mask", "without_mask")
THREE = ("mask_weared_incorrect", *TWO)


def test_equal_classes_are_averaged_in_any_order(caplog):
    join = Join(TWO, TWO[::-1])
    np.testing.assert_allclose(join(np.float32([[0.5, 0.5]]), np.float32([[0.1, 0.9]])), [[0.7, 0.3]], rtol=1e-6)
    assert not caplog.records


def test_the_classifier_alone_decides_on_worn_wrong_and_both_on_the_rest(caplog):
    join = Join(THREE, TWO)
    joined = join(np.float32([[0.2, 0.5, 0.3], [0.9, 0.1, 0.0]]), np.float32([[0.9, 0.1], [0.5, 0.5]]))
    np.testing.assert_allclose(
        joined, [[0.2, (0.5 + 0.8 * 0.9) / 2, (0.3 + 0.8 * 0.1) / 2], [0.9, 0.075, 0.025]], rtol=1e-6
    )
    assert joined.dtype == np.float32
    assert not caplog.records


def test_three_classes_of_both_are_averaged():
    joined = Join(THREE, THREE)(np.float32([[0.6, 0.2, 0.2]]), np.float32([[0.2, 0.2, 0.6]]))
    np.testing.assert_allclose(joined, [[0.4, 0.2, 0.4]], rtol=1e-6)


@pytest.mark.parametrize(("classifier", "detector"), [(("a", "b"), TWO), (TWO, THREE), ((*TWO, "scarf"), TWO)], ids=str)
def test_other_class_lists_are_not_joined_in_silence(caplog, classifier, detector):
    probabilities = np.float32([np.eye(len(classifier))[0]])
    assert Join(classifier, detector)(probabilities, np.ones((1, len(detector)))).tolist() == probabilities.tolist()
    (record,) = caplog.records
    assert all(name in record.getMessage() for name in (*classifier, *detector))


def test_a_detector_without_classes_says_nothing(caplog):
    probabilities = np.float32([[0.3, 0.7]])
    assert Join(TWO, ())(probabilities, np.empty((1, 0))).tolist() == probabilities.tolist()
    assert not caplog.records


def test_no_faces_are_no_rows():
    assert Join(THREE, TWO)(np.empty((0, 3), np.float32), np.empty((0, 2), np.float32)).shape == (0, 3)


def squares(*sides: float) -> np.ndarray:
    return np.float32([[0, 0, side, side] for side in sides])


def test_worn_wrong_loses_odds_with_the_size_of_the_face():
    half = NOSE_SEEN_FROM / 2
    given = np.float32([[0.5, 0.3, 0.2]] * 3)
    weighed = weigh_worn_wrong(given, squares(NOSE_SEEN_FROM, half, half / 2), THREE)
    np.testing.assert_array_equal(weighed[0], given[0])
    np.testing.assert_allclose(weighed[1], [1 / 3, 0.4, 4 / 15], rtol=1e-6)
    np.testing.assert_allclose(weighed[2], [0.2, 0.48, 0.32], rtol=1e-6)
    assert weighed.dtype == np.float32
    assert given[1, 0] == 0.5


@pytest.mark.parametrize("class_names", [TWO, ("helmet", "cap", "hat")], ids=str)
def test_models_without_worn_wrong_say_the_same_of_small_faces(class_names):
    given = np.float32([np.arange(1, len(class_names) + 1)]) / 10
    np.testing.assert_array_equal(weigh_worn_wrong(given, squares(10), class_names), given)


def test_no_faces_weigh_nothing():
    assert weigh_worn_wrong(np.empty((0, 3), np.float32), np.empty((0, 4)), THREE).shape == (0, 3)
