"""The mask classifier: face crops in, one batch an image, probabilities out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mask_detection.models.base import Network
from mask_detection.models.preprocessing import classifier_input
from mask_detection.utils.errors import MaskDetectionError

logger = logging.getLogger(__name__)

CLASSIC_CLASS_NAMES = ("with_mask", "without_mask")  # the order in which the classic training script left them
MAX_BATCH = 64  # faces at a time: a crowd must not need memory without end


class MaskClassifier:
    """Predicts for each face crop how probable each class is.

    Attributes:
        class_names: the classes in the order of the predictions' columns.
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
        predictions = [self._predict(classifier_input(batch, self.input_size)) for batch in batches]
        return np.concatenate([np.empty((0, len(self.class_names)), np.float32), *predictions])


def to_classifier(path: Path, network: Network, class_names: Sequence[str] | None = None) -> MaskClassifier:
    """Make a classifier of a network that was loaded from ``path``.

    Raises:
        MaskDetectionError: the class names don't fit the network's outputs.
    """
    names = _choose_class_names(path, network, class_names)

    def predict(batch: np.ndarray) -> np.ndarray:
        predictions = network.predict(batch)
        if not np.isfinite(predictions).all():
            raise MaskDetectionError(f"{path}: predicts what is no number; the model is damaged, get it again")
        return predictions

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
