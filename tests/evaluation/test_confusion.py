from __future__ import annotations

import numpy as np
import pytest

from mask_detection.evaluation.confusion import confusion

WITH, WITHOUT, INCORRECT = "with_mask", "without_mask", "mask_weared_incorrect"
CLASSES = (WITH, WITHOUT)


def counted(pairs: list[tuple[str, str]], class_names: tuple[str, ...] = CLASSES):
    truth, predictions = np.array(pairs, str).reshape(-1, 2).T
    return confusion(truth, predictions, class_names)


def test_figures_by_hand():
    figures = counted([(WITH, WITH)] * 3 + [(WITH, WITHOUT)] + [(WITHOUT, WITHOUT)] * 4 + [(WITHOUT, WITH)] * 2)
    assert figures.counts.tolist() == [[3, 1], [2, 4]]
    assert figures.recalls == pytest.approx([3 / 4, 4 / 6])
    assert figures.precisions == pytest.approx([3 / 5, 4 / 5])
    assert figures.accuracy == pytest.approx(7 / 10)
    assert figures.balanced_accuracy == pytest.approx((3 / 4 + 4 / 6) / 2)


def test_classes_that_the_model_does_not_know_have_rows_and_no_other_figure():
    known = counted([(WITH, WITH), (WITHOUT, WITH)])
    figures = counted([(WITH, WITH), (WITHOUT, WITH), (INCORRECT, WITH), (INCORRECT, WITHOUT)])
    assert figures.truth_names == (*CLASSES, INCORRECT)
    assert figures.counts.tolist() == [[1, 0], [1, 0], [1, 1]]
    assert figures.recalls.tolist() == known.recalls.tolist() == [1, 0]
    assert figures.precisions[0] == known.precisions[0] == 1 / 2
    assert np.isnan(figures.precisions[1])  # nothing is predicted to be without a mask
    assert figures.accuracy == known.accuracy == 1 / 2


def test_no_prediction_counts_nowhere():
    figures = counted([(WITH, WITH), (WITH, ""), (WITHOUT, "")])
    assert figures.counts.tolist() == [[1, 0], [0, 0]]
    assert figures.recalls[0] == figures.accuracy == figures.balanced_accuracy == 1
    assert np.isnan(figures.recalls[1])


@pytest.mark.parametrize("pairs", [[], [(INCORRECT, WITH)], [(WITH, "")]])
def test_without_anything_to_count_the_figures_have_no_value(pairs):
    figures = counted(pairs)
    assert np.isnan([*figures.recalls, *figures.precisions, figures.accuracy, figures.balanced_accuracy]).all()
    assert figures.counts[:2].tolist() == [[0, 0], [0, 0]]
