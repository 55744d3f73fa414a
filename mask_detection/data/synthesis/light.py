"""How a photo is lit, coloured, blurred and noisy around a face, and what that does to a mask put on it."""

from __future__ import annotations

import cv2
import numpy as np

from mask_detection.data.synthesis.geometry import Pose, surface_z

LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # of blue, green, red

MIDDLE_GREY = 125.0  # luminance of a face for which cloth has its nominal colours
EXPOSURE = 0.35  # power: cloth follows dark and bright faces less than skin does, as skin itself is dark or bright
LOCAL_LIGHT = 0.8  # power: how far cloth follows the light and shade on the face
LIGHT_SPREAD = 0.45  # D, blur of that light and shade
LIGHT_UNIT = 14.0  # D in pixels, at most, when it is measured

SKIN = np.array([0.80, 0.95, 1.18], np.float32)  # blue, green, red over luminance, in white light
CAST = 0.25  # power: how far cloth follows the colour of the light; skins differ as much as lamps do
GREY_SKIN = 30.0  # difference of the skin's largest and smallest channel; below, a photo is thought to lack colour

KNEE, LIMIT = 225.0, 253.0  # from where on and to where cameras compress highlights


def face_samples(image: np.ndarray, pose: Pose, top: float = 0.15, bottom: float = 0.9) -> np.ndarray:
    """An image's values at 63 places of the face, (63, …), from ``top`` to ``bottom`` (y in D)."""
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 9), np.linspace(top, bottom, 7))
    places = pose.project(np.stack([x, y, surface_z(x, y)], axis=-1)).reshape(-1, 2).astype(int)
    column, row = np.clip(places, 0, np.array(image.shape[1::-1]) - 1).T
    return image[row, column]


def exposure(face: float) -> float:
    """What to multiply cloth's nominal colours with where faces have this luminance, 0..255."""
    return (max(face, 12.0) / MIDDLE_GREY) ** EXPOSURE


def light_on(grey: np.ndarray, cloth: np.ndarray, pose: Pose) -> np.ndarray:
    """What to multiply the cloth's nominal colours with: exposure, and the light and shade on the face below it.

    Args:
        grey: luminance, (h, w) uint8.
        cloth: opacity of the mask, (h, w) float32.
        pose: of the face.

    Returns:
        (h, w) float32.
    """
    face = float(np.median(face_samples(grey, pose)))
    scale = min(1.0, LIGHT_UNIT / pose.unit)
    size = tuple(max(1, round(side * scale)) for side in grey.shape[::-1])
    weight = cv2.resize(cloth, size, interpolation=cv2.INTER_AREA) + 1e-3
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    local = blurred(small * weight, LIGHT_SPREAD * pose.unit * scale) / blurred(
        weight, LIGHT_SPREAD * pose.unit * scale
    )
    relative = cv2.resize(local, grey.shape[::-1], interpolation=cv2.INTER_LINEAR) / max(face, 1.0)
    return np.clip(relative, 0.6, 1.35) ** LOCAL_LIGHT * exposure(face)


def tinted(colour: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Give cloth the colour of a photo's light, and none where the photo has none.

    Args:
        colour: (h, w, 3) float32 BGR.
        skin: (n, 3) uint8, samples of the face.
    """
    tone = np.median(skin, axis=0).astype(np.float32) + 1
    cast = np.clip(tone / (tone @ LUMA) / SKIN, 0.75, 1.3) ** CAST
    grey = (colour @ LUMA)[..., None]
    saturation = min(1.0, float(np.ptp(tone)) / GREY_SKIN)
    return grey + saturation * (colour * (cast / (cast @ LUMA)) - grey)


def compressed(colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Compress highlights; (h, w, 3) colours come times opacity, (h, w)."""
    knee, room = KNEE * opacity[..., None], np.maximum((LIMIT - KNEE) * opacity[..., None], 1e-3)
    over = np.maximum(colour - knee, 0)
    return np.minimum(colour, knee) + room * (1 - np.exp(-over / room))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; ``sigma`` in pixels, nothing below a fifth."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.2 else image


def photo_blur(grey: np.ndarray) -> float:
    """How blurred (h, w) luminance is, as the sigma of a Gaussian in pixels: by how much finer detail is weaker."""
    values = grey.astype(np.float32)
    fine, coarse = blurred(values, 0.8), blurred(values, 1.6)
    ratio = np.std(values - fine) / (np.std(fine - coarse) + 1e-3)
    return float(np.interp(ratio, (0.25, 0.45, 0.7, 1.0), (1.8, 1.1, 0.6, 0.2)))


def photo_noise(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise as strong as in the smooth parts of a patch, (h, w, 3) BGR uint8: the same shape, float32."""
    rest = cv2.absdiff(patch, cv2.medianBlur(patch, 3)).mean(axis=2, dtype=np.float32)
    strength = np.clip(0.95 * np.percentile(cv2.blur(rest, (5, 5)), 30), 0.5, 6.0)  # edges are no noise
    grey = rng.standard_normal((*patch.shape[:2], 1), np.float32)
    colours = rng.standard_normal(patch.shape, np.float32)
    return np.float32(strength) * (0.9 * grey + 0.35 * blurred(colours, 0.8))
