from __future__ import annotations

from pathlib import Path

import numpy as np

from mask_detection.data.annotations import Annotation
from mask_detection.evaluation.evaluator import examine_photo
from mask_detection.inference.detector import MaskDetector
from mask_detection.models.face_detector import FaceDetector

WITH, WITHOUT = "with_mask", "without_mask"
FOUND, DOUBTFUL, OVERLOOKED = [10, 10, 50, 50], [60, 10, 100, 50], [10, 60, 50, 100]


class OneStage(FaceDetector):
    """Finds one face for sure and one in doubt, and classifies both by itself."""

    name = "a one-stage detector for tests"
    class_names = (WITH, WITHOUT)

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.propose_with_classes(frame)[:2]

    def propose_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = np.array([[0.9, 0.1], [0.5, 0.5]])  # even class scores are a prediction, too
        return np.array([FOUND, DOUBTFUL], float), np.array([0.9, 0.2]), scores


def test_in_one_stage_mode_a_face_that_is_not_found_has_no_prediction():
    boxes = np.array([FOUND, DOUBTFUL, OVERLOOKED], np.float32)
    annotation = Annotation(Path("photo.jpg"), boxes, (WITH, WITHOUT, WITHOUT))
    detector = MaskDetector(lambda: OneStage(0.5), None)

    result = examine_photo(np.zeros((120, 120, 3), np.uint8), annotation, detector)

    assert result.predictions.tolist() == [WITH, WITH, ""]
    assert len(result.detections) == 2  # down to a low confidence
    assert result.seconds > 0
