"""The mask classifier: face crops in, one batch a picture, probabilities out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mask_detection.models.base import Network
from mask_detection.models.preprocessing import classifier_input
from mask_detection.models.tflite import is_tflite
from mask_detection.utils.defaults import MODEL_FILE
from mask_detection.utils.errors import MaskDetectionError

logger = logging.getLogger(__name__)

CLASSIC_CLASS_NAMES = ("with_mask", "without_mask")  # the order in which the classic training script left them
MAX_BATCH = 64  # faces at a time: a crowd must not need memory without end


class MaskClassifier:
    """Tells for each face crop how probable each class is.

    Attributes:
        class_names: the classes in the order of the answers' columns.
        input_size: width and height in pixels that crops are scaled to.
    """

    def __init__(
        self, predict: Callable[[np.ndarray], np.ndarray], class_names: tuple[str, ...], input_size: int
    ) -> None:
        self.class_names = class_names
        self.input_size = input_size
        self._predict = predict  # see mask_detection.models.base.Network

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Classify face crops.

        Args:
            crops: N images (h, w, 3) BGR uint8 of any size.

        Returns:
            (N, n_classes) float32 probabilities.
        """
        batches = [crops[start : start + MAX_BATCH] for start in range(0, len(crops), MAX_BATCH)]
        answers = [self._predict(classifier_input(batch, self.input_size)) for batch in batches]
        return np.concatenate([np.empty((0, len(self.class_names)), np.float32), *answers])


def load_classifier(path: Path = MODEL_FILE, class_names: Sequence[str] | None = None) -> MaskClassifier:
    """Load a mask classifier.

    Args:
        path: an HDF5 model that ``train_mask_detector.py`` or the classic script wrote, or a ``.tflite`` one, whatever
            its suffix. An HDF5 model runs as its ``.tflite`` twin where LiteRT is installed.
        class_names: in the order of the model's outputs; instead of the names that the file holds.

    Raises:
        MaskDetectionError: it is no usable model, or the names don't fit its outputs.
    """
    return to_classifier(path, load_network(path), class_names)


def load_network(path: Path) -> Network:
    """Load a model file into the library that runs it fastest here; see :func:`load_classifier`."""
    from mask_detection.models import litert

    if is_tflite(path):
        return litert.load_tflite(path)
    if path.is_file() and litert.is_available():
        from mask_detection.models.twin import load_twin

        return load_twin(path)
    from mask_detection.models.keras_file import keras_network, load_keras_model

    return keras_network(*load_keras_model(path))


def to_classifier(path: Path, network: Network, class_names: Sequence[str] | None = None) -> MaskClassifier:
    """Make a classifier of a network that was loaded from ``path``; see :func:`load_classifier`."""
    names = _choose_class_names(path, network, class_names)

    def predict(batch: np.ndarray) -> np.ndarray:
        answers = network.predict(batch)
        if not np.isfinite(answers).all():
            raise MaskDetectionError(f"{path}: answers with what is no number; the model is damaged, get it again")
        return answers

    return MaskClassifier(predict, names, network.info.input_size)


def _choose_class_names(path: Path, network: Network, given: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(given or network.info.class_names or ())
    if not names and network.n_outputs == len(CLASSIC_CLASS_NAMES):
        names = CLASSIC_CLASS_NAMES
        logger.warning(
            "%s: holds no class names; taken as %s (if that is the wrong way round, give --classes)",
            path,
            ",".join(names),
        )
    if len(names) != network.n_outputs or len(set(names)) != network.n_outputs:
        raise MaskDetectionError(
            f"{path}: has {network.n_outputs} outputs, but the class names are "
            f"{','.join(names) or 'not in the file'}; give {network.n_outputs} different names with --classes"
        )
    return names
