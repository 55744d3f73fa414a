"""The mask classifier: face crops in, one batch a picture, probabilities out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mask_detection.backend import compiled
from mask_detection.defaults import MODEL_FILE
from mask_detection.errors import MaskDetectionError
from mask_detection.preprocessing import classifier_input

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

CLASSIC_CLASS_NAMES = ("with_mask", "without_mask")  # the order in which the classic training script left them
MAX_BATCH = 64  # faces at a time: a crowd must not need memory without end


class MaskClassifier:
    """Tells for each face crop how probable each class is.

    Attributes:
        class_names: the classes in the order of the answers' columns.
        input_size: width and height in pixels that crops are scaled to.
    """

    def __init__(self, model: keras.Model, class_names: tuple[str, ...], input_size: int) -> None:
        self.class_names = class_names
        self.input_size = input_size
        self._predict = compiled(model)

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
        path: an HDF5 model that ``train_mask_detector.py`` or the classic script wrote, whatever its suffix.
        class_names: in the order of the model's outputs; instead of the names that the file holds.

    Raises:
        MaskDetectionError: it is no usable model, or the names don't fit its outputs.
    """
    from mask_detection.model_file import load_keras_model

    model, info = load_keras_model(path)
    n_outputs = model.output_shape[1]
    names = tuple(class_names or info.class_names or ())
    if not names and n_outputs == len(CLASSIC_CLASS_NAMES):
        names = CLASSIC_CLASS_NAMES
        logger.warning(
            "%s: holds no class names; taken as %s (if that is the wrong way round, give --classes)",
            path,
            ",".join(names),
        )
    if len(names) != n_outputs or len(set(names)) != n_outputs:
        raise MaskDetectionError(
            f"{path}: has {n_outputs} outputs, but the class names are {','.join(names) or 'not in the file'}; "
            f"give {n_outputs} different names with --classes"
        )
    return MaskClassifier(model, names, info.input_size)
