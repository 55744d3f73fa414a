"""Make the example images, and the true boxes of their faces, from one public-domain portrait.

    python examples/make_examples.py                        # beside this script
    python examples/make_examples.py --output /tmp/examples

The portrait is the US Navy's photo of Grace Hopper that matplotlib ships as sample data. The masks are drawn
by `mask_detection.data.synthesis`, and tucked under the glasses.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs from a checkout, nothing installed
from mask_detection.commands import cli
from mask_detection.data.synthesis.cloth import Look
from mask_detection.data.synthesis.geometry import Shape, fit_pose
from mask_detection.data.synthesis.render import draw_on
from mask_detection.inference.classes import WEARED_INCORRECT, WITH_MASK
from mask_detection.utils.files import atomic_write, read_whole

JPEG_QUALITY = 90
SEED = 2
WRINKLING = 0.7  # as against 1 of usual masks

Line = Sequence[tuple[int, int]]  # corners, x then y, in pixels
Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, x2 and y2 exclusive
Colour = tuple[int, int, int]  # blue, green, red

# Where things are in the portrait, which is 512 pixels wide and 600 high.
FACE_BOX = (181, 124, 348, 331)  # hair line to chin, and the cheeks at eye level
LANDMARKS = np.array([(228, 199), (308, 199), (271, 239), (229, 271), (304, 273)])  # eyes, nose, corners of the mouth
GLASSES = [  # the lower rims
    [(193, 208), (201, 220), (210, 227), (222, 231), (235, 229), (245, 222), (250, 210), (254, 195)],
    [(275, 196), (279, 210), (284, 220), (295, 226), (308, 228), (322, 225), (333, 216), (340, 203)],
]  # fmt: skip
PERSON = [
    (12, 620), (12, 600), (16, 564), (20, 518), (26, 457), (30, 433), (39, 407), (50, 388), (66, 380),
    (89, 371), (117, 361), (157, 351), (183, 337), (204, 318), (205, 307), (193, 296), (175, 284),
    (166, 272), (163, 259), (164, 244), (158, 218), (155, 198), (154, 186), (153, 152), (153, 122),
    (157, 105), (168, 93), (177, 86), (180, 72), (191, 55), (216, 42), (224, 32), (239, 26), (259, 24),
    (284, 27), (297, 34), (304, 42), (325, 49), (339, 59), (348, 75), (353, 88), (362, 88), (367, 98),
    (370, 117), (370, 147), (369, 180), (374, 188), (374, 203), (369, 229), (365, 254), (359, 264),
    (357, 279), (350, 298), (340, 304), (332, 306), (331, 314), (340, 327), (361, 342), (396, 355),
    (432, 369), (467, 382), (486, 392), (495, 405), (501, 421), (507, 448), (507, 620),
]  # fmt: skip
PLAIN_UNIFORM = (535, 575)  # rows from and to; nothing but cloth, so that they can be repeated further down


LIGHT_BLUE, CHARCOAL, TEAL, WHITE = (230, 210, 168), (66, 58, 54), (172, 182, 112), (240, 240, 238)
ELASTIC = (222, 224, 226)
ON_NOSE = Shape(
    top=0.2, top_ends=0.3, bottom=1.95, bottom_ends=1.16, top_half_width=0.94, bottom_half_width=0.86,
    puff=0.08, ridge=0.0, squareness=2.6, slant=0.0, shift=0.0,
)  # fmt: skip
BELOW_NOSE = replace(ON_NOSE, top=0.8, top_ends=-0.1, bottom=1.9, bottom_ends=1.3)


@dataclass(frozen=True)
class Mask:
    """A surgical mask, how it is worn, and the class that this is."""

    colour: Colour
    shape: Shape = ON_NOSE
    label: str = WITH_MASK


@dataclass(frozen=True)
class Sitter:
    """One person in the group: the portrait's top left corner there (pixels), and what is changed."""

    x: int
    y: int
    scale: float
    brightness: float
    mirrored: bool
    mask: Mask | None


