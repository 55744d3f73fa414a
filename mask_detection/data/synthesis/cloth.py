"""What masks are made of: colour and relief of surgical, FFP2 and cloth masks on the mask's grid of points.

Grids are (rows, columns), the upper edge first; v runs from 0 (upper edge) to 1, u from -1 (left) to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

Colour = tuple[int, int, int]  # blue, green, red, in a photo of white light where faces have `light.MIDDLE_GREY`

WHITE: Colour = (243, 240, 235)
SURGICAL_COLOURS: dict[str, tuple[Colour, float]] = {  # and how often
    "light blue": ((230, 210, 168), 0.38),
    "blue": ((214, 172, 112), 0.08),
    "white": (WHITE, 0.22),
    "black": ((44, 40, 40), 0.16),
    "green": ((190, 212, 164), 0.08),
    "pink": ((218, 198, 236), 0.08),
}
FFP2_COLOURS: dict[str, tuple[Colour, float]] = {
    "white": (WHITE, 0.75),
    "black": ((46, 42, 42), 0.17),
    "grey": ((168, 166, 162), 0.08),
}
CLOTH_COLOURS: dict[str, tuple[Colour, float]] = {
    "black": ((40, 36, 36), 0.3),
    "navy": ((92, 60, 44), 0.12),
    "grey": ((138, 134, 132), 0.14),
    "white": ((232, 234, 234), 0.1),
    "red": ((52, 44, 158), 0.1),
    "beige": ((160, 184, 205), 0.08),
    "teal": ((140, 138, 70), 0.08),
    "pink": ((180, 150, 222), 0.08),
}
PHOTOGRAPHED = 0.5  # how often, where there are photographed masks
STYLES = {"surgical": 0.52, "ffp2": 0.2, "cloth": 0.28}
PATTERNS = {"plain": 0.58, "stripes": 0.1, "checks": 0.1, "dots": 0.08, "print": 0.14}

KNOWN_WRINKLES = 0.5  # a photographed mask has its own, to which fewer are added
ELASTIC: Colour = (222, 224, 226)
DARK = 100  # the largest channel of a dark colour


class Swatch(NamedTuple):
    """Cloth cut out of a photo: (h, w, 3) BGR uint8 as in white light, and the photo's name."""

    pixels: np.ndarray
    photo: str


@dataclass(frozen=True)
class Look:
    """What a mask looks like.

    Attributes:
        style: of ``STYLES``, or ``photographed``.
        colour_name: of the style's colours, or empty.
        colour, second_colour: BGR; the second one is the pattern's.
        pattern: of ``PATTERNS``.
        loop_colour: BGR.
        swatch: a photographed mask instead of a painted one.
    """

    style: str
    colour_name: str
    colour: Colour
    second_colour: Colour
    pattern: str
    loop_colour: Colour
    swatch: Swatch | None = None


def random_look(rng: np.random.Generator, swatches: Sequence[Swatch] = ()) -> Look:
    """Choose a mask, half of the time a photographed one if there are ``swatches``."""
    if len(swatches) and rng.random() < PHOTOGRAPHED:
        swatch = swatches[int(rng.integers(len(swatches)))]
        blue, green, red = np.median(swatch.pixels.reshape(-1, 3), axis=0).astype(int).tolist()
        colour = blue, green, red
        return Look("photographed", "", colour, colour, "", _loop_colour(colour, rng), swatch)
    style = _choose(STYLES, rng)
    colours = {"surgical": SURGICAL_COLOURS, "ffp2": FFP2_COLOURS, "cloth": CLOTH_COLOURS}[style]
    name = _choose({name: weight for name, (_, weight) in colours.items()}, rng)
    colour = _varied(colours[name][0], rng)
    pattern = _choose(PATTERNS, rng) if style == "cloth" else "plain"
    blue, green, red = rng.integers(30, 236, 3).tolist()
    return Look(style, name, colour, (blue, green, red), pattern, _loop_colour(colour, rng))


def _loop_colour(colour: Colour, rng: np.random.Generator) -> Colour:
    """Dark masks have dark loops, the others mostly white ones."""
    same = max(colour) < DARK or rng.random() < 0.15
    return colour if same else _varied(ELASTIC, rng)


