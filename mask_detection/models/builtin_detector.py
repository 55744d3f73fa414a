"""The project's own face detector: one small network that finds faces and tells masks at the same time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mask_detection.models.detector_decoding import INPUT_MULTIPLE, decode
from mask_detection.models.detector_file import DetectorNetwork
from mask_detection.models.faces import FaceDetector
from mask_detection.models.preprocessing import detector_input
from mask_detection.utils.defaults import BUILTIN_DETECTOR_FILE, CONFIDENCE
from mask_detection.utils.errors import MaskDetectionError

DETECT_SIZE = 416  # pixels of the picture's longer side


class BuiltinFaceDetector(FaceDetector):
    """Finds faces and says how probable each class is; how it was trained tells ``train_face_detector``."""

    def __init__(self, folder: Path, confidence: float = CONFIDENCE, detect_size: int = DETECT_SIZE) -> None:
        """Load ``mask_face_detector.tflite`` from a folder, or the project's own where the folder has none.

        Args:
            folder: where to look first.
            confidence: faces below it are left out.
            detect_size: what the picture's longer side is scaled to for the network, in pixels.

        Raises:
            MaskDetectionError: the file is missing or damaged, or there is no LiteRT to run it.
        """
        super().__init__(confidence)
        self.name = f"built-in ({detect_size} px)"
        self._detect_size = detect_size
        path = find_builtin_file(folder)
        try:
            self._network = DetectorNetwork(path)
        except ImportError as error:
            raise MaskDetectionError(
                f"{path}: takes LiteRT to run, which cannot be loaded ({error}); run `pip install ai-edge-litert`, or "
                "use another --detector"
            ) from None
        self.class_names = self._network.class_names

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose`."""
        return self.propose_with_classes(frame)[:2]

    def propose_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose_with_classes`."""
        batch, scale = detector_input(frame, self._detect_size, INPUT_MULTIPLE)
        boxes, scores, probabilities = decode(self._network.predict(batch), batch.shape[1:3], self.confidence)
        return boxes / scale, scores, probabilities


def find_builtin_file(folder: Path) -> Path:
    """The built-in detector's file in a folder, or the one that the project ships."""
    own = folder / BUILTIN_DETECTOR_FILE.name
    return own if own.is_file() else BUILTIN_DETECTOR_FILE
