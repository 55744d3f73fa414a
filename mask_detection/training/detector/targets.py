"""Target assignment: which face, if any, each cell of the face detector is to predict.

A cell is positive for a face if it is of a level that is responsible for faces of that size, lies within the face, and
lies near the face's middle ("center sampling" of FCOS's second version, https://arxiv.org/abs/2006.09214, section 3).
Of several such faces the smallest counts, as in FCOS.
"""

from __future__ import annotations

import numpy as np

from mask_detection.models.fcos import STRIDES, cell_centres, cell_strides
from mask_detection.utils.boxes import box_areas

# Instead of the index of a class:
UNKNOWN_CLASS = -1  # a face that teaches nothing about classes
IGNORED = -2  # may be a face or not: no prediction there is right or wrong

# Longer sides of faces that each level is responsible for, in pixels. FCOS's ranges end where the next ones begin;
# these overlap, lest a face at a border belong to none.
SIZE_RANGES = ((0.0, 56.0), (40.0, 128.0), (96.0, np.inf))
CENTRE_RADIUS = 1.5  # strides: FCOS's

# Columns of a row of targets; distances are in strides.
TARGET_FACE = 0  # 1 face, 0 none, -1 ignored
TARGET_CLASS = 1
TARGET_DISTANCES = slice(2, 6)
N_TARGETS = 6


def make_targets(boxes: np.ndarray, labels: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Assign each cell its target.

    Args:
        boxes: (N, 4) float xyxy in pixels of the network's input.
        labels: (N,) int, the index of each face's class, ``UNKNOWN_CLASS`` or ``IGNORED``.
        input_size: height and width of the input in pixels.

    Returns:
        (L, 6) float32, a row a cell in the order of :func:`mask_detection.models.fcos.cell_centres`:
        1 for a face, 0 for none, -1 for ignored; its class; and how far its left, top, right and bottom sides are
        from the cell's centre, in strides. Class and distances have a meaning only where there is a face.
    """
    centres, strides = cell_centres(*input_size), cell_strides(*input_size)
    targets = np.zeros((len(centres), N_TARGETS), np.float32)
    targets[:, TARGET_CLASS] = UNKNOWN_CLASS
    ignored = _within(boxes[labels == IGNORED], centres, strides / 2)  # half a cell around: it sees that much
    targets[ignored, TARGET_FACE] = -1
    boxes, labels = boxes[labels != IGNORED], labels[labels != IGNORED]
    if not len(boxes):
        return targets
    distances = _distances(boxes, centres)  # (L, N, 4)
    within = (distances[..., :2] >= 0).all(axis=2) & (distances[..., 2:] > 0).all(axis=2)
    is_responsible = within & _are_responsible(boxes, centres, strides)
    smallest = np.where(is_responsible, box_areas(boxes), np.inf)  # (L, N) square pixels
    face = smallest.argmin(axis=1)
    positive = np.flatnonzero(np.isfinite(smallest.min(axis=1)))
    face = face[positive]
    targets[positive, TARGET_FACE] = 1
    targets[positive, TARGET_CLASS] = labels[face]
    targets[positive, TARGET_DISTANCES] = distances[positive, face] / strides[positive, None]
    return targets


def _distances(boxes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """From each centre (L, 2) to the left, top, right and bottom side of each box (N, 4): (L, N, 4) pixels."""
    return np.concatenate([centres[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - centres[:, None]], axis=2)


def _are_responsible(boxes: np.ndarray, centres: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Whether each cell's level is meant for each box's size, and the cell lies near the box's middle: (L, N) bool."""
    longer_sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    low, high = np.array(SIZE_RANGES)[np.searchsorted(STRIDES, strides)].T  # (L,) each
    fits = (low[:, None] <= longer_sides) & (longer_sides < high[:, None])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = np.abs(centres[:, None] - middles[None]).max(axis=2)  # (L, N)
    return fits & (away < CENTRE_RADIUS * strides[:, None])


def _within(boxes: np.ndarray, centres: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Which centres (L, 2) lie in any of the boxes (N, 4) or no farther outside than their margin (L,): (L,) bool."""
    return (_distances(boxes, centres).min(axis=2) > -margins[:, None]).any(axis=1)
