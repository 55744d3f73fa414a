"""Reading model files that may come from anywhere: old Keras releases, other tools, the internet.

A model file is untrusted input. Its description names the layers to build, and some kinds of layers run code that the
file brings along; so only the kinds listed here are ever built.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from mask_detection.io.hdf5 import safe_copy
from mask_detection.models.base import MAX_OUTPUTS, ModelInfo, Network
from mask_detection.models.preprocessing import PREPROCESSING
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_start
from mask_detection.utils.tensorflow import compiled, start_tensorflow
from mask_detection.utils.text import is_one_line

if TYPE_CHECKING:
    import keras

HDF5_START = b"\x89HDF\r\n\x1a\n"
ZIP_START = b"PK\x03\x04"
NEUTRAL: tuple[object, ...] = (None, False, 1, [], {})  # values of an argument that change nothing

LAYERS = frozenset(
    "Activation Add Average AveragePooling2D BatchNormalization CenterCrop Concatenate Conv2D Dense DepthwiseConv2D "
    "Dropout ELU Flatten GaussianDropout GaussianNoise GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization "
    "InputLayer LayerNormalization LeakyReLU MaxPooling2D Maximum Multiply Normalization PReLU Permute RandomContrast "
    "RandomFlip RandomRotation RandomTranslation RandomZoom ReLU Rescaling Reshape Resizing SeparableConv2D Softmax "
    "SpatialDropout2D Subtract UpSampling2D ZeroPadding2D".split()
)
MODELS = frozenset({"Functional", "Model", "Sequential"})
DESCRIPTIONS = frozenset({"DTypePolicy", "Policy", "__keras_tensor__"})
ACTIVATIONS = frozenset(
    "elu gelu hard_sigmoid leaky_relu linear relu relu6 selu sigmoid silu softmax softplus softsign swish tanh".split()
)


def load_keras_model(path: Path) -> tuple[keras.Model, ModelInfo]:
    """Load an HDF5 model of Keras 2 or 3, whatever its name, without running code from the file.

    Raises:
        MaskDetectionError: it is not such a file, damaged, holds layers that may run code, or is no classifier of
            square colour images.
    """
    _check_is_hdf5(path)
    with safe_copy(path) as (copy, attributes):
        try:
            config = json.loads(attributes["model_config"])
            nodes = [_without_training_parts(node) for node in _walk(config)]
        except (KeyError, ValueError, TypeError, RecursionError):
            raise MaskDetectionError(
                f"{path}: is not a whole Keras model; get the file again or train a new one"
            ) from None
        _refuse_unknown_parts(path, nodes)
        model = _build(path, copy, config, nodes)
    return model, _describe(path, model, attributes)


def keras_network(model: keras.Model, info: ModelInfo) -> Network:
    """A model that :func:`load_keras_model` loaded, ready to run."""
    return Network(compiled(model), model.output_shape[1], info)


def _check_is_hdf5(path: Path) -> None:
    if path.is_dir():
        kind = "a SavedModel folder" if (path / "saved_model.pb").exists() else "a folder"
        raise MaskDetectionError(
            f"{path}: is {kind}, not an .h5 model; load it in the TensorFlow that wrote it and save it as .h5"
        )
    start = read_start(path, "a model")
    if start.startswith(ZIP_START):
        raise MaskDetectionError(f"{path}: is a .keras archive; load it in Keras and save it as .h5")
    if not start.startswith(HDF5_START):
        raise MaskDetectionError(f"{path}: is not an .h5 model; name a file that train_mask_detector.py wrote")


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    """All dictionaries of a model's description, outer ones first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def _without_training_parts(node: dict[str, Any]) -> dict[str, Any]:
    for key in [key for key in node if key.endswith(("_initializer", "_regularizer", "_constraint"))]:
        del node[key]
    return node


def _fit_to_this_keras(node: dict[str, Any]) -> None:
    """Change what another release wrote into what the installed one reads, in place; the predictions stay the same."""
    kind = node.get("class_name")
    config: Any = node.get("config")
    if kind in MODELS:
        _unnest(config)
    if kind not in LAYERS:
        return
    if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        [config["axis"]] = config["axis"]
    known = _arguments_of(kind).keys() | {"name", "trainable", "dtype", "batch_shape", "batch_input_shape"}
    for key in config.keys() - known:
        if config[key] in NEUTRAL:  # such as the groups of Keras 2's DepthwiseConv2D, always 1
            del config[key]


