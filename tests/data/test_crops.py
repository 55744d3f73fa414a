"""Boxes of training crops: jittered ones, and places without a face."""

from __future__ import annotations

import numpy as np
import pytest

from mask_detection.data.crops import background_boxes, jitter_box


def test_jittered_boxes_stay_in_range_and_in_the_image():
    rng = np.random.default_rng(0)
    boxes = jitter_box(np.array([100, 100, 200, 150]), 500, (300, 400), rng)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert ((sides >= [84, 42]) & (sides <= [126, 63])).all()
    assert (np.abs(centres - [150, 125]) <= [8.5, 4.5]).all()
    assert np.ptp(sides[:, 0]) > 30

    at_edge = jitter_box(np.array([0, 0, 400, 300]), 100, (300, 400), rng)
    assert at_edge.min() == 0
    assert (at_edge <= [400, 300, 400, 300]).all()


@pytest.mark.parametrize(("face", "min_side"), [((0, 0, 400, 300), 12), ((0, 0, 10, 10), 151)])
def test_where_there_is_no_room_there_is_no_background(face, min_side):
    boxes = background_boxes(np.empty((0, 4)), np.array([face]), 5, (300, 400), min_side, 0.0, np.random.default_rng(0))
    assert boxes.shape == (0, 4)
