"""Areas, overlaps and clipping of boxes: (N, 4) xyxy in pixels, x2 and y2 exclusive, of any number type."""

from __future__ import annotations

import numpy as np

SAME_FACE_IOU = 0.5  # from here on two boxes are of one face


def as_boxes(boxes: np.ndarray) -> np.ndarray:
    """As (N, 4) float64, in which the products of integer boxes cannot overflow."""
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box, 0 where its corners are swapped: (N, 4) -> (N,) float64 square pixels."""
    boxes = as_boxes(boxes)
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)


def box_sizes(boxes: np.ndarray) -> np.ndarray:
    """Square root of each box's area, by which COCO ranks sizes: (N, 4) -> (N,) float64 pixels."""
    return np.sqrt(box_areas(boxes))


def intersection_areas(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Area that each box of ``a`` (N, 4) shares with each of ``b`` (M, 4): (N, M) float64 square pixels."""
    a, b = as_boxes(a), as_boxes(b)
    upper_left = np.maximum(a[:, None, :2], b[None, :, :2])
    lower_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return (lower_right - upper_left).clip(min=0).prod(axis=2)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of ``a`` with each of ``b``; 0 where both are empty.

    Args:
        a: (N, 4) xyxy.
        b: (M, 4) xyxy.

    Returns:
        (N, M) float64, 0..1.
    """
    intersections = intersection_areas(a, b)
    unions = box_areas(a)[:, None] + box_areas(b)[None, :] - intersections
    return np.divide(intersections, unions, out=np.zeros_like(unions), where=unions > 0)


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Cut boxes (N, 4) to an image of (height, width) pixels; one that lies outside becomes empty."""
    height, width = image_size
    return np.clip(boxes, 0, [width, height, width, height])
