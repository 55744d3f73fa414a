"""Put one mask on one face of a photo: drawn larger than needed, lit and blurred as the photo is, laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mask_detection.data.synthesis import light
from mask_detection.data.synthesis.cloth import Look, Swatch, paint, random_look
from mask_detection.data.synthesis.geometry import Pose, Shape, loop_lines, mask_points, random_shape
from mask_detection.data.synthesis.kinds import CHIN

OVERSAMPLING = 2.0  # pixels drawn for one of the photo, along a side
MIN_DRAWN_UNIT, MAX_DRAWN_UNIT = 40.0, 110.0  # D as drawn, in pixels
COARSE_GRID = 21, 33  # rows and columns that show a mask's outline
MIN_ROWS, MIN_COLUMNS = 32, 48  # of the grid that is drawn
GRID_STEP = 0.7  # between the points of that grid, in drawn pixels
MARGIN = 0.3  # D, around what is drawn

AMBIENT = 0.55  # of the light; the rest comes from one side
LIGHT_SLANT = 0.35, 0.45, 0.2  # of that: spread sideways, mean and spread from above
SHADOW_SPREAD, SHADOW_DEPTH = 0.05, 0.4  # D; of the skin's light
LOOP_WIDTH = 0.015, 0.04  # D
LOOP_OPACITY = 0.9
HIDDEN_LOOPS = 0.25  # how often hair hides them
WRINKLING = {CHIN: 2.2}  # as against 1


@dataclass(frozen=True)
class Worn:
    """A mask on a face.

    Attributes:
        image: the photo with it, (H, W, 3) BGR uint8.
        points: (M, 2) pixels where its cloth is, perhaps outside the photo.
        shape, look: what was drawn.
    """

    image: np.ndarray
    points: np.ndarray
    shape: Shape
    look: Look


def put_on(image: np.ndarray, pose: Pose, kind: str, rng: np.random.Generator, swatches: Sequence[Swatch] = ()) -> Worn:
    """Draw a mask on a face.

    Args:
        image: (H, W, 3) BGR uint8.
        pose: of the face in it.
        kind: how the mask is worn, of ``KINDS``.
        rng: decides on everything else.
        swatches: photographed masks to choose from, too.
    """
    look = random_look(rng, swatches)
    return draw_on(image, pose, random_shape(kind, look.style == "ffp2", rng), look, WRINKLING.get(kind, 1.0), rng)


def draw_on(
    image: np.ndarray, pose: Pose, shape: Shape, look: Look, wrinkling: float, rng: np.random.Generator
) -> Worn:
    """Draw a certain mask on a face; see :func:`put_on` and :func:`mask_detection.data.synthesis.cloth.paint`."""
    coarse = mask_points(shape, *COARSE_GRID)
    outline = pose.project(coarse).reshape(-1, 2)
    loops = [pose.project(line) for line in loop_lines(coarse, pose)]
    window = _window(np.concatenate([outline, *loops]), MARGIN * pose.unit, image.shape[:2])
    local = pose.moved(np.array([window[1].start, window[0].start]), np.ones(2))
    layer = _draw(image[window].shape[:2], local, shape, look, wrinkling, rng)
    worn = image.copy()
    worn[window] = _lay_over(image[window], layer, local, look, rng)
    return Worn(worn, outline, shape, look)


def _window(points: np.ndarray, margin: float, size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of an image (height, width) around some points; at least one pixel."""
    x1, y1 = np.floor(points.min(axis=0) - margin).astype(int)
    x2, y2 = np.ceil(points.max(axis=0) + margin).astype(int)
    height, width = size
    left, upper = np.clip(x1, 0, width - 1), np.clip(y1, 0, height - 1)
    return slice(upper, max(upper + 1, min(y2, height))), slice(left, max(left + 1, min(x2, width)))


@dataclass(frozen=True)
class _Layer:
    """A drawn mask in even light: (h, w, 3) float32 BGR times opacity, and (h, w) opacities of cloth and loops."""

    colour: np.ndarray
    cloth: np.ndarray
    loops: np.ndarray


def _draw(
    size: tuple[int, int], pose: Pose, shape: Shape, look: Look, wrinkling: float, rng: np.random.Generator
) -> _Layer:
    """Draw the mask for a patch of ``size`` (height, width) pixels."""
    oversampling = np.clip(OVERSAMPLING * pose.unit, MIN_DRAWN_UNIT, MAX_DRAWN_UNIT) / pose.unit
    height, width = (max(1, round(side * oversampling)) for side in size)
    drawn_pose = pose.moved(np.zeros(2), np.array([width / size[1], height / size[0]]))
    rows, columns = _grid_size(drawn_pose.project(mask_points(shape, *COARSE_GRID)))
    colour, relief = paint(look, rows, columns, wrinkling, rng)
    points = mask_points(shape, rows, columns)
    lines = loop_lines(points, drawn_pose)
    points[..., 2] += relief
    canvas = _splat(points, colour * _shade(points, rng)[..., None], drawn_pose, (height, width))
    loops = _loops(lines, drawn_pose, (height, width), rng)
    small_canvas, small_loops = (cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA) for part in (canvas, loops))
    return _Layer(small_canvas[..., :3], small_canvas[..., 3], small_loops.astype(np.float32) / 255)


