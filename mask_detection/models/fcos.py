"""The built-in face detector's network, and what its outputs mean.

    image (H, W, 3) → MobileNetV2 up to block 16 → features at strides 8, 16, 32
                    → pyramid: coarse features are added to finer ones (Lin et al. 2017, https://arxiv.org/abs/1612.03144)
                    → heads, one a level: face and sides from one branch, classes from the other

It is an anchor-free detector of FCOS's kind (Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection").
Three grids of cells lie over the image, a cell for every 8, 16 or 32 pixels. Each cell predicts how probable it is that
a face's middle is near its own, how far the four sides of that face are from its centre, and the face's class.

A cell's row of outputs: face logit, log of the distances to left, top, right and bottom in strides, a logit a class.

About 2 million parameters. It is made of what LiteRT runs fast and at any input size: convolutions, batch
normalisation (which melts into them) and ReLU6; nothing in it knows the size of its input.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.utils.tensorflow import start_tensorflow

if TYPE_CHECKING:
    import keras

STRIDES = (8, 16, 32)  # pixels between the centres of neighbouring cells, by level
INPUT_MULTIPLE = STRIDES[-1]  # pixels: width and height of the network's input are whole multiples of it

FACE = 0  # columns of a row of outputs
DISTANCES = slice(1, 5)
CLASSES = slice(5, None)

MAX_LOG_DISTANCE = 5.0  # e^5 = 148 strides are beyond any image; keeps an untrained network's boxes finite

# Where the backbone is tapped, by level: its widest layers before each halving, as in SSDLite
# (Sandler et al. 2018, https://arxiv.org/abs/1801.04381).
TAPS = ("block_6_expand_relu", "block_13_expand_relu", "block_16_project_BN")
FROZEN_UP_TO = "block_2_add"  # edges and colours are the same for faces, and training is faster
PYRAMID_CHANNELS = 64
BRANCH_LAYERS = 2
PRIOR = 0.01  # fraction of cells with a face: the first steps are not wasted on unlearning all others (focal loss)
FIRST_DISTANCE = 2.0  # strides from a cell's centre to each side, before anything is learned


def build_detector(n_classes: int, backbone_weights: list[np.ndarray] | None = None) -> keras.Model:
    """Build the network; the layers that training leaves alone are frozen.

    Args:
        n_classes: how many classes of faces to predict.
        backbone_weights: from :func:`mask_detection.models.mobilenet.backbone_weights`; random without them.

    Returns:
        A model from (N, H, W, 3) float32 RGB in -1..1, H and W multiples of 32, to (N, L, 5 + n_classes), a row a
        cell, see the top of the file.
    """
    start_tensorflow()
    import keras

    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3))
    if backbone_weights:
        backbone.set_weights(backbone_weights)
    _freeze_early_layers(backbone)
    taps = [backbone.get_layer(name).output for name in TAPS]
    heads = [_head(level, n_classes, stride) for level, stride in zip(_pyramid(taps), STRIDES, strict=True)]
    rows = keras.layers.Concatenate(axis=1, name="cells")(heads)
    return keras.Model(backbone.input, rows, name="mask_face_detector")


def _freeze_early_layers(backbone: keras.Model) -> None:
    """Let the first blocks stay as they are, and all batch normalisation keep ImageNet's statistics."""
    import keras

    names = [layer.name for layer in backbone.layers]
    learning = set(names[names.index(FROZEN_UP_TO) + 1 :])
    for layer in backbone.layers:
        layer.trainable = layer.name in learning and not isinstance(layer, keras.layers.BatchNormalization)


def _pyramid(taps: list[Any]) -> list[Any]:
    """Give every level what the coarser ones know: (N, H/stride, W/stride, 64) a level, the finest first."""
    import keras

    sides = [_convolution(tap, f"lateral_{stride}") for tap, stride in zip(taps, STRIDES, strict=True)]
    merged = [sides[-1]]
    for side, stride in zip(sides[-2::-1], STRIDES[-2::-1], strict=True):
        larger = _doubled(merged[0], f"doubled_{stride}")
        merged.insert(0, keras.layers.Add(name=f"merge_{stride}")([side, larger]))
    return [_separable(level, f"smooth_{stride}") for level, stride in zip(merged, STRIDES, strict=True)]


def _doubled(x: Any, name: str) -> Any:
    """Nearest-neighbour enlargement to twice the size.

    Written with ``depth_to_space`` because LiteRT's resizing operator holds a size, and would fix that of the input.
    """
    import keras
    import tensorflow as tf

    def enlarge(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(tf.concat([x] * 4, axis=-1), 2)

    return keras.layers.Lambda(enlarge, name=name)(x)


def _head(level: Any, n_classes: int, stride: int) -> Any:
    """The outputs of a level's cells: (N, cells, 5 + n_classes)."""
    import keras

    where, what = level, level
    for i in range(BRANCH_LAYERS):
        where = _separable(where, f"where_{stride}_{i}")
        what = _separable(what, f"what_{stride}_{i}")
    first_places = keras.initializers.Constant(np.log([PRIOR / (1 - PRIOR), *[FIRST_DISTANCE] * 4]))
    small = keras.initializers.RandomNormal(stddev=0.01)
    places = keras.layers.Conv2D(5, 1, kernel_initializer=small, bias_initializer=first_places, name=f"places_{stride}")
    classes = keras.layers.Conv2D(n_classes, 1, kernel_initializer=small, name=f"classes_{stride}")
    outputs = keras.layers.Concatenate(name=f"answers_{stride}")([places(where), classes(what)])
    return keras.layers.Reshape((-1, 5 + n_classes), name=f"rows_{stride}")(outputs)


def _convolution(x: Any, name: str) -> Any:
    """1 x 1 convolution with batch normalisation."""
    import keras

    x = keras.layers.Conv2D(PYRAMID_CHANNELS, 1, use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(momentum=0.97, name=f"{name}_bn")(x)


def _separable(x: Any, name: str) -> Any:
    """3 x 3 over each channel, then 1 x 1 across them: MobileNet's kind of convolution."""
    import keras

    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = _convolution(x, name)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


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
    """Turn the network's outputs for one image into boxes.

    Args:
        outputs: (L, 5 + n_classes) float32, a row a cell, see the top of the file.
        input_size: height and width of the network's input in pixels.
        min_score: cells with a lower face score are dropped, 0..1.

    Returns:
        (M, 4) float32 xyxy in pixels of the input, perhaps outside of it; (M,) float32 scores 0..1; and
        (M, n_classes) float32 probabilities.
    """
    scores = sigmoid(outputs[:, FACE])
    kept = np.flatnonzero(scores >= min_score)
    centres, strides = cell_centres(*input_size)[kept], cell_strides(*input_size)[kept]
    distances = np.exp(np.minimum(outputs[kept, DISTANCES], MAX_LOG_DISTANCE)) * strides[:, None]
    boxes = np.hstack([centres - distances[:, :2], centres + distances[:, 2:]])
    return boxes, scores[kept], softmax(outputs[kept, CLASSES])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function, elementwise."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))  # the ends keep float32 from overflowing


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=-1, keepdims=True)