def _arguments_of(layer: str) -> Mapping[str, inspect.Parameter]:
    import keras

    return inspect.signature(getattr(keras.layers, layer).__init__).parameters


def _unnest(config: dict[str, Any]) -> None:
    """Keras 2 wrote the ends of a model within a model as lists of one, and counted its calls from 1."""
    for ends in ("input_layers", "output_layers"):
        if len(config.get(ends, [])) == 1:
            [config[ends]] = config[ends]
    nested = {layer["config"]["name"] for layer in config["layers"] if layer["class_name"] in MODELS}
    for layer in config["layers"]:
        for call in layer.get("inbound_nodes", []):
            for source in call if isinstance(call, list) else []:
                source[1] -= source[0] in nested


def _refuse_unknown_parts(path: Path, nodes: Sequence[dict[str, Any]]) -> None:
    for node in nodes:
        if (name := node.get("class_name")) is None:
            continue
        is_activation = name == "function" and str(node.get("config")) in ACTIVATIONS
        known = is_activation or str(name) in LAYERS | MODELS | DESCRIPTIONS  # str: the file may say anything
        module = node.get("module")
        if not known or not (module is None or module == "builtins" or str(module).split(".")[0] == "keras"):
            raise MaskDetectionError(
                f"{path}: holds a part of the kind {name}, which could run code from the file; "
                "only plain Keras layers are loaded"
            )


def _build(path: Path, copy: Path, config: dict[str, Any], nodes: Sequence[dict[str, Any]]) -> keras.Model:
    """Let Keras load a copy that has the suffix it insists on and the description that it reads."""
    start_tensorflow()
    import keras

    try:
        for node in nodes:
            _fit_to_this_keras(node)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
        return keras.models.load_model(copy, compile=False)
    except Exception as error:  # Keras raises whatever a strange description leads it to
        reason = str(error).strip().split("\n")[0][:200]
        raise MaskDetectionError(
            f"{path}: Keras cannot load this model ({reason}); get the file again or train a new one"
        ) from None


def make_portable(config: dict[str, Any]) -> dict[str, Any]:
    """Take out of a description what only newer releases know: arguments that say no more than their default.

    Args:
        config: the ``model_config`` of an HDF5 model that the installed Keras wrote; changed in place.
    """
    for node in _walk(config):
        _without_training_parts(node)
        if (kind := node.get("class_name")) in LAYERS:
            defaults = {name: argument.default for name, argument in _arguments_of(kind).items()}
            for key in [key for key, value in node["config"].items() if key in defaults and value == defaults[key]]:
                del node["config"][key]
    return config


def _describe(path: Path, model: keras.Model, attributes: dict[str, str]) -> ModelInfo:
    _check_is_image_classifier(path, model)
    if (preprocessing := str(attributes.get("preprocessing", PREPROCESSING))) != PREPROCESSING:
        raise MaskDetectionError(f"{path}: wants the preprocessing {preprocessing}, and only {PREPROCESSING} is known")
    names = attributes.get("class_names")
    try:
        class_names = None if names is None else tuple(map(str, json.loads(names)))
        if not all(map(is_one_line, class_names or ())):
            raise ValueError("one holds what a terminal obeys")
    except (ValueError, TypeError, RecursionError):
        raise MaskDetectionError(f"{path}: its class names are damaged; get the file again") from None
    return ModelInfo(class_names, model.input_shape[1])


def _check_is_image_classifier(path: Path, model: keras.Model) -> None:
    one_in_one_out = len(model.inputs) == 1 and len(model.outputs) == 1
    if one_in_one_out and len(model.input_shape) == 4 and len(model.output_shape) == 2:
        _, height, width, channels = model.input_shape
        n_outputs = model.output_shape[1]
        if height and height == width and channels == 3 and 2 <= n_outputs <= MAX_OUTPUTS:
            return
    raise MaskDetectionError(
        f"{path}: maps {model.input_shape} to {model.output_shape}; a mask classifier maps "
        f"(None, size, size, 3) to (None, classes) with 2 to {MAX_OUTPUTS} classes"
    )
