"""The classifier network: MobileNetV2 under a head of its own; how it is built and saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from mask_detection.io.hdf5 import check_room
from mask_detection.models.keras_file import load_keras_model, make_portable
from mask_detection.models.preprocessing import PREPROCESSING
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write
from mask_detection.utils.tensorflow import start_tensorflow

if TYPE_CHECKING:
    import keras

IMAGENET_SIZE = 224  # pixels; its weights serve every input size

# The layers at whose output training cuts the network into a frozen part and one that learns.
HEAD_INPUT = "flatten"
FINE_TUNE_INPUT = "block_5_add"


def build_model(
    n_classes: int,
    input_size: int,
    head: str = "classic",
    backbone_from: Path | None = None,
    backbone_size: int | None = None,
) -> keras.Model:
    """MobileNetV2 under a head that predicts the classes.

    The input is (N, input_size, input_size, 3) float32 RGB in -1..1, the output (N, n_classes) probabilities.

    Args:
        n_classes: how many classes to predict.
        input_size: in pixels, 32 or more.
        head: ``classic`` (average pooling, 128 hidden units, dropout) or ``flatten`` (a softmax layer alone), the two
            that public recipes use.
        backbone_from: a model made by this function whose backbone's weights to start from, instead of ImageNet's.
        backbone_size: in pixels, what MobileNetV2 works at where that is not the input's size: the input stays what
            everybody's scripts feed it, the arithmetic falls with the square.

    Raises:
        MaskDetectionError: the weights to start from cannot be had.
    """
    start_tensorflow()
    import keras

    face = keras.Input((input_size, input_size, 3), name="face")
    scaled = face
    if backbone_size not in (None, input_size):
        scaled = keras.layers.Resizing(backbone_size, backbone_size, name="scale")(face)
    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_tensor=scaled, name="mobilenet_v2")
    backbone.set_weights(backbone_weights(backbone_from))
    x = backbone.output
    if head == "classic":
        x = keras.layers.AveragePooling2D(min(7, x.shape[1]), name="pool")(x)
    x = keras.layers.Flatten(name=HEAD_INPUT)(x)
    if head == "classic":
        x = keras.layers.Dense(128, activation="relu", name="hidden")(x)
        x = keras.layers.Dropout(0.5, name="dropout")(x)
    x = keras.layers.Dense(n_classes, activation="softmax", name="probabilities")(x)
    return keras.Model(face, x, name="mask_detector")


def backbone_weights(backbone_from: Path | None = None) -> list:
    """MobileNetV2's weights without its top, in the order of its layers: a classifier's, or ImageNet's without one.

    Args:
        backbone_from: a model made by :func:`build_model`.

    Raises:
        MaskDetectionError: they cannot be had.
    """
    return _weights_of(backbone_from) if backbone_from else _imagenet_weights()


def _imagenet_weights() -> list:
    import keras

    shape = (IMAGENET_SIZE, IMAGENET_SIZE, 3)
    try:
        return keras.applications.MobileNetV2(weights="imagenet", include_top=False, input_shape=shape).get_weights()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise MaskDetectionError(
            f"MobileNetV2's ImageNet weights cannot be had ({error}); connect to the internet once, "
            "or start from a model with --init mask_detector.h5"
        ) from None


def _weights_of(path: Path) -> list:
    """The backbone's weights from a model file, in the order of MobileNetV2's layers."""
    model, _ = load_keras_model(path)
    names = [layer.name for layer in model.layers]
    if "out_relu" not in names:
        raise MaskDetectionError(f"{path}: has no MobileNetV2 backbone; start from another model")
    backbone = model.layers[: names.index("out_relu") + 1]  # MobileNetV2 ends in this layer
    return [weight for layer in backbone for weight in layer.get_weights()]


def save_model(
    model: keras.Model, path: Path, class_names: Sequence[str], bias: Mapping[str, Any] | None = None
) -> None:
    """Write a model with what is needed to use it; plain ``keras.models.load_model`` reads it too.

    The attributes of the HDF5 file are ``class_names`` (a JSON list, in the order of the outputs), ``input_size``
    (pixels), ``preprocessing`` and, of a model with a bias on a class's log-probability, ``bias``: what was added to
    its last layer, and why (a JSON object).

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    import keras

    with atomic_write(path) as part:
        try:
            check_room(part, model)
            keras.saving.save_model(model, part, include_optimizer=False)
            with h5py.File(part, "r+") as file:
                file.attrs["model_config"] = json.dumps(make_portable(json.loads(file.attrs["model_config"])))
                file.attrs["class_names"] = json.dumps(list(class_names))
                file.attrs["input_size"] = model.input_shape[1]
                file.attrs["preprocessing"] = PREPROCESSING
                if bias:
                    file.attrs["bias"] = json.dumps(bias)
        except RuntimeError:  # what HDF5 raises when a file cannot be closed for the same reason as it was not written
            raise OSError("HDF5 could not write it, perhaps the disk is full") from None
