"""Draw detections: a box and a label for each face, legible on small images and on large ones."""

from __future__ import annotations

import colorsys
import importlib.util
from collections import deque
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mask_detection.inference.classes import is_bare, is_masked, is_worn_wrong, shown
from mask_detection.inference.detections import Detections
from mask_detection.io.images import AnyImage, to_bgr
from mask_detection.utils.boxes import box_areas, clip_boxes, intersection_areas

Color = tuple[int, int, int]  # BGR, 0..255

GREEN: Color = (60, 180, 40)
RED: Color = (40, 40, 220)
# Of all colours tried the one that people with any kind of colour blindness tell best from green and red, by the
# simulation of Machado et al. 2009: CIELAB distances of 68 and more.
PURPLE: Color = (220, 60, 150)
GREY: Color = (150, 150, 150)  # outline of an uncertain face
WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)

TEXT_FRACTION = 0.028  # height of the letters, of the image's smaller side
MIN_TEXT_PIXELS = 12
DEJAVU = Path("fonts", "ttf", "DejaVuSans.ttf")  # in matplotlib's data
TEXT_PER_LINE = 8  # height of the letters, in widths of a line
TEXT_PER_PAD = 5  # height of the letters, in widths of the border around them
MIN_LINE_PIXELS = 2  # of a line and of that border
DASH = 8  # length of a dash and the gap after it, in line widths
BLUR_CELLS = 6  # a side of a blurred face
BLUR_MARGIN = 0.2  # of a face's width and height, on each side
BLUR_S = 0.5  # for which a place stays blurred after the face
MAX_HIDDEN = 0.1  # fraction of a face that another face's label may cover