def _grid_size(coarse: np.ndarray) -> tuple[int, int]:
    """Rows and columns that leave few holes, from a coarse grid of (r, c, 2) drawn pixels."""
    down = np.linalg.norm(np.diff(coarse, axis=0), axis=2).sum(axis=0).max()
    across = np.linalg.norm(np.diff(coarse, axis=1), axis=2).sum(axis=1).max()
    return max(MIN_ROWS, int(down / GRID_STEP)), max(MIN_COLUMNS, int(across / GRID_STEP))


def _shade(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lambert shading of the cloth's surface, (rows, columns) float32, about 1 where it faces the camera."""
    x, y, z = np.moveaxis(points, -1, 0)
    slope_x = np.gradient(z, axis=1) / np.maximum(np.gradient(x, axis=1), 1e-6)
    slope_y = np.gradient(z, axis=0) / np.maximum(np.gradient(y, axis=0), 1e-6)
    sideways, mean_height, height = LIGHT_SLANT
    light_x, light_y = rng.normal(0, sideways), -rng.normal(mean_height, height)
    facing = (1 - slope_x * light_x - slope_y * light_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return (AMBIENT + (1 - AMBIENT) * np.clip(facing, 0, 1.3)).astype(np.float32)


def _splat(points: np.ndarray, colour: np.ndarray, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """Paint points as dots, the farthest first: (height, width, 4) float32 BGR and whether there is cloth, 0 or 1."""
    height, width = size
    x, y = np.floor(np.moveaxis(pose.project(points), -1, 0)).astype(np.int32)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    depth = (points @ pose.view)[inside]
    order = np.argsort((depth * 4096).astype(np.int16), kind="stable")  # 16-bit numbers are sorted fastest
    dots = np.concatenate([colour, np.ones((*colour.shape[:2], 1), np.float32)], axis=2)
    canvas = np.zeros((height * width, 4), np.float32)
    canvas[(y * width + x)[inside][order]] = dots[inside][order]
    return _without_holes(canvas.reshape(height, width, 4))


def _without_holes(canvas: np.ndarray) -> np.ndarray:
    """Fill pixels between the dots with the mean of those around them."""
    hit = canvas[..., 3]
    holes = cv2.morphologyEx(hit, cv2.MORPH_CLOSE, np.ones((3, 3))) > hit
    around = cv2.blur(canvas, (3, 3))[holes]
    canvas[holes] = around / around[:, 3:]
    return canvas


def _loops(lines: Sequence[np.ndarray], pose: Pose, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Opacity of the ear loops, (height, width) uint8."""
    opacity = np.zeros(size, np.uint8)
    thickness = max(1, round(pose.unit * rng.uniform(*LOOP_WIDTH)))
    if rng.random() >= HIDDEN_LOOPS:
        paths = [np.round(pose.project(line) * 16).astype(np.int32) for line in lines]
        cv2.polylines(opacity, paths, False, 255, thickness, cv2.LINE_AA, shift=4)
    return opacity


def _lay_over(patch: np.ndarray, layer: _Layer, pose: Pose, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Light the layer as the patch is lit, blur it as the patch is blurred, and lay it over the patch."""
    grey = cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY)
    lit = light.light_on(grey, layer.cloth, pose)[..., None]
    loops = LOOP_OPACITY * layer.loops * (1 - layer.cloth)
    loop_colour = np.array(look.loop_colour, np.float32) * loops[..., None]
    colour = light.tinted(layer.colour + loop_colour, light.face_samples(patch, pose)) * lit
    opacity = np.minimum(layer.cloth + loops, 1)
    blur = light.photo_blur(grey) * rng.uniform(0.7, 1.2)
    colour, opacity = light.blurred(colour, blur), light.blurred(opacity, blur)
    colour += light.photo_noise(patch, rng) * opacity[..., None]
    skin = patch * (1 - _shadow(np.maximum(layer.cloth, 0.6 * layer.loops), pose, rng))[..., None]
    mixed = skin * (1 - opacity[..., None]) + light.compressed(colour, opacity)
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def _shadow(cloth: np.ndarray, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """By what fraction the skin beside the cloth is darker."""
    spread = SHADOW_SPREAD * pose.unit
    moved = np.array([[1, 0, rng.normal(0, 0.3) * spread], [0, 1, 0.7 * spread]])
    near = cv2.warpAffine(light.blurred(cloth, max(0.5, spread)), moved, cloth.shape[::-1])
    return rng.uniform(0.5, 1.0) * SHADOW_DEPTH * near
