"""From a Keras model to the networks that LiteRT runs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.tensorflow import silent_native_libraries, start_tensorflow

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

FP16, FP32, INT8 = "fp16", "fp32", "int8"  # what weights are stored as

# Rounding the small ones too, depthwise filters and biases that nearly cancel each other, moved answers on photos by up
# to 0.056; left alone, the rest moves them by 0.001. Leaving them takes 0.3 MB of MobileNetV2's 5.1.
MIN_HALVED = 16_384  # numbers that a layer's weights must have to be stored as fp16


def convert(model: keras.Model, weights: str, examples: Sequence[np.ndarray] = ()) -> bytes:
    """Convert a model to a ``.tflite`` network that takes one image at a time.

    Input (1, S, S, 3) and output (1, n_classes) are float32 with every kind of weights, so that all are used alike.

    Args:
        model: maps (N, S, S, 3) float32 to (N, n_classes) or any other shape.
        weights: ``fp16`` stores large weights in half the space and computes in float32; ``fp32`` keeps every digit;
            ``int8`` also computes in 8-bit integers.
        examples: for ``int8``: inputs (1, S, S, 3) float32 that show which range of numbers each layer meets.

    Raises:
        MaskDetectionError: TensorFlow cannot convert this model.
    """
    start_tensorflow()
    import tensorflow as tf

    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="face")
    function = tf.function(lambda face: model(face, training=False), input_signature=[signature])
    try:
        with silent_native_libraries(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
            _choose_weights(converter, weights, examples)
            network = converter.convert()
            return _with_half_weights(network) if weights == FP16 else network
    except Exception as error:  # the converter raises whatever a strange layer leads it to
        reason = str(error).strip().split("\n")[0][:200]
        raise MaskDetectionError(f"TensorFlow cannot convert the model to .tflite ({reason})") from None


def _choose_weights(converter: tf.lite.TFLiteConverter, weights: str, examples: Sequence[np.ndarray]) -> None:
    import tensorflow as tf

    if weights == INT8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([example] for example in examples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _with_half_weights(network: bytes) -> bytes:
    """Store large weights as float16, each with an operator that turns it back when the network is loaded.

    TensorFlow's own conversion to float16 does the same to all constants and leaves no choice.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(network)
    (graph,) = model.subgraphs
    to_float32 = schema.OperatorCodeT()
    to_float32.builtinCode = to_float32.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    to_float32.version = 3  # from which on it takes float16
    model.operatorCodes.append(to_float32)
    for index, tensor in enumerate(list(graph.tensors)):
        buffer = model.buffers[tensor.buffer]
        if tensor.type != schema.TensorType.FLOAT32 or buffer.data is None or not _is_large(buffer.data):
            continue
        half = copy.copy(tensor)
        half.type, half.name = schema.TensorType.FLOAT16, tensor.name + b"_fp16"
        buffer.data = buffer.data.view(np.float32).astype(np.float16).view(np.uint8)
        tensor.buffer = 0  # the empty one: the operator fills this tensor
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs, operator.outputs = [len(graph.tensors)], [index]
        graph.tensors.append(half)
        graph.operators.insert(0, operator)
    return flatbuffer_utils.convert_object_to_bytearray(model)


def with_default_size(network: bytes, size: int) -> bytes:
    """Let the input of a network for images of any size be (1, size, size, 3) until somebody resizes it.

    TensorFlow leaves it at one pixel, for which most networks cannot be set up.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(network)
    (graph,) = model.subgraphs
    graph.tensors[graph.inputs[0]].shape = [1, size, size, 3]
    return flatbuffer_utils.convert_object_to_bytearray(model)


def _is_large(data: np.ndarray) -> bool:
    """Tell whether to store a layer's weights, (4 n,) uint8 of float32, as float16; not those that it cannot hold."""
    numbers = data.view(np.float32)
    return numbers.size >= MIN_HALVED and np.abs(numbers).max() <= np.finfo(np.float16).max
