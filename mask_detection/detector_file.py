"""The face detector's file: the network for LiteRT with its class names, input size and preprocessing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.conversion import FP16, convert
from mask_detection.errors import MaskDetectionError
from mask_detection.files import read_whole, written_whole
from mask_detection.network import ModelInfo
from mask_detection.tflite_file import pack

if TYPE_CHECKING:
    import keras

WEIGHTS_SUFFIX = ".weights.h5"


def write_detector(path: Path, model: keras.Model, class_names: Sequence[str], input_size: int) -> None:
    """Write a detector, and its weights beside it as ``NAME.weights.h5``, for a later training to start from.

    Args:
        path: the ``.tflite`` file.
        model: from :func:`mask_detection.detector_network.build_detector`.
        class_names: in the order of its outputs.
        input_size: height and width that its input has until somebody changes it, in pixels.

    Raises:
        MaskDetectionError: it cannot be converted, or the place cannot be written.
    """
    from mask_detection.detector_network import build_detector

    fixed = build_detector(len(class_names), input_size)
    fixed.set_weights(model.get_weights())
    weights = path.with_suffix(WEIGHTS_SUFFIX)
    part = weights.with_name(f"part_{weights.name}")  # Keras insists on the suffix
    try:
        fixed.save_weights(part)
        part.replace(weights)
    except OSError as error:
        raise MaskDetectionError(f"{weights}: cannot be written ({error.strerror or error})") from None
    source = hashlib.sha256(read_whole(weights, "weights")).hexdigest()
    data = pack(convert(fixed, FP16), ModelInfo(tuple(class_names), input_size), FP16, source)
    with written_whole(path) as network:
        network.write_bytes(data)