GROUP_SIZE = (1400, 700)  # width, height
GROUP = [  # those behind come first
    Sitter(189, 18, scale=0.84, brightness=0.95, mirrored=True, mask=Mask(LIGHT_BLUE)),
    Sitter(612, 34, scale=0.70, brightness=1.08, mirrored=True, mask=None),
    Sitter(975, 26, scale=0.78, brightness=1.0, mirrored=True, mask=Mask(WHITE, BELOW_NOSE, WEARED_INCORRECT)),
    Sitter(-25, 136, scale=0.96, brightness=1.04, mirrored=False, mask=None),
    Sitter(728, 150, scale=0.92, brightness=0.92, mirrored=False, mask=Mask(CHARCOAL)),
    Sitter(336, 172, scale=1.0, brightness=1.0, mirrored=False, mask=Mask(TEAL)),
]


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; ``sigma`` in pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def rounded(corners: Line, closed: bool = False) -> np.ndarray:
    """Round a line's corners off by Chaikin's corner cutting, three times over.

    Args:
        corners: n points.
        closed: whether the last point is joined to the first; the ends of an open line stay where they are.

    Returns:
        About 8n points, (m, 2) float.
    """
    points = np.asarray(corners, float)
    for _ in range(3):
        start, end = (points, np.roll(points, -1, axis=0)) if closed else (points[:-1], points[1:])
        cut = np.stack([0.75 * start + 0.25 * end, 0.25 * start + 0.75 * end], axis=1).reshape(-1, 2)
        points = cut if closed else np.vstack([points[:1], cut, points[-1:]])
    return points


def area(outline: np.ndarray, shape: tuple[int, int], softness: float = 0.8) -> np.ndarray:
    """Opacity of what an outline encloses: (H, W) float from 0 to 1; ``softness`` is in pixels."""
    opacity = np.zeros(shape, np.uint8)
    cv2.fillPoly(opacity, [_sixteenths(outline)], 255, cv2.LINE_AA, shift=4)
    return blurred(opacity / 255, softness)


def strokes(lines: Sequence[Line], shape: tuple[int, int], thickness: int) -> np.ndarray:
    """Opacity of lines drawn ``thickness`` pixels wide: (H, W) float from 0 to 1."""
    opacity = np.zeros(shape, np.uint8)
    paths = [_sixteenths(rounded(line)) for line in lines]
    cv2.polylines(opacity, paths, False, 255, thickness, cv2.LINE_AA, shift=4)
    return blurred(opacity / 255, 0.6)


def _sixteenths(points: np.ndarray) -> np.ndarray:
    """Pixels as the fixed-point numbers that OpenCV draws from when told ``shift=4``."""
    return np.round(points * 16).astype(np.int32)


def blended(below: np.ndarray, above: np.ndarray | Colour, opacity: np.ndarray) -> np.ndarray:
    """Lay ``above`` over ``below``, (H, W, 3), with ``opacity``, (H, W) from 0 to 1."""
    opacity = opacity[..., np.newaxis]
    return below * (1 - opacity) + np.asarray(above, float) * opacity


def as_image(canvas: np.ndarray) -> np.ndarray:
    """Float to uint8, clipped."""
    return np.clip(np.round(canvas), 0, 255).astype(np.uint8)


def with_mask(portrait: np.ndarray, mask: Mask) -> np.ndarray:
    """Put a surgical mask on the portrait, under the glasses; both images (600, 512, 3) BGR uint8."""
    pose = fit_pose(LANDMARKS)
    look = Look("surgical", "", mask.colour, mask.colour, "plain", ELASTIC)
    worn = draw_on(portrait, pose, mask.shape, look, WRINKLING, np.random.default_rng(SEED)).image
    return as_image(blended(worn, portrait, strokes(GLASSES, portrait.shape[:2], thickness=3)))


