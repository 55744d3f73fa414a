"""A trained detector as the teacher of another: what it predicts for each training image, cell by cell.

"Distilling the Knowledge in a Neural Network" (Hinton et al. 2015, https://arxiv.org/abs/1503.02531): where the labels
say face or none, the teacher says how probable one is, in every cell, and knows the faces that nobody marked.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mask_detection.models.builtin_detector import DetectorNetwork
from mask_detection.models.fcos import CLASSES
from mask_detection.models.preprocessing import normalise
from mask_detection.utils.errors import MaskDetectionError

NO_SCORE = np.nan  # in the place of the logit of a class that the teacher doesn't know


class Teacher:
    """A detector that several threads ask at once; each has its own copy of the network."""

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        """Load a detector's ``.tflite``.

        Args:
            path: the file.
            class_names: of the network that learns; the columns of the predictions.

        Raises:
            MaskDetectionError: it is no such file, or knows none of these classes.
        """
        self._path, self._local = path, threading.local()
        names = DetectorNetwork(path).class_names
        if unknown := set(names) - set(class_names):
            raise MaskDetectionError(
                f"{path}: its class {sorted(unknown)[0]} is none of the photos' ({', '.join(class_names)}); "
                "give another --teacher"
            )
        self._columns = [CLASSES.start + list(class_names).index(name) for name in names]
        self.n_outputs = CLASSES.start + len(class_names)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Predict for one image, (H, W, 3) RGB uint8, H and W multiples of 32: (L, 5 + n_classes) float32 logits."""
        if not hasattr(self._local, "network"):
            self._local.network = DetectorNetwork(self._path)
        outputs = self._local.network.predict(normalise(image)[None])
        predicted = np.full((len(outputs), self.n_outputs), NO_SCORE, np.float32)
        predicted[:, : CLASSES.start] = outputs[:, : CLASSES.start]
        predicted[:, self._columns] = outputs[:, CLASSES]
        return predicted
