"""What all face detectors share: an image goes in, boxes and confidences come out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import cv2
import numpy as np

from mask_detection.utils.boxes import box_areas, clip_boxes, intersection_areas
from mask_detection.utils.defaults import CONFIDENCE

MIN_FRACTION_INSIDE = 0.5  # of a box's area; the Caffe SSD puts ghost boxes beside close-ups
NMS_IOU = 0.4  # boxes that overlap more are one face
MAX_FRACTION_WITHIN = 0.8  # of a box's area within a more confident one; above, it is a part of that face


class FaceDetector(ABC):
    """Finds faces in an image. A new detector has a name and proposes boxes; the rest is shared.

    Attributes:
        name: for the user.
        class_names: the classes that it predicts by itself; most detectors predict none.
    """

    name: str
    class_names: tuple[str, ...] = ()

    def __init__(self, confidence: float = CONFIDENCE) -> None:
        self.confidence = confidence

    @abstractmethod
    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes as the network gives them, before any of them is dropped.

        Args:
            frame: the image, (H, W, 3) BGR uint8.

        Returns:
            (M, 4) float xyxy in pixels of the image, perhaps outside of it, and (M,) float confidences 0..1.
        """

    def detect(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the faces of an image, the most confident first.

        Args:
            frame: the image, (H, W, 3) BGR uint8.

        Returns:
            (N, 4) int32 xyxy in pixels, x2 and y2 exclusive, inside the image and not empty, and
            (N,) float32 confidences.
        """
        boxes, confidences, _ = self.detect_with_classes(frame)
        return boxes, confidences

    def propose_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Like :meth:`propose`, with (M, n_classes) float probabilities of ``class_names``."""
        boxes, confidences = self.propose(frame)
        return boxes, confidences, np.empty((len(boxes), 0), np.float32)

    def detect_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Like :meth:`detect`, with (N, n_classes) float32 probabilities of ``class_names``."""
        boxes, confidences, probabilities = self.propose_with_classes(frame)
        boxes, kept = keep_faces(boxes, confidences, frame.shape[:2], self.confidence)
        return boxes, confidences[kept].astype(np.float32), probabilities[kept].astype(np.float32)


def keep_faces(
    boxes: np.ndarray, confidences: np.ndarray, frame_size: tuple[int, int], min_confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Drop what has low confidence, is outside the image or found twice; clip the rest to the image.

    Args:
        boxes: (M, 4) xyxy in pixels, anywhere.
        confidences: (M,).
        frame_size: height and width of the image in pixels.
        min_confidence: boxes below it are dropped.

    Returns:
        (N, 4) int32, the boxes that are left, by falling confidence; and (N,) int, which of the M they are.
    """
    kept = np.flatnonzero(np.isfinite(boxes).all(axis=1) & (confidences >= min_confidence))
    clipped = clip_boxes(boxes[kept].round(), frame_size)
    inside = box_areas(clipped) > MIN_FRACTION_INSIDE * box_areas(boxes[kept])
    kept, clipped = kept[inside], clipped[inside].astype(np.int32)

    corner_and_size = np.hstack([clipped[:, :2], clipped[:, 2:] - clipped[:, :2]])
    order = cv2.dnn.NMSBoxes(corner_and_size.tolist(), confidences[kept].tolist(), 0.0, NMS_IOU)
    chosen = np.asarray(order, int).ravel()
    chosen = chosen[~_are_parts(clipped[chosen])]
    return clipped[chosen], kept[chosen]


def _are_parts(boxes: np.ndarray) -> np.ndarray:
    """Mark boxes (N, 4) that lie within a more confident one before them, such as a close-up's eye taken for a face."""
    shared = np.tril(intersection_areas(boxes, boxes), k=-1)  # (N, N) square pixels, with those before
    within = shared > MAX_FRACTION_WITHIN * box_areas(boxes)[:, None]
    return np.logical_or.reduce(within, axis=1)