def _choose(weights: dict[str, float], rng: np.random.Generator) -> str:
    chances = np.fromiter(weights.values(), float)
    return list(weights)[rng.choice(len(chances), p=chances / chances.sum())]


def _varied(colour: Colour, rng: np.random.Generator) -> Colour:
    """Another dye lot of it."""
    spread = 0.01 if min(colour) > 220 else 0.06
    blue, green, red = np.clip(np.array(colour) * (1 + rng.normal(0, spread)) * (1 + rng.normal(0, spread, 3)), 8, 250)
    return round(blue), round(green), round(red)


def paint(
    look: Look, rows: int, columns: int, wrinkling: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Make the cloth of a mask.

    Args:
        look: what it is like.
        rows: of the grid.
        columns: of the grid.
        wrinkling: how crumpled it is; 1 as worn on a face, more under a chin.
        rng: decides on wrinkles and grain.

    Returns:
        (rows, columns, 3) float32 BGR, and (rows, columns) float32 height of the relief in D.
    """
    u, v = _grid(rows, columns)
    if look.swatch is None:
        colour = _pattern(look, u, v, rng) * (1 + _grain(rows, columns, rng)[..., None])
        height, ink = {"surgical": _surgical, "ffp2": _ffp2, "cloth": _cloth}[look.style](u, v, rng)
    else:
        colour = cv2.resize(look.swatch.pixels, (columns, rows), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        height, ink = _hem(u, v, rng)
        wrinkling *= KNOWN_WRINKLES
    height = height + _wrinkles(rows, columns, wrinkling, rng)
    ink *= 1 - rng.uniform(0.05, 0.2) * np.clip((v - 0.82) / 0.18, 0, 1)  # where it turns under the chin
    return colour * ink[..., None], height


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    u = np.linspace(-1, 1, columns, dtype=np.float32)
    v = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    return np.broadcast_to(u, (rows, columns)), np.broadcast_to(v, (rows, columns))


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((distance / width) ** 2))


def _grain(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Threads and fibres, finer and coarser: (rows, columns) about 0."""
    fine = rng.standard_normal((rows, columns), np.float32)
    coarse = cv2.resize(rng.standard_normal((12, 16), np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return rng.uniform(0.01, 0.03) * fine + rng.uniform(0.015, 0.045) * coarse


def _wrinkles(rows: int, columns: int, wrinkling: float, rng: np.random.Generator) -> np.ndarray:
    """Creases that run from the corners and sides towards the middle: height in D."""
    u, v = _grid(rows // 2, columns // 2)  # they are smooth enough
    height = np.zeros_like(u)
    for _ in range(rng.poisson(5 + 4 * wrinkling)):
        side = rng.choice((-1, 1))
        start = np.array(
            [side * rng.uniform(0.7, 1.05), rng.choice((rng.normal(0.08, 0.1), rng.normal(0.9, 0.12), rng.random()))]
        )
        end = np.array([side * rng.uniform(-0.4, 0.6), np.clip(rng.normal(0.5, 0.3), 0, 1)])
        along = end - start
        t = ((u - start[0]) * along[0] + (v - start[1]) * along[1]) / (along @ along)
        away = ((u - start[0]) * along[1] - (v - start[1]) * along[0]) / np.hypot(*along)
        away = away + 0.05 * np.sin(4 * t + rng.uniform(0, 6))
        fade = np.clip(1 - np.abs(2 * t - 0.8), 0, 1)
        depth = wrinkling * rng.normal(0, 0.016)
        height += depth * fade * _bump(away, rng.uniform(0.03, 0.08))
    soft = cv2.resize(rng.standard_normal((5, 8), np.float32), u.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.resize(height + 0.012 * wrinkling * soft, (columns, rows), interpolation=cv2.INTER_LINEAR)


def _surgical(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pleats that open towards the middle, hems above and below, welded sides: height in D, and darkening."""
    height, ink = np.zeros_like(u), np.ones_like(u)
    opening, crease = rng.uniform(0.012, 0.03), rng.uniform(0.08, 0.2)
    sag = rng.normal(0, 0.03)
    for pleat in np.array([0.3, 0.5, 0.7]) + rng.normal(0, 0.025, 3):
        below = v - pleat - sag * (1 - u**2)
        height += opening * np.clip(1 - np.abs(below + 0.09) / 0.09, 0, 1) * np.where(below < 0, 1, 0)
        ink -= crease * _bump(np.maximum(below, 0), 0.025) * (below > -0.004)
    for hem in (rng.uniform(0.05, 0.09), rng.uniform(0.92, 0.96)):
        ink -= rng.uniform(0.03, 0.1) * _bump(v - hem, 0.012)
    height += 0.012 * _bump(v - 0.04, 0.03) * (np.abs(u) < 0.5)  # the wire over the nose
    seam = _bump(np.abs(u) - rng.uniform(0.93, 0.97), 0.01)
    ink -= 0.12 * seam * (np.sin(v * 150) > -0.2)
    return height, ink


def _ffp2(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A crease down the middle or two across, and welds along the edges: height in D, and darkening."""
    ink = np.ones_like(u)
    if rng.random() < 0.6:
        height = 0.02 * _bump(u, 0.04)
        ink -= 0.08 * _bump(u - 0.015, 0.012)
    else:
        height = np.zeros_like(u)
        for crease in (rng.uniform(0.28, 0.36), rng.uniform(0.64, 0.72)):
            bend = v - crease - 0.05 * (1 - u**2) * np.sign(crease - 0.5)
            height += 0.02 * _bump(bend, 0.03)
            ink -= 0.1 * _bump(bend - 0.02, 0.012)
    edge = _from_edge(u, v)
    for distance in (0.04, 0.075):
        dashes = np.sin(90 * u + 60 * v) > -0.3
        ink -= rng.uniform(0.05, 0.12) * _bump(edge - distance, 0.009) * dashes
    height += 0.015 * _bump(v - 0.07, 0.03) * (np.abs(u) < 0.4)
    return height, ink


def _cloth(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A stitched hem all around, often a seam down the middle: height in D, and darkening."""
    height, ink = _hem(u, v, rng)
    if rng.random() < 0.45:
        ink -= 0.14 * _bump(u, 0.012)
        height += 0.015 * _bump(u, 0.06)
    return height, ink


def _hem(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A thicker edge with a stitched line: height in D, and darkening."""
    edge = _from_edge(u, v)
    return 0.01 * _bump(edge, 0.05), 1 - rng.uniform(0.05, 0.16) * _bump(edge - 0.06, 0.01)


def _from_edge(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance from the nearest edge, in heights of the mask."""
    return np.minimum(np.minimum(v, 1 - v), 0.8 * (1 - np.abs(u)))


def _pattern(look: Look, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The cloth's colours, flat: (rows, columns, 3) float32."""
    fraction = _pattern_fraction(look.pattern, u * np.float32(1.15), v, rng)
    first, second = np.array(look.colour, np.float32), np.array(look.second_colour, np.float32)
    return first + (second - first) * fraction[..., None].astype(np.float32)


def _pattern_fraction(pattern: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much of the second colour there is, 0..1."""
    if pattern == "plain":
        return np.zeros_like(u)
    turn, period = rng.uniform(0, np.pi), rng.uniform(0.12, 0.4)
    a = (u * np.cos(turn) + v * np.sin(turn)) * 2 * np.pi / period
    b = (v * np.cos(turn) - u * np.sin(turn)) * 2 * np.pi / period
    if pattern == "stripes":
        return _step(np.sin(a) - rng.uniform(-0.4, 0.6))
    if pattern == "checks":
        return 0.5 * _step(np.sin(a) - 0.2) + 0.5 * _step(np.sin(b) - 0.2)
    if pattern == "dots":
        return _step(np.cos(a) + np.cos(b) - rng.uniform(0.7, 1.3))
    size = rng.integers(8, 22)
    blots = cv2.resize(rng.standard_normal((size, 2 * size), np.float32), u.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return _step(blots - rng.uniform(-0.2, 0.9))


def _step(height: np.ndarray) -> np.ndarray:
    """0 below and 1 above, with a soft edge, as a jagged one would show."""
    return np.clip(height * 4 + 0.5, 0, 1).astype(np.float32)