def backdrop() -> np.ndarray:
    """A studio's blue backdrop, lighter in the middle, with some grain: (700, 1200, 3) BGR float."""
    width, height = GROUP_SIZE
    y, x = np.mgrid[:height, :width].astype(float)
    light = 1.08 - 0.55 * np.hypot(x / width - 0.5, y / height - 0.4)
    grain = np.random.default_rng(SEED).standard_normal((height, width))
    return np.asarray((205, 148, 96)) * light[..., np.newaxis] + 1.5 * grain[..., np.newaxis]


def group_image(portrait: np.ndarray) -> np.ndarray:
    """The portrait's person several times over before a backdrop, as GROUP says: (700, 1200, 3) BGR uint8."""
    person = area(rounded(PERSON, closed=True), portrait.shape[:2])
    start, end = PLAIN_UNIFORM
    rows = np.r_[:start, np.pad(np.arange(start, end), (0, GROUP_SIZE[1]), mode="symmetric")]
    canvas = backdrop()
    for sitter in GROUP:
        image = with_mask(portrait, sitter.mask) if sitter.mask else portrait
        cutout = np.dstack([image * sitter.brightness, person])[rows]
        cutout = cutout[:, ::-1] if sitter.mirrored else cutout
        place = np.asarray([[sitter.scale, 0, sitter.x], [0, sitter.scale, sitter.y]])
        placed = cv2.warpAffine(cutout, place, GROUP_SIZE)
        opacity = placed[..., 3]
        canvas = blended(canvas, (0, 0, 0), 0.3 * blurred(opacity, 10))
        canvas = blended(canvas, placed[..., :3], opacity)
    return as_image(canvas)


def face_box(sitter: Sitter, portrait_width: int = 512) -> Box:
    """Where a sitter's face lies in the group image."""
    x1, y1, x2, y2 = FACE_BOX
    if sitter.mirrored:
        x1, x2 = portrait_width - x2, portrait_width - x1
    corner = np.asarray([sitter.x, sitter.y] * 2)
    return tuple(np.round(corner + sitter.scale * np.asarray([x1, y1, x2, y2])).astype(int).tolist())


def expected_faces() -> dict[str, list[dict]]:
    """The true faces of each example image, from left to right."""
    group = [{"box": face_box(sitter), "label": _label(sitter)} for sitter in GROUP]
    return {
        "without_mask.jpg": [{"box": FACE_BOX, "label": "without_mask"}],
        "with_mask.jpg": [{"box": FACE_BOX, "label": "with_mask"}],
        "group.jpg": sorted(group, key=lambda face: face["box"]),
    }


def _label(sitter: Sitter) -> str:
    return sitter.mask.label if sitter.mask else "without_mask"


def load_portrait() -> bytes:
    """The portrait's JPEG file as matplotlib ships it."""
    from matplotlib.cbook import get_sample_data

    return read_whole(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)), "the portrait")


def as_jpeg(image: np.ndarray) -> bytes:
    """Encode a BGR uint8 image."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def as_json(faces: dict[str, list[dict]]) -> bytes:
    """Encode the true faces, one image a line."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in faces.items())
    return f"{{\n{lines}\n}}\n".encode()


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Make the example images and the list of the faces in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent
    parser.add_argument("--output", type=Path, default=here, metavar="DIR", help="default: beside the script")
    output = parser.parse_args(argv).output

    original = load_portrait()
    portrait = cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR)
    made = {
        "without_mask.jpg": original,
        "with_mask.jpg": as_jpeg(with_mask(portrait, Mask(LIGHT_BLUE))),
        "group.jpg": as_jpeg(group_image(portrait)),
        "expected.json": as_json(expected_faces()),
    }
    for name, data in made.items():
        with atomic_write(output / name) as part:
            part.write_bytes(data)
    return cli.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