def draw(image: AnyImage, detections: Detections, blur_faces: bool = False) -> np.ndarray:
    """Draw boxes, labels and percentages; the outline of an uncertain face is grey.

    A label that would hide another face, as in a crowd, shrinks to the percentage: its colour still shows the class.

    Args:
        image: a BGR uint8 array (H, W, 3), a path or a PIL image, see :func:`mask_detection.io.images.to_bgr`; it is
            left as it is.
        detections: what was found in it.
        blur_faces: make these faces unrecognizable, see :func:`blur`.

    Returns:
        A new image, (H, W, 3) BGR uint8.

    Raises:
        MaskDetectionError: the image cannot be read, or is none.
    """
    annotated = to_bgr(image).copy()
    if blur_faces:
        blur(annotated, detections.boxes)
    text_height = choose_text_height(annotated.shape)
    colors = class_colors(detections.class_names)
    labels, probabilities, uncertain = detections.labels, detections.label_probabilities, detections.uncertain
    # The most confident face comes first and is drawn last, so that its label lies on top.
    for i in reversed(range(len(detections))):
        box, others = detections.boxes[i], np.delete(detections.boxes, i, axis=0)
        color, percentage = colors[labels[i]], f"{probabilities[i]:.0%}"
        x1, y1, x2, y2 = box.tolist()
        outline = GREY if uncertain[i] else color
        thickness = max(MIN_LINE_PIXELS, text_height // TEXT_PER_LINE)
        if is_worn_wrong(labels[i]):
            _draw_dashed(annotated, (x1, y1, x2 - 1, y2 - 1), outline, thickness)
        else:
            cv2.rectangle(annotated, (x1, y1), (x2 - 1, y2 - 1), outline, thickness)
        for text in (f"{shown(labels[i])}: {percentage}", percentage):
            patch = render_label(text, color, text_height)
            place = _place_label(patch.shape, box, annotated.shape)
            if not _hides_a_face(place, others):
                break
        left, top, right, bottom = place
        annotated[top:bottom, left:right] = patch[: bottom - top, : right - left]
    return annotated


def _draw_dashed(image: np.ndarray, corners: tuple[int, int, int, int], color: Color, thickness: int) -> None:
    """Draw a rectangle of dashes, so that colour is not all that tells a class; a dash lies on each corner."""
    x1, y1, x2, y2 = corners
    for start, end in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        n_dashes = max(2, round(length / (DASH * thickness)))
        places = np.linspace(start, end, 2 * n_dashes).round().astype(int)  # where dashes and gaps begin and end
        for begin, stop in zip(places[::2].tolist(), places[1::2].tolist(), strict=True):
            cv2.line(image, begin, stop, color, thickness)


def blur(image: np.ndarray, boxes: np.ndarray) -> None:
    """Make the content of boxes (N, 4) xyxy unrecognizable, in place in an image (H, W, 3) uint8.

    Only the mean colours of ``BLUR_CELLS`` cells a side are left, so that nothing brings the face back.
    """
    margins = (boxes[:, 2:] - boxes[:, :2]) * BLUR_MARGIN
    grown = clip_boxes(np.hstack([boxes[:, :2] - margins, boxes[:, 2:] + margins]), image.shape[:2])
    for x1, y1, x2, y2 in grown.round().astype(int).tolist():
        inside = image[y1:y2, x1:x2]
        if inside.size:
            cells = cv2.resize(inside, (BLUR_CELLS, BLUR_CELLS), interpolation=cv2.INTER_AREA)
            image[y1:y2, x1:x2] = cv2.resize(cells, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)


class FaceBlur:
    """Blurs the faces of a source's frames, and for a moment the places where faces just were.

    So a face that is missed in a frame now and then isn't seen in that frame either.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, np.ndarray]] = deque()

    def see(self, boxes: np.ndarray, time_s: float) -> None:
        """Take in the faces of the next frame, boxes (N, 4) xyxy."""
        self._seen.append((time_s, boxes))
        while time_s - self._seen[0][0] > BLUR_S:
            self._seen.popleft()

    def blurred(self, image: np.ndarray, boxes: np.ndarray, time_s: float) -> np.ndarray:
        """A copy of an image (H, W, 3) uint8 with its faces, boxes (N, 4) xyxy, blurred."""
        self.see(boxes, time_s)
        image = image.copy()
        blur(image, np.concatenate([boxes for _, boxes in self._seen]))
        return image


def choose_text_height(image_shape: tuple[int, ...]) -> int:
    """The height of the letters in pixels that suits an image of shape (height, width, …)."""
    return max(MIN_TEXT_PIXELS, round(TEXT_FRACTION * min(image_shape[:2])))


def class_colors(class_names: tuple[str, ...]) -> dict[str, Color]:
    """Green for the class with mask, red for the one without, purple for worn wrong, a colour of its own for others."""
    colors: dict[str, Color] = {}
    others = _other_colors(len(class_names))
    for name, other in zip(class_names, others, strict=True):
        known = GREEN if is_masked(name) else RED if is_bare(name) else PURPLE if is_worn_wrong(name) else None
        colors[name] = known or other
    return colors


def hex_color(color: Color) -> str:
    """A colour as web pages and Matplotlib take it, such as ``#28b43c``."""
    blue, green, red = color
    return f"#{red:02x}{green:02x}{blue:02x}"


def ink_on(color: Color) -> Color:
    """White or black, whichever is legible on a colour."""
    luminance = np.dot(color, (0.114, 0.587, 0.299))  # ITU-R BT.601
    return BLACK if luminance > 140 else WHITE


def _other_colors(count: int) -> list[Color]:
    """Orange, and cyan through blue to pink, by the golden ratio: neither green nor red, neighbours far apart."""
    hues = [0.08 + (i * 0.618 % 1.0) * 0.5 for i in range(count)]
    hues = [hue if hue < 0.16 else hue + 0.34 for hue in hues]  # leaves out yellow and green
    rgb = [colorsys.hsv_to_rgb(hue, 0.85, 0.9) for hue in hues]
    return [(round(b * 255), round(g * 255), round(r * 255)) for r, g, b in rgb]


def _hides_a_face(label: np.ndarray, boxes: np.ndarray) -> bool:
    """Tell whether a label (4,) xyxy covers more than ``MAX_HIDDEN`` of one of the boxes (N, 4)."""
    return bool((intersection_areas(label, boxes) > MAX_HIDDEN * box_areas(boxes)).any())


def _place_label(label_shape: tuple[int, ...], box: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Above the box; below it or inside where there is no room, and always within the image: (4,) int xyxy."""
    height, width = (min(side, limit) for side, limit in zip(label_shape[:2], image_shape[:2], strict=True))
    x1, y1, _, y2 = box.tolist()
    top = y1 - height if y1 >= height else y2 if y2 + height <= image_shape[0] else y1
    top = min(max(top, 0), image_shape[0] - height)
    left = min(max(x1, 0), image_shape[1] - width)
    return np.array([left, top, left + width, top + height])


@lru_cache(maxsize=512)
def render_label(text: str, color: Color, text_height: int) -> np.ndarray:
    """White or black letters on the class's colour, (h, w, 3) BGR uint8; read-only, as it is shared."""
    font = ImageFont.truetype(str(_font_file(text)), text_height)
    left, top, right, bottom = font.getbbox(text)
    pad = max(MIN_LINE_PIXELS, text_height // TEXT_PER_PAD)
    label = Image.new("RGB", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad), color)  # BGR all along
    ImageDraw.Draw(label).text((pad - left, pad - top), text, font=font, fill=ink_on(color))
    pixels = np.asarray(label)
    pixels.setflags(write=False)
    return pixels


@lru_cache(maxsize=64)
def _font_file(text: str) -> Path:
    """A font with every letter of the text: matplotlib's DejaVu Sans, otherwise one that is installed here."""
    dejavu = _dejavu()
    if text.isascii() or _has_letters(dejavu, text):
        return dejavu
    from matplotlib.font_manager import fontManager  # searches the system's fonts, so only when needed

    installed = (Path(entry.fname) for entry in fontManager.ttflist)
    return next((font for font in installed if _has_letters(font, text)), dejavu)


def _dejavu() -> Path:
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (font := Path(folder, "mpl-data", DEJAVU)).is_file():  # without importing it, which wants a cache folder
            return font
    import matplotlib as mpl  # some systems keep its data elsewhere

    return Path(mpl.get_data_path(), DEJAVU)


def _has_letters(font: Path, text: str) -> bool:
    from matplotlib.ft2font import FT2Font

    return {ord(letter) for letter in text} <= FT2Font(str(font)).get_charmap().keys()
