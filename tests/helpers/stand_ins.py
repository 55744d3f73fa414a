"""Stand-ins for the networks: a detector to which all is face, and one, with a classifier, to which cards are faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mask_detection.models.classifier import MaskClassifier
from mask_detection.models.face_detector import FaceDetector
from tests.helpers.videos import FRAME_SIZE, write_video

CARD = (80, 60, 160, 160)  # xyxy: where the card is held
COLORS = {"M": (0, 200, 0), "B": (0, 0, 200), "W": (200, 0, 0), "U": (200, 200, 200)}  # BGR
INPUT_SIZE = 32  # pixels, of the classifier


class AllIsFace(FaceDetector):
    """Takes each image for a face, so that every stage has something to do."""

    name = "all is face"

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = frame.shape[:2]
        return np.array([[0.0, 0, width, height]]), np.array([0.9])


class CardFinder(FaceDetector):
    """Takes a card for a face."""

    name = "cards"

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = frame[(CARD[1] + CARD[3]) // 2, (CARD[0] + CARD[2]) // 2].max() > 120
        return np.full((int(found), 4), CARD, float), np.ones(int(found))


def card_classifier(class_names: tuple[str, ...]) -> MaskClassifier:
    """Predicts the first class for a green card, the second for a red and the third for a blue one."""

    def predict(batch: np.ndarray) -> np.ndarray:  # (N, 32, 32, 3) RGB -1..1
        colors = batch[:, 10:22, 10:22].mean(axis=(1, 2))[:, [1, 0, 2]]  # green, red, blue
        odds = np.exp(3 * np.pad(colors, ((0, 0), (0, len(class_names))))[:, : len(class_names)])
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)

    return MaskClassifier(predict, class_names, INPUT_SIZE)


def write_cards(path: Path, letters: str) -> Path:
    """Write a video of a frame a letter: a card of this colour, or none for any other letter."""
    return write_video(path, map(_frame, letters))


def _frame(letter: str) -> np.ndarray:
    frame = np.full((FRAME_SIZE, FRAME_SIZE, 3), 60, np.uint8)
    if letter in COLORS:
        cv2.rectangle(frame, CARD[:2], CARD[2:], COLORS[letter], cv2.FILLED)
    return frame


class Camera:
    """Stands in for ``cv2.VideoCapture``: a camera that doesn't know its frame rate.

    Attributes:
        shots: what each reading gives, True for a picture; the last goes on for ever.
        n_opened: how often it was opened.
    """

    shots: list[bool]
    frame_rate = 0.0
    n_opened = 0

    def __init__(self) -> None:
        type(self).n_opened += 1

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return True

    def get(self, key: int) -> float:
        return self.frame_rate if key == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        arrived = self.shots.pop(0) if len(self.shots) > 1 else self.shots[0]
        return arrived, np.full((120, 160, 3), 80, np.uint8) if arrived else None

    def release(self) -> None:
        pass
