"""Drawn faces in drawn scenes, with and without masks: enough for a small detector to learn something."""

from __future__ import annotations

import cv2
import numpy as np

from tests.helpers.images import textured

CLASS_NAMES = ("mask_weared_incorrect", "with_mask", "without_mask")
WORN_WRONG, WITH_MASK, WITHOUT_MASK = range(len(CLASS_NAMES))
SKIN = np.array([[95, 130, 190], [140, 180, 225], [50, 80, 130], [170, 200, 240]])  # BGR
MASKS = np.array([[235, 235, 230], [215, 190, 130], [60, 60, 60], [200, 220, 180]])


def draw_scene(
    rng: np.random.Generator, width: int = 320, height: int = 240
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Up to four faces that don't overlap, on soft noise with blocks in it.

    Returns:
        (height, width, 3) BGR uint8; (N, 4) float32 xyxy; and N indices of ``CLASS_NAMES``.
    """
    image = textured(width, height, hue=int(rng.integers(180)), seed=int(rng.integers(1 << 30)))
    for _ in range(rng.integers(8)):  # what is no face
        x, y, w, h = rng.integers((0, 0, 5, 5), (width, height, 80, 80))
        cv2.rectangle(image, (x, y), (x + w, y + h), rng.integers(256, size=3).tolist(), -1)
    boxes, labels = [], []
    for column in rng.permutation(4)[: rng.integers(1, 5)]:
        w = int(rng.integers(16, width // 4))
        h = round(w * rng.uniform(1.1, 1.4))
        x, y = column * width // 4 + int(rng.integers(width // 4 - w + 1)), int(rng.integers(height - h))
        labels.append(int(rng.integers(len(CLASS_NAMES))))
        draw_face(image[y : y + h, x : x + w], labels[-1], rng)
        boxes.append((x, y, x + w, y + h))
    noise = rng.normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), np.array(boxes, np.float32), labels


def draw_face(image: np.ndarray, label: int, rng: np.random.Generator) -> None:
    """Fill a view (h, w, 3) BGR uint8 with a face: an ellipse with eyes, nose and mouth, and perhaps a mask."""
    height, width = image.shape[:2]

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * width), round(y * height)

    skin = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.8, 1.1)
    cv2.ellipse(image, at(0.5, 0.5), at(0.5, 0.5), 0, 0, 360, np.clip(skin, 0, 255).tolist(), -1)
    for x in (0.3, 0.7):
        cv2.ellipse(image, at(x, 0.38), at(0.1, 0.05), 0, 0, 360, (30, 30, 30), -1)
    cv2.ellipse(image, at(0.5, 0.55), at(0.07, 0.1), 0, 0, 360, (skin * 0.7).tolist(), -1)
    cv2.ellipse(image, at(0.5, 0.75), at(0.18, 0.05), 0, 0, 360, (60, 50, 170), -1)
    if label != WITHOUT_MASK:
        top = 0.5 if label == WITH_MASK else 0.68  # below the nose
        corners = [at(0.08, top), at(0.92, top), at(0.8, 0.92), at(0.5, 0.98), at(0.2, 0.92)]
        cv2.fillConvexPoly(image, np.array(corners), MASKS[rng.integers(len(MASKS))].tolist())
