"""Boxes for training crops: a face as different detectors would box it, and places where no face is."""

from __future__ import annotations

import numpy as np

from mask_detection.models.preprocessing import crop_squares
from mask_detection.utils.boxes import box_areas, box_iou, clip_boxes, intersection_areas

# Detectors and annotators agree on where a face is, but one box ends at the brows and another above the hair, one at
# the chin and another at the collar. The ranges cover that, and lean towards larger boxes, which lose nothing.
JITTER_SHIFT = 0.08  # at most, in parts of the box's width and height
JITTER_SCALE = (0.85, 1.25)  # of width and height, each by itself

MAX_FACE_IOU = 0.05  # of a background's crop with a face; above, it could pass for a bad crop of the face
MAX_FACE_FRACTION = 0.1  # of a background's crop that a face may cover: an edge of hair, but no mouth
MAX_SQUARE_SHARE = 0.5  # of the photo's smaller side: the largest random background
CANDIDATES = 100  # random squares to choose from; in a crowd most of them meet a face


def no_boxes() -> np.ndarray:
    """(0, 4) int."""
    return np.empty((0, 4), int)


def jitter_box(box: np.ndarray, count: int, frame_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Move and scale a face's box at random.

    Args:
        box: (4,) xyxy in pixels.
        count: how many boxes to make; fewer come back where a box of a pixel or two shrinks to nothing.
        frame_size: height and width of the picture in pixels.
        rng: where the chance comes from.

    Returns:
        (count, 4) int xyxy, x2 and y2 exclusive, inside the picture.
    """
    side = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + side * rng.uniform(-JITTER_SHIFT, JITTER_SHIFT, (count, 2))
    half = side * rng.uniform(*JITTER_SCALE, (count, 2)) / 2
    boxes = clip_boxes(np.hstack([centre - half, centre + half]).round().astype(int), frame_size)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def background_boxes(
    suspects: np.ndarray,
    faces: np.ndarray,
    count: int,
    frame_size: tuple[int, int],
    min_side: int,
    margin: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Choose places of a picture where no face is: the suspects first, then random squares.

    Args:
        suspects: (K, 4) xyxy in pixels, what a detector nearly took for a face, the surest first.
        faces: (M, 4) xyxy, what may be a face.
        count: how many boxes to choose; fewer come back where faces leave no room.
        frame_size: height and width of the picture in pixels.
        min_side: smaller boxes are not chosen, in pixels.
        margin: what the crops will have around the boxes; the faces are to be outside of it too.
        rng: where the chance comes from.

    Returns:
        (count, 4) int xyxy, x2 and y2 exclusive, inside the picture.
    """
    suspects = suspects[(suspects[:, 2:] - suspects[:, :2]).min(axis=1) >= min_side]
    candidates = np.concatenate([suspects, _random_squares(frame_size, min_side, rng)]).astype(int)
    return candidates[_are_clear(crop_squares(candidates, frame_size, margin), faces)][:count]


def _random_squares(frame_size: tuple[int, int], min_side: int, rng: np.random.Generator) -> np.ndarray:
    """Squares anywhere in a picture, their sides log-uniform as those of faces far and near: (M, 4) int xyxy."""
    height, width = frame_size
    max_side = int(min(height, width) * MAX_SQUARE_SHARE)
    if max_side < min_side:
        return no_boxes()
    sides = np.exp(rng.uniform(np.log(min_side), np.log(max_side), (CANDIDATES, 1))).round()
    corners = rng.integers(0, [width, height] - sides, endpoint=True)
    return np.hstack([corners, corners + sides]).astype(int)


def _are_clear(boxes: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) hardly touch any face (M, 4): (N,) bool."""
    shared, areas = intersection_areas(boxes, faces), box_areas(boxes)[:, None]  # (N, M), (N, 1)
    is_clear = (box_iou(boxes, faces) < MAX_FACE_IOU) & (shared < MAX_FACE_FRACTION * areas)
    return np.logical_and.reduce(is_clear, axis=1)
