"""The ``.tflite`` twin of an ``.h5`` model: the same network for LiteRT, which starts without TensorFlow.

Training writes it beside the model. Where it is missing or of another model, detection makes it once, in the user's
cache folder if the model's own denies writing or holds another file of that name.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from platformdirs import user_cache_path

from mask_detection.models.base import ModelInfo, Network
from mask_detection.models.convert import FP16, convert
from mask_detection.models.litert import open_tflite
from mask_detection.models.tflite import Record, pack, read_record
from mask_detection.utils.defaults import PROJECT_FOLDER
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import make_folder, read_whole, written_whole

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


def twin_path(model_path: Path) -> Path:
    """Where a model's twin lies: ``mask_detector.h5`` has ``mask_detector.tflite``."""
    return model_path.with_suffix(".tflite")


def write_twin(model_path: Path, model: keras.Model, info: ModelInfo) -> Path:
    """Write the twin of a model beside it, over whatever has its name.

    Args:
        model_path: the ``.h5`` file.
        model: what it holds.
        info: what it says of itself.

    Raises:
        MaskDetectionError: the model cannot be converted, or the place cannot be written.
    """
    path = twin_path(model_path)
    with written_whole(path) as part:
        part.write_bytes(_make(model, info, _sha256(model_path)))
    return path


def load_twin(model_path: Path) -> Network:
    """Load a model's twin; make it first where there is none or where it is not of this model.

    Raises:
        MaskDetectionError: there is no such twin, and the model is no usable one or TensorFlow is missing.
    """
    source = _sha256(model_path)
    places = twin_path(model_path), _cached_path(model_path, source)
    for place in places:
        if network := _load_if_matches(place, source):
            return network
    model, info = _load_source(model_path)
    try:
        data = _make(model, info, source)
        network = open_tflite(places[0], data)
    except MaskDetectionError as error:
        from mask_detection.models.keras_file import keras_network

        logger.warning("%s: has no .tflite twin, and detection starts slower: %s", model_path, error)
        return keras_network(model, info)
    kept = _store(data, places)
    logger.info("%s: %s", model_path, f"made its faster twin {kept}" if kept else "its twin can be kept nowhere")
    return network


def _make(model: keras.Model, info: ModelInfo, source_sha256: str) -> bytes:
    return pack(convert(model, FP16), info, FP16, source_sha256)


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_whole(path, "a model")).hexdigest()


def _cached_path(model_path: Path, source_sha256: str) -> Path:
    folder = user_cache_path("face-mask-detection", appauthor=False)
    return folder / f"{model_path.stem}-{source_sha256[:16]}.tflite"


def _load_source(model_path: Path) -> tuple[keras.Model, ModelInfo]:
    try:
        from mask_detection.models.keras_file import load_keras_model

        return load_keras_model(model_path)
    except ModuleNotFoundError as error:
        raise MaskDetectionError(
            f"{model_path}: there is no {twin_path(model_path).name} of this model beside it, and making one takes "
            f"TensorFlow ({error}); bring that file along, or run "
            f"`pip install -r {PROJECT_FOLDER / 'requirements.txt'}`"
        ) from None


def _load_if_matches(place: Path, source_sha256: str) -> Network | None:
    try:
        data = place.read_bytes()
        record = read_record(place, data)
        return open_tflite(place, data) if _is_twin(record) and record.source_sha256 == source_sha256 else None
    except (OSError, MaskDetectionError):
        return None


def _store(data: bytes, places: tuple[Path, ...]) -> Path | None:
    """Keep the twin at the first place that takes it; None where none does."""
    for place in places:
        try:
            if _holds_something_else(place):
                continue
            make_folder(place.parent)
            with written_whole(place) as part:
                part.write_bytes(data)
        except MaskDetectionError:
            continue
        return place
    return None


def _holds_something_else(place: Path) -> bool:
    """Tell whether a file there is not a twin, so that it could not be made again."""
    try:
        return not _is_twin(read_record(place, place.read_bytes()))
    except (OSError, MaskDetectionError):  # no file, or a twin that is damaged
        return False


def _is_twin(record: Record | None) -> TypeGuard[Record]:
    return record is not None and record.weights == FP16
