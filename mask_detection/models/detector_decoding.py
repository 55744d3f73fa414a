"""What the face detector's outputs mean: numbers of cells on three grids become boxes, scores and classes.

The detector is of FCOS's kind (Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection"): no anchor
boxes. Three grids of cells lie over the picture, a cell for every 8, 16 or 32 pixels. Each cell says how sure it is
that a face's middle is near its own, how far the four sides of that face are from its centre, and what class it is of.

A cell's row of outputs: face logit, log of the distances to left, top, right and bottom in strides, a logit a class.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

STRIDES = (8, 16, 32)  # pixels between the centres of neighbouring cells, by level
INPUT_MULTIPLE = STRIDES[-1]  # pixels: width and height of the network's input are whole multiples of it

FACE = 0  # columns of a row of outputs
DISTANCES = slice(1, 5)
CLASSES = slice(5, None)

MAX_LOG_DISTANCE = 5.0  # e^5 = 148 strides are beyond any picture; keeps an untrained network's boxes finite


@lru_cache(maxsize=32)
def cell_centres(height: int, width: int) -> np.ndarray:
    """The centres of all cells of an input of that many pixels, level by level, row by row: (L, 2) float32 xy."""
    levels = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        levels.append((np.column_stack([columns.ravel(), rows.ravel()]) + 0.5) * stride)
    return _read_only(np.concatenate(levels).astype(np.float32))


@lru_cache(maxsize=32)
def cell_strides(height: int, width: int) -> np.ndarray:
    """The stride of each cell's level, in the order of :func:`cell_centres`: (L,) float32 pixels."""
    counts = [(height // stride) * (width // stride) for stride in STRIDES]
    return _read_only(np.repeat(np.array(STRIDES, np.float32), counts))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def decode(
    outputs: np.ndarray, input_size: tuple[int, int], min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn the network's answer to one picture into boxes.

    Args:
        outputs: (L, 5 + n_classes) float32, a row a cell, see the top of the file.
        input_size: height and width of the network's input in pixels.
        min_score: cells that are less sure to see a face are left out, 0..1.

    Returns:
        (M, 4) float32 xyxy in pixels of the input, perhaps outside of it; (M,) float32 scores 0..1; and
        (M, n_classes) float32 probabilities.
    """
    scores = sigmoid(outputs[:, FACE])
    sure = np.flatnonzero(scores >= min_score)
    centres, strides = cell_centres(*input_size)[sure], cell_strides(*input_size)[sure]
    distances = np.exp(np.minimum(outputs[sure, DISTANCES], MAX_LOG_DISTANCE)) * strides[:, None]
    boxes = np.hstack([centres - distances[:, :2], centres + distances[:, 2:]])
    return boxes, scores[sure], softmax(outputs[sure, CLASSES])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function, elementwise."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))  # the ends keep float32 from overflowing


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=-1, keepdims=True)
