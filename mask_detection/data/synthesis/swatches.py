"""Cloth of real masks, cut out of photos of people who wear them."""

from __future__ import annotations

import cv2
import numpy as np

from mask_detection.data.synthesis import light
from mask_detection.data.synthesis.cloth import Swatch
from mask_detection.data.synthesis.geometry import Pose, surface_z

ROWS, COLUMNS = 84, 112  # pixels of a swatch
HALF_WIDTH, TOP, BOTTOM = 0.72, 0.55, 1.48  # D: what a worn mask covers for certain
PUFF = 0.08  # D that it stands off the face
MIN_UNIT = 24.0  # pixels; below, a swatch would be a smear
MAX_TURN = 0.35  # D: of the nose column, against an upright head that looks into the camera

SKIN_TOP, SKIN_BOTTOM = -0.05, 0.2  # y in D, where a masked face shows skin
SKIN_CHROMA, SKIN_LIGHTNESS = 9.0, 45.0  # differences in OpenCV's Lab up to which a colour may be the skin's
MAX_SKIN = 0.1  # fraction of a swatch that may look like skin


def cut_swatch(image: np.ndarray, pose: Pose, photo: str) -> Swatch | None:
    """Cut out the cloth over mouth and cheeks, flattened, as in white light.

    Args:
        image: (H, W, 3) BGR uint8.
        pose: of a face with a mask.
        photo: its name.

    Returns:
        None where the face is small, turned away or at the image's edge, or where skin shows.
    """
    turn = np.linalg.solve(pose.axes[:2].T, pose.axes[2])
    if pose.unit < MIN_UNIT or np.linalg.norm(turn) > MAX_TURN:
        return None
    x, y = np.meshgrid(np.linspace(-HALF_WIDTH, HALF_WIDTH, COLUMNS), np.linspace(TOP, BOTTOM, ROWS))
    places = pose.project(np.stack([x, y, surface_z(x, y) + PUFF], axis=-1)).astype(np.float32)
    if (places < 0).any() or (places > np.array(image.shape[1::-1]) - 1).any():
        return None
    pixels = cv2.remap(image, places[..., 0], places[..., 1], cv2.INTER_CUBIC)
    skin = light.face_samples(image, pose, SKIN_TOP, SKIN_BOTTOM)
    if _skin_fraction(pixels, skin) > MAX_SKIN:
        return None
    nominal = pixels / light.exposure(float(np.median(skin @ light.LUMA)))
    return Swatch(np.clip(nominal, 0, 255).astype(np.uint8), photo)


def _skin_fraction(pixels: np.ndarray, skin: np.ndarray) -> float:
    """What fraction of (h, w, 3) BGR pixels has a colour like the (n, 3) samples of skin."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_BGR2LAB).astype(np.float32)
    tone = np.median(cv2.cvtColor(skin[None], cv2.COLOR_BGR2LAB)[0], axis=0)
    difference = np.abs(lab - tone)
    alike = (difference[..., 0] < SKIN_LIGHTNESS) & (difference[..., 1:].max(axis=2) < SKIN_CHROMA)
    return float(alike.mean())
