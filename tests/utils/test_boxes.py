"""Areas, overlaps and clipping of boxes."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from mask_detection.utils.boxes import box_areas, box_iou, box_sizes, clip_boxes, intersection_areas

NONE = np.empty((0, 4))


def random_boxes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 250, (count, 2))
    return np.hstack([corners, corners + rng.uniform(5, 140, (count, 2))])


def xywh(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def test_iou_of_boxes_that_are_equal_apart_and_overlapping():
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.int32)
    b = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [5, 0, 15, 10], [2, 2, 4, 4]], np.float32)

    np.testing.assert_allclose(box_iou(a, b), [[1, 0, 1 / 3, 0.04], [0, 0, 0, 0]])
    assert box_iou(a, NONE).shape == (2, 0)
    assert box_iou(NONE, NONE).shape == (0, 0)


def test_iou_agrees_with_pycocotools():
    a, b = random_boxes(30, seed=1), random_boxes(20, seed=2)
    np.testing.assert_allclose(box_iou(a, b), coco_mask.iou(xywh(a), xywh(b), [0] * len(b)), atol=1e-12)


def test_a_box_shares_its_whole_area_with_itself_and_none_with_a_box_beside_it():
    boxes = np.array([[0, 0, 30, 20], [30, 0, 60, 20], [10, 10, 40, 40]])
    assert intersection_areas(boxes, boxes).tolist() == [[600, 0, 200], [0, 600, 100], [200, 100, 900]]


def test_areas_and_sizes_of_whole_and_swapped_boxes():
    boxes = np.array([[0, 0, 4, 9], [5, 5, 3, 9]])
    assert box_areas(boxes).tolist() == [36, 0]
    assert box_sizes(boxes).tolist() == [6, 0]


def test_areas_of_integers_do_not_overflow():
    assert box_areas(np.array([[0, 0, 100_000, 100_000]], np.int32)).tolist() == [1e10]
    assert box_areas(np.array([[0, 0, 250, 250]], np.uint8)).tolist() == [62_500]


def test_clipping_cuts_to_the_image_and_empties_what_is_outside():
    boxes = np.array([[-5, -5, 700, 500], [650, 10, 660, 20], [1.5, 2, 3, 4]])
    clipped = clip_boxes(boxes, (480, 640))
    assert clipped.tolist() == [[0, 0, 640, 480], [640, 10, 640, 20], [1.5, 2, 3, 4]]
    assert box_areas(clipped)[1] == 0
