"""From a Keras model to a network for LiteRT, which starts without TensorFlow: the TFLite export of an ``.h5`` model.

Training writes the export beside the model. Where it is missing or of another model, detection makes it once, in the
user's cache folder if the model's own denies writing or holds another file of that name.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from mask_detection.models.base import ModelInfo, Network
from mask_detection.models.tflite import Metadata, open_tflite, pack, read_metadata
from mask_detection.utils.cache import cache_folder
from mask_detection.utils.defaults import PROJECT_FOLDER
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, make_folder, read_whole
from mask_detection.utils.tensorflow import silent_native_libraries, start_tensorflow

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

logger = logging.getLogger(__name__)

FP16, FP32, INT8 = "fp16", "fp32", "int8"  # what weights are stored as

# Rounding the small ones too, depthwise filters and biases that nearly cancel each other, moved predictions on photos
# by up to 0.056; left alone, the rest moves them by 0.001. Leaving them takes 0.3 MB of MobileNetV2's 5.1.
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


def _is_large(data: np.ndarray) -> bool:
    """Tell whether to store a layer's weights, (4 n,) uint8 of float32, as float16; not those that it cannot hold."""
    numbers = data.view(np.float32)
    return numbers.size >= MIN_HALVED and np.abs(numbers).max() <= np.finfo(np.float16).max


def with_default_size(network: bytes, size: int) -> bytes:
    """Let the input of a network for images of any size be (1, size, size, 3) until somebody resizes it.

    TensorFlow leaves it at one pixel, for which most networks cannot be set up.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(network)
    (graph,) = model.subgraphs
    graph.tensors[graph.inputs[0]].shape = [1, size, size, 3]
    return flatbuffer_utils.convert_object_to_bytearray(model)


def export_path(model_path: Path) -> Path:
    """Where a model's TFLite export lies: ``mask_detector.tflite`` beside ``mask_detector.h5``."""
    return model_path.with_suffix(".tflite")


def write_export(model_path: Path, model: keras.Model, info: ModelInfo) -> Path:
    """Write the TFLite export of a model beside it, over whatever has its name.

    Args:
        model_path: the ``.h5`` file.
        model: what it holds.
        info: what it says of itself.

    Raises:
        MaskDetectionError: the model cannot be converted, or the place cannot be written.
    """
    path = export_path(model_path)
    with atomic_write(path) as part:
        part.write_bytes(_make(model, info, _sha256(model_path)))
    return path


def load_export(model_path: Path) -> Network:
    """Load a model's TFLite export; make it first where there is none or where it is of another model.

    Raises:
        MaskDetectionError: there is no such export, and the model is no usable one or TensorFlow is missing.
    """
    source = _sha256(model_path)
    places = export_path(model_path), _cached_path(model_path, source)
    for place in places:
        if network := _load_if_matches(place, source):
            return network
    model, info = _load_source(model_path)
    try:
        data = _make(model, info, source)
        network = open_tflite(places[0], data)
    except MaskDetectionError as error:
        from mask_detection.models.keras_file import keras_network

        logger.warning("%s: has no TFLite export, and detection starts slower: %s", model_path, error)
        return keras_network(model, info)
    stored = _store(data, places)
    message = f"wrote its faster TFLite export {stored}" if stored else "its TFLite export can be stored nowhere"
    logger.info("%s: %s", model_path, message)
    return network


def _make(model: keras.Model, info: ModelInfo, source_sha256: str) -> bytes:
    return pack(convert(model, FP16), info, FP16, source_sha256)


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_whole(path, "a model")).hexdigest()


def _cached_path(model_path: Path, source_sha256: str) -> Path:
    return cache_folder() / f"{model_path.stem}-{source_sha256[:16]}.tflite"


def _load_source(model_path: Path) -> tuple[keras.Model, ModelInfo]:
    try:
        from mask_detection.models.keras_file import load_keras_model

        return load_keras_model(model_path)
    except ModuleNotFoundError as error:
        raise MaskDetectionError(
            f"{model_path}: there is no {export_path(model_path).name} of this model beside it, and making one takes "
            f"TensorFlow ({error}); bring that file along, or run "
            f"`pip install -r {PROJECT_FOLDER / 'requirements.txt'}`"
        ) from None


def _load_if_matches(place: Path, source_sha256: str) -> Network | None:
    try:
        data = place.read_bytes()
        metadata = read_metadata(place, data)
        matches = _is_export(metadata) and metadata.source_sha256 == source_sha256
        return open_tflite(place, data) if matches else None
    except (OSError, MaskDetectionError):
        return None


def _store(data: bytes, places: tuple[Path, ...]) -> Path | None:
    """Write the export at the first place that takes it; None where none does."""
    for place in places:
        try:
            if _holds_something_else(place):
                continue
            make_folder(place.parent)
            with atomic_write(place) as part:
                part.write_bytes(data)
        except MaskDetectionError:
            continue
        return place
    return None


def _holds_something_else(place: Path) -> bool:
    """Tell whether the file there is no export of this kind, so that it could not be made again."""
    try:
        return not _is_export(read_metadata(place, place.read_bytes()))
    except (OSError, MaskDetectionError):  # no file, or an export that is damaged
        return False


def _is_export(metadata: Metadata | None) -> TypeGuard[Metadata]:
    return metadata is not None and metadata.weights == FP16
