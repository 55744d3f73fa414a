"""The built-in face detector's network, and what its outputs mean.

    image (H, W, 3) → MobileNetV2's blocks, narrowed → features at strides 8, 16, 32
                    → pyramid: coarse features are added to finer ones (Lin et al. 2017, https://arxiv.org/abs/1612.03144)
                    → heads, one a level: face and sides from one branch, classes from the other

It is an anchor-free detector of FCOS's kind (Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection").
Three grids of cells lie over the image, a cell for every 8, 16 or 32 pixels. Each cell predicts how probable it is that
a face's middle is near its own, how far the four sides of that face are from its centre, and the face's class.

A cell's row of outputs: face logit, log of the distances to left, top, right and bottom in strides, a logit a class.

It is made of what LiteRT runs fast and at any input size: convolutions and ReLU6; nothing in it knows the size of its
input. It has no batch normalisation: its weights come from a trained network's, into which that is folded.
"""

from __future__ import annotations

from dataclasses import dataclass
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

# MobileNetV2's blocks 1 to 16 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381): channels that each gives, and
# those at which the resolution is halved. The pyramid taps the widest layers before each halving, as in SSDLite.
BLOCK_OUTPUTS = (24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160)
HALVING_BLOCKS = (1, 3, 6, 13)
STEM_OUTPUTS = 16
TAPS = ("block_6_expand", "block_13_expand", "block_16_depthwise")
BRANCH_LAYERS = 2
EARLY_LAYERS = ("Conv1", "expanded_conv_", *(f"block_{number}_" for number in range(1, HALVING_BLOCKS[2])))
CLASS_LAYERS = ("what_", "classes_")  # beginnings of the names of those that nothing but the classes depends on
PRIOR = 0.01  # fraction of cells with a face: the first steps are not wasted on unlearning all others (focal loss)
FIRST_DISTANCE = 2.0  # strides from a cell's centre to each side, before anything is learned

LayerWeights = dict[str, tuple[np.ndarray, np.ndarray]]  # kernel and bias, by the layer's name


@dataclass(frozen=True)
class Widths:
    """How many channels the network has where nothing but its time depends on it.

    Attributes:
        stem: of the first convolution.
        expansions: of the widest layers of blocks 1 to 16.
        pyramid: of the pyramid and the heads.
    """

    stem: int
    expansions: tuple[int, ...]
    pyramid: int

    def at_most(self, limits: Widths) -> Widths:
        """These widths, but none above its limit."""
        expansions = tuple(map(min, self.expansions, limits.expansions))
        return Widths(min(self.stem, limits.stem), expansions, min(self.pyramid, limits.pyramid))


MOBILENET_WIDTHS = Widths(32, (96, 144, 144, *[192] * 3, *[384] * 4, *[576] * 3, *[960] * 3), 64)
LIGHT_WIDTHS = Widths(16, (32, 48, 48, *[64] * 2, 128, *[112] * 4, *[176] * 2, 192, *[224] * 3), 48)


def build_detector(n_classes: int, widths: Widths = LIGHT_WIDTHS, weights: LayerWeights | None = None) -> keras.Model:
    """Build the network.

    Args:
        n_classes: how many classes of faces to predict.
        widths: how many channels it has.
        weights: of the layers that are not to start from random ones.

    Returns:
        A model from (N, H, W, 3) float32 RGB in -1..1, H and W multiples of 32, to (N, L, 5 + n_classes), a row a
        cell, see the top of the file.
    """
    start_tensorflow()
    import keras

    image = keras.Input((None, None, 3), name="image")
    taps = _backbone(image, widths)
    levels = _pyramid(taps, widths.pyramid)
    heads = [_head(level, n_classes, stride) for level, stride in zip(levels, STRIDES, strict=True)]
    model = keras.Model(image, keras.layers.Concatenate(axis=1, name="cells")(heads), name="mask_face_detector")
    for name, values in (weights or {}).items():
        model.get_layer(name).set_weights(values)
    return model


def freeze_early_blocks(model: keras.Model) -> None:
    """Leave a detector's layers before block 6 as they are, for a training that takes less time."""
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(EARLY_LAYERS)


def freeze_all_but_classes(model: keras.Model) -> None:
    """Leave nothing of a detector to train but the layers that its faces' boxes and scores don't depend on."""
    for layer in model.layers:
        layer.trainable = layer.name.startswith(CLASS_LAYERS)


def layer_weights(model: keras.Model) -> LayerWeights:
    """Kernel and bias of each layer of a detector."""
    return {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.get_weights()}


def widths_of(weights: LayerWeights) -> Widths:
    """The widths of the network that these weights are of, or are to start."""
    expansions = tuple(weights[f"block_{number}_expand"][1].size for number in range(1, len(BLOCK_OUTPUTS) + 2))
    lateral = weights.get(f"lateral_{STRIDES[-1]}")
    return Widths(weights["Conv1"][1].size, expansions, lateral[1].size if lateral else MOBILENET_WIDTHS.pyramid)


def _backbone(image: Any, widths: Widths) -> list[Any]:
    """MobileNetV2's blocks: the tapped layers, at strides 8, 16 and 32."""
    import keras

    taps = {}
    x = _convolution(image, "Conv1", widths.stem, size=3, stride=2)
    x = _convolution(_depthwise(x, "expanded_conv_depthwise"), "expanded_conv_project", STEM_OUTPUTS, linear=True)
    for number, width in enumerate(widths.expansions, 1):
        name, stride = f"block_{number}", 2 if number in HALVING_BLOCKS else 1
        taps[f"{name}_expand"] = expanded = _convolution(x, f"{name}_expand", width)
        taps[f"{name}_depthwise"] = filtered = _depthwise(expanded, f"{name}_depthwise", stride)
        if number > len(BLOCK_OUTPUTS):
            break  # the last block's outputs are the pyramid's
        projected = _convolution(filtered, f"{name}_project", BLOCK_OUTPUTS[number - 1], linear=True)
        is_residual = stride == 1 and x.shape[-1] == projected.shape[-1]
        x = keras.layers.Add(name=f"{name}_add")([x, projected]) if is_residual else projected
    return [taps[name] for name in TAPS]


def _pyramid(taps: list[Any], width: int) -> list[Any]:
    """Give every level what the coarser ones know: (N, H/stride, W/stride, width) a level, the finest first."""
    import keras

    sides = [
        _convolution(tap, f"lateral_{stride}", width, linear=True) for tap, stride in zip(taps, STRIDES, strict=True)
    ]
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


def _convolution(x: Any, name: str, width: int, size: int = 1, stride: int = 1, linear: bool = False) -> Any:
    """Convolution, with ReLU6 unless ``linear``."""
    import keras

    layer = keras.layers.Conv2D(width, size, stride, padding="same", kernel_initializer="he_normal", name=name)
    x = layer(x)
    return x if linear else keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _depthwise(x: Any, name: str, stride: int = 1, linear: bool = False) -> Any:
    """3 x 3 over each channel, with ReLU6 unless ``linear``."""
    import keras

    layer = keras.layers.DepthwiseConv2D(3, stride, padding="same", depthwise_initializer="he_normal", name=name)
    x = layer(x)
    return x if linear else keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _separable(x: Any, name: str) -> Any:
    """3 x 3 over each channel, then 1 x 1 across them: MobileNet's kind of convolution."""
    return _convolution(_depthwise(x, f"{name}_depthwise", linear=True), name, x.shape[-1])


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
