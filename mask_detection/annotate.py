"""Draw what was seen: a box and a label for each face, legible on small pictures and on large ones."""

from __future__ import annotations

import colorsys
import re
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mask_detection.detections import Detections

Color = tuple[int, int, int]  # BGR, 0..255

GREEN: Color = (60, 180, 40)
RED: Color = (40, 40, 220)
GREY: Color = (150, 150, 150)  # outline of an uncertain answer
WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)

# Names that data sets use for the two classes, in small letters without anything between the words.
MASK_NAMES = {"withmask", "mask", "masked", "facemask", "masks"}
NO_MASK_NAMES = {"withoutmask", "nomask", "unmasked", "withoutmasks", "notmasked"}

TEXT_SHARE = 0.028  # height of the letters in parts of the picture's smaller side
MIN_TEXT_PIXELS = 12


def annotate(frame: np.ndarray, detections: Detections) -> np.ndarray:
    """Draw boxes, labels and per cents; the outline of an uncertain answer is grey.

    Args:
        frame: the picture, (H, W, 3) BGR uint8; it is left as it is.
        detections: what was seen in it.

    Returns:
        A new picture of the same shape.
    """
    annotated = frame.copy()
    text_height = max(MIN_TEXT_PIXELS, round(TEXT_SHARE * min(frame.shape[:2])))
    colors = class_colors(detections.class_names)
    answers = zip(
        detections.boxes.tolist(),
        detections.labels,
        detections.label_probabilities,
        detections.uncertain,
        strict=True,
    )
    # The surest face comes first and is drawn last, so that its label lies on top.
    for (x1, y1, x2, y2), label, probability, is_uncertain in reversed(list(answers)):
        outline = GREY if is_uncertain else colors[label]
        cv2.rectangle(annotated, (x1, y1), (x2 - 1, y2 - 1), outline, thickness=max(1, text_height // 8))
        _put_label(annotated, f"{label}: {probability:.0%}", (x1, y1, y2), colors[label], text_height)
    return annotated


def class_colors(class_names: tuple[str, ...]) -> dict[str, Color]:
    """Green for the class with mask, red for the one without, a colour of its own for any other."""
    colors: dict[str, Color] = {}
    others = _other_colors(len(class_names))
    for name, other in zip(class_names, others, strict=True):
        plain = re.sub(r"[\W_]", "", name.lower())
        colors[name] = GREEN if plain in MASK_NAMES else RED if plain in NO_MASK_NAMES else other
    return colors


def _other_colors(count: int) -> list[Color]:
    """Orange, and cyan through blue to pink, by the golden ratio: neither green nor red, neighbours far apart."""
    hues = [0.08 + (i * 0.618 % 1.0) * 0.5 for i in range(count)]
    hues = [hue if hue < 0.16 else hue + 0.34 for hue in hues]  # leaves out yellow and green
    rgb = [colorsys.hsv_to_rgb(hue, 0.85, 0.9) for hue in hues]
    return [(round(b * 255), round(g * 255), round(r * 255)) for r, g, b in rgb]


def _put_label(image: np.ndarray, text: str, box_edges: tuple[int, int, int], color: Color, text_height: int) -> None:
    """Paste a label above the box; below it or inside where there is no room, and always within the picture."""
    label = _render_label(text, color, text_height)
    height, width = (min(side, limit) for side, limit in zip(label.shape[:2], image.shape[:2], strict=True))
    x1, y1, y2 = box_edges
    top = y1 - height if y1 >= height else y2 if y2 + height <= image.shape[0] else y1
    top = min(max(top, 0), image.shape[0] - height)
    left = min(max(x1, 0), image.shape[1] - width)
    image[top : top + height, left : left + width] = label[:height, :width]


@lru_cache(maxsize=512)
def _render_label(text: str, color: Color, text_height: int) -> np.ndarray:
    """White or black letters on the class's colour, (h, w, 3) BGR uint8; read-only, as it is shared."""
    font = ImageFont.truetype(str(_font_file(text)), text_height)
    left, top, right, bottom = font.getbbox(text)
    pad = max(2, text_height // 5)
    label = Image.new("RGB", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad), color)  # BGR all along
    luminance = np.dot(color, (0.114, 0.587, 0.299))  # ITU-R BT.601
    ink = BLACK if luminance > 140 else WHITE
    ImageDraw.Draw(label).text((pad - left, pad - top), text, font=font, fill=ink)
    pixels = np.asarray(label)
    pixels.setflags(write=False)
    return pixels


@lru_cache(maxsize=64)
def _font_file(text: str) -> Path:
    """A font with every letter of the text: matplotlib's DejaVu Sans, otherwise one that is installed here."""
    import matplotlib as mpl

    dejavu = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    if text.isascii() or _has_letters(dejavu, text):
        return dejavu
    from matplotlib.font_manager import fontManager  # searches the system's fonts, so only when needed

    installed = (Path(entry.fname) for entry in fontManager.ttflist)
    return next((font for font in installed if _has_letters(font, text)), dejavu)


def _has_letters(font: Path, text: str) -> bool:
    from matplotlib.ft2font import FT2Font

    return {ord(letter) for letter in text} <= FT2Font(str(font)).get_charmap().keys()
