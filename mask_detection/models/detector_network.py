"""The face detector's network: MobileNetV2 below, a feature pyramid above it, and heads that look at every cell.

    picture (H, W, 3) → MobileNetV2 up to block 16 → features at strides 8, 16, 32
                      → pyramid: coarse features are added to finer ones (Lin et al. 2017, https://arxiv.org/abs/1612.03144)
                      → heads, one a level: face and sides from one branch, classes from the other

About 2 million parameters. It is made of what LiteRT runs fast and at any input size: convolutions, batch
normalisation (which melts into them) and ReLU6; nothing in it knows the size of its input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.models.detector_decoding import STRIDES
from mask_detection.utils.tensorflow import start_tensorflow

if TYPE_CHECKING:
    import keras

# Where the backbone is tapped, by level: its widest layers before each halving, as in SSDLite
# (Sandler et al. 2018, https://arxiv.org/abs/1801.04381).
TAPS = ("block_6_expand_relu", "block_13_expand_relu", "block_16_project_BN")
FROZEN_UP_TO = "block_2_add"  # edges and colours are the same for faces, and training is faster
PYRAMID_CHANNELS = 64
BRANCH_LAYERS = 2
PRIOR = 0.01  # share of cells with a face, for the first steps not to be wasted on unlearning all others (focal loss)
FIRST_DISTANCE = 2.0  # strides from a cell's centre to each side, before anything is learned


def build_detector(n_classes: int, backbone_weights: list[np.ndarray] | None = None) -> keras.Model:
    """Build the network; what is to be trained of it is marked so.

    Args:
        n_classes: how many classes of faces to tell apart.
        backbone_weights: from :func:`mask_detection.models.mobilenet.backbone_weights`; random without them.

    Returns:
        A model from (N, H, W, 3) float32 RGB in -1..1, H and W multiples of 32, to (N, L, 5 + n_classes), a row a
        cell, see :mod:`mask_detection.models.detector_decoding`.
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
    """The answers of a level's cells: (N, cells, 5 + n_classes)."""
    import keras

    where, what = level, level
    for i in range(BRANCH_LAYERS):
        where = _separable(where, f"where_{stride}_{i}")
        what = _separable(what, f"what_{stride}_{i}")
    first_places = keras.initializers.Constant(np.log([PRIOR / (1 - PRIOR), *[FIRST_DISTANCE] * 4]))
    small = keras.initializers.RandomNormal(stddev=0.01)
    places = keras.layers.Conv2D(5, 1, kernel_initializer=small, bias_initializer=first_places, name=f"places_{stride}")
    classes = keras.layers.Conv2D(n_classes, 1, kernel_initializer=small, name=f"classes_{stride}")
    answers = keras.layers.Concatenate(name=f"answers_{stride}")([places(where), classes(what)])
    return keras.layers.Reshape((-1, 5 + n_classes), name=f"rows_{stride}")(answers)


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
