"""The weights that the training of a detector starts from, by layer: another detector's, or a classifier's backbone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mask_detection.io.hdf5 import safe_copy
from mask_detection.models.builtin_detector import DetectorNetwork
from mask_detection.models.fcos import (
    BLOCK_OUTPUTS,
    LIGHT_WIDTHS,
    MOBILENET_WIDTHS,
    STRIDES,
    LayerWeights,
    Widths,
    build_detector,
    layer_weights,
    widths_of,
)
from mask_detection.models.mobilenet import backbone_weights
from mask_detection.models.tflite import is_tflite, read_metadata
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole
from mask_detection.utils.tensorflow import start_tensorflow

# A layer's name in the name of a tensor of its weights, such as mask_face_detector_1/block_1_expand_1/convolution or
# mask_face_detector_1/block_1_depthwise_BN_1/batchnorm/mul_1.
TENSOR_NAME = re.compile(r"^mask_face_detector(?:_1)?/(?P<layer>.+?)(?:_BN)?_1/")
NEW_CLASS_LOGIT = -2.0  # of a class that the network to start from doesn't know
LAST_LATERAL = f"lateral_{STRIDES[-1]}"
LAST_PROJECTION = f"block_{len(BLOCK_OUTPUTS) + 1}_project"  # which older networks have


def start_weights(init: Path | None, class_names: Sequence[str]) -> LayerWeights:
    """The weights of layers that a training starts from.

    Args:
        init: a detector's ``.tflite`` or ``.weights.h5``, a classifier's ``.h5``, or None for ImageNet's.
        class_names: that are to be predicted; those that a ``.tflite`` doesn't know start as improbable ones.

    Raises:
        MaskDetectionError: they cannot be had, or are of another network.
    """
    if init is None or not (init.name.endswith(".weights.h5") or is_tflite(init)):
        return fold_backbone(backbone_weights(init))
    if init.name.endswith(".weights.h5"):
        return read_keras_weights(init, len(class_names))
    weights = read_detector_weights(init)
    known = DetectorNetwork(init).class_names
    for stride in STRIDES:
        kernel, bias = weights[f"classes_{stride}"]
        columns = [known.index(name) if name in known else -1 for name in class_names]
        is_new = np.array(columns) < 0
        new_kernel = np.where(is_new, 0.0, kernel[..., columns])
        weights[f"classes_{stride}"] = new_kernel.astype(np.float32), np.where(is_new, NEW_CLASS_LOGIT, bias[columns])
    return weights


def read_keras_weights(path: Path, n_classes: int) -> LayerWeights:
    """The weights that a training left as ``.weights.h5``; for errors see :func:`start_weights`."""
    try:
        with safe_copy(path) as (copy, _):
            model = build_detector(n_classes, _widths_in(copy))
            model.load_weights(copy)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise MaskDetectionError(f"{path}: holds no weights of this network ({reason}); give another --init") from None
    return layer_weights(model)


def _widths_in(path: Path) -> Widths:
    """The widths of the network whose weights Keras wrote, by those of its first layer, whose bias this is."""
    with h5py.File(path) as file:
        is_wide = file["layers/conv2d/vars/1"].shape == (MOBILENET_WIDTHS.stem,)
    return MOBILENET_WIDTHS if is_wide else LIGHT_WIDTHS


def read_detector_weights(path: Path) -> LayerWeights:
    """Kernel and bias of each layer of a detector's ``.tflite``; 8-bit numbers are scaled back.

    Raises:
        MaskDetectionError: the file is missing, damaged or of another network.
    """
    data = read_whole(path, "a face detector")
    read_metadata(path, data)  # refuses damaged files
    start_tensorflow()
    from tensorflow.lite.tools import flatbuffer_utils

    weights: LayerWeights = {}
    try:
        model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
        (graph,) = model.subgraphs
        for operator in graph.operators:
            tensors = [graph.tensors[i] for i in operator.inputs[1:]]
            found = TENSOR_NAME.match(tensors[0].name.decode()) if len(tensors) == 2 else None
            constants = [model.buffers[tensor.buffer].data for tensor in tensors]
            if found and all(data is not None for data in constants):
                kernel, bias = map(_numbers, tensors, constants)
                weights[found["layer"]] = np.moveaxis(kernel, 0, -1), bias
        widths_of(weights)  # all layers are there
        return _without_last_projection(weights)
    except Exception:  # whatever the reader of FlatBuffers makes of another network
        raise MaskDetectionError(f"{path}: is no face detector of this project; give another --init") from None


def _numbers(tensor: Any, data: np.ndarray) -> np.ndarray:
    """The values of a constant of a network, float32; of 8-bit weights, each output channel has its own scale."""
    types = {0: np.float32, 2: np.int32, 9: np.int8}  # as FlatBuffers number them
    values = data.view(types[tensor.type]).reshape(tensor.shape).astype(np.float32)
    if tensor.type == 0:
        return values
    shape = np.ones(values.ndim, int)
    shape[tensor.quantization.quantizedDimension] = -1
    return values * tensor.quantization.scale.astype(np.float32).reshape(shape)


def _without_last_projection(weights: LayerWeights) -> LayerWeights:
    """Older networks project the last block's outputs twice in a row, with nothing in between: multiply the two."""
    if LAST_PROJECTION in weights:
        (first, first_bias), (second, second_bias) = weights.pop(LAST_PROJECTION), weights[LAST_LATERAL]
        weights[LAST_LATERAL] = first @ second[0, 0], first_bias @ second[0, 0] + second_bias
    return weights


def fold_backbone(backbone: list[np.ndarray]) -> LayerWeights:
    """Kernel and bias of each of MobileNetV2's layers that the detector has, with batch normalisation folded in.

    Args:
        backbone: from :func:`mask_detection.models.mobilenet.backbone_weights`.
    """
    import keras

    network = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3))
    network.set_weights(backbone)
    by_name = {layer.name: layer for layer in network.layers}
    weights: LayerWeights = {}
    for name, layer in by_name.items():
        normalisation = by_name.get(f"{name}_BN") or by_name.get(f"bn_{name}")
        if normalisation is None or name in (LAST_PROJECTION, "Conv_1"):
            continue
        gamma, beta, mean, variance = normalisation.get_weights()
        scale = gamma / np.sqrt(variance + normalisation.epsilon)
        (kernel,) = layer.get_weights()
        is_depthwise = kernel.shape[-1] == 1 and name.endswith("depthwise")
        weights[name] = kernel * (scale[:, None] if is_depthwise else scale), beta - mean * scale
    return weights
