"""Make the example images, and the true boxes of their faces, from one public-domain portrait.

    python examples/make_examples.py                        # beside this script
    python examples/make_examples.py --output /tmp/examples

The portrait is the US Navy's photo of Grace Hopper that matplotlib ships as sample data. The masks are drawn:
a pleated cloth, lit as the face below it is lit, tucked under the glasses, its loops going to the ears.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs from a checkout, nothing installed
from mask_detection.commands import cli
from mask_detection.utils.files import atomic_write, read_whole

JPEG_QUALITY = 90
SEED = 42

Line = Sequence[tuple[int, int]]  # corners, x then y, in pixels
Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, x2 and y2 exclusive
Colour = tuple[int, int, int]  # blue, green, red

# Where things are in the portrait, which is 512 pixels wide and 600 high.
FACE_BOX = (181, 124, 348, 331)  # hair line to chin, and the cheeks at eye level
MASK_TOP = [
    (189, 243), (203, 235), (222, 229), (240, 223), (252, 211), (261, 205), (272, 205), (281, 211),
    (291, 221), (306, 226), (323, 230), (338, 240),
]  # fmt: skip
MASK_BOTTOM = [
    (335, 294), (327, 312), (313, 327), (294, 336), (270, 340), (246, 337), (224, 329), (209, 315),
    (197, 298),
]  # fmt: skip
EAR_LOOPS = [
    [(191, 246), (184, 229), (176, 211), (169, 197), (166, 187)],
    [(198, 298), (192, 286), (187, 275), (183, 268)],
    [(335, 243), (342, 228), (350, 211), (357, 197), (360, 187)],
    [(334, 295), (339, 285), (342, 276), (345, 269)],
]
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


@dataclass(frozen=True)
class Sitter:
    """One person in the group: the portrait's top left corner there (pixels), and what is changed."""

    x: int
    y: int
    scale: float
    brightness: float
    mirrored: bool
    mask: Colour | None  # None: no mask


LIGHT_BLUE = (208, 184, 146)
CHARCOAL = (66, 58, 54)
TEAL = (158, 166, 100)
ELASTIC_WHITE = (205, 210, 212)

GROUP_SIZE = (1200, 700)  # width, height
GROUP = [  # those behind come first
    Sitter(189, 18, scale=0.84, brightness=0.95, mirrored=True, mask=LIGHT_BLUE),
    Sitter(612, 34, scale=0.70, brightness=1.08, mirrored=True, mask=None),
    Sitter(-25, 136, scale=0.96, brightness=1.04, mirrored=False, mask=None),
    Sitter(728, 150, scale=0.92, brightness=0.92, mirrored=False, mask=CHARCOAL),
    Sitter(336, 172, scale=1.0, brightness=1.0, mirrored=False, mask=TEAL),
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


def as_image(image: np.ndarray) -> np.ndarray:
    """Float to uint8, clipped."""
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def light_on(portrait: np.ndarray, cloth: np.ndarray) -> np.ndarray:
    """How brightly the face is lit where the cloth's opacity is above 0: (H, W) float, blurred."""
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    return blurred(grey * cloth, 14) / (blurred(cloth, 14) + 1e-3)


def form_shade(shape: tuple[int, int]) -> np.ndarray:
    """Lambert shading of a dome with the nose as a ridge, lit from the front and above: (H, W) float."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    dome = 62 * np.sqrt(np.clip(1 - ((x - 265) / 90) ** 2 - ((y - 268) / 110) ** 2, 0.01, 1))
    nose = 20 * np.exp(-(((x - 266) / 15) ** 2) - ((y - 243) / 30) ** 2)
    slope_y, slope_x = np.gradient(blurred(dome + nose, 3))
    facing = (1 - 0.1 * slope_x + 0.4 * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return 0.35 + 0.65 * facing


def fold_shade(top: np.ndarray, bottom: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Shading of three pleats, dark below and light above each, and of two hems: (H, W) float about 1."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    smooth_top = blurred(top[:, 1:], 6).ravel()  # pleats bend less than the edge
    upper = np.interp(x[0], top[:, 0], smooth_top)
    lower = np.interp(x[0], bottom[::-1, 0], bottom[::-1, 1])
    down = (y - upper) / (lower - upper)  # 0 at the top edge, 1 at the bottom edge
    shade = np.ones(shape)
    for pleat in (0.31, 0.51, 0.71):
        below = down - pleat
        shade -= 0.20 * np.exp(-np.abs(below) / 0.04) * np.clip(below / 0.016, 0, 1)
        shade += 0.06 * np.exp(-np.abs(below) / 0.06) * np.clip(-below / 0.016, 0, 1)
    for hem in (0.08, 0.93):
        shade -= 0.13 * np.exp(-(((down - hem) / 0.012) ** 2))
    return shade


def texture(shape: tuple[int, int]) -> np.ndarray:
    """Soft wrinkles and fine grain: (H, W) float about 1."""
    noise = np.random.default_rng(SEED).standard_normal((2, *shape))
    wrinkles = cv2.GaussianBlur(noise[0], (0, 0), sigmaX=14, sigmaY=4)
    grain = blurred(noise[1], 0.6)
    return 1 + 0.025 * wrinkles / wrinkles.std() + 0.012 * grain / grain.std()


def with_mask(portrait: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw a surgical mask of that colour on the portrait; both images (600, 512, 3) BGR uint8."""
    shape = portrait.shape[:2]
    top, bottom = rounded(MASK_TOP), rounded(MASK_BOTTOM)
    cloth = area(np.vstack([top, bottom]), shape)
    loops = strokes(EAR_LOOPS, shape, thickness=2)

    shade = form_shade(shape) * fold_shade(top, bottom, shape) * texture(shape)
    shade *= light_on(portrait, cloth) ** 0.6
    shade /= np.average(shade, weights=cloth)
    near = blurred(np.maximum(cloth, loops), 4)
    shadow = np.maximum(0.35 * near, 0.5 * np.roll(near, 5, axis=0)) * (1 - cloth)

    image = blended(portrait, (0, 0, 0), shadow)
    image = blended(image, ELASTIC_WHITE, 0.9 * loops)
    image = blended(image, np.asarray(colour) * shade[..., np.newaxis], cloth)
    return as_image(blended(image, portrait, strokes(GLASSES, shape, thickness=3)))


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
    image = backdrop()
    for sitter in GROUP:
        image = with_mask(portrait, sitter.mask) if sitter.mask else portrait
        cutout = np.dstack([image * sitter.brightness, person])[rows]
        cutout = cutout[:, ::-1] if sitter.mirrored else cutout
        place = np.asarray([[sitter.scale, 0, sitter.x], [0, sitter.scale, sitter.y]])
        placed = cv2.warpAffine(cutout, place, GROUP_SIZE)
        opacity = placed[..., 3]
        image = blended(image, (0, 0, 0), 0.3 * blurred(opacity, 10))
        image = blended(image, placed[..., :3], opacity)
    return as_image(image)


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
    return "with_mask" if sitter.mask else "without_mask"


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
        "with_mask.jpg": as_jpeg(with_mask(portrait, LIGHT_BLUE)),
        "group.jpg": as_jpeg(group_image(portrait)),
        "expected.json": as_json(expected_faces()),
    }
    for name, data in made.items():
        with atomic_write(output / name) as part:
            part.write_bytes(data)
    return cli.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
