"""Where a mask lies on a face: the head's pose from five landmarks, and the mask as a surface on the head.

The unit D is the distance from the middle of the eyes to the middle of the mouth. In the head's coordinates x runs
along the eyes (to the right of the image), y from the eyes to the mouth, z out of the face; the origin lies between
the eyes. Parallel projection takes them to the image: D is small beside the distance to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mask_detection.data.synthesis.kinds import CHIN, CORRECT, NOSE, TIP

# Eyes, nose tip, corners of the mouth, in the order of YuNet's landmarks: left in the image before right.
CANONICAL_LANDMARKS = np.array([(-0.47, 0, 0), (0.47, 0, 0), (0, 0.58, 0.5), (-0.38, 1, 0.1), (0.38, 1, 0.1)])

MIN_UNIT = 5.0  # pixels; of smaller faces the landmarks are guesses
MIN_EYE_COLUMN, MAX_EYE_COLUMN = 0.35, 2.0  # D; beyond, the face is seen in profile or from above
MAX_NOSE_COLUMN = 1.0  # D

# The middle line of the face as cloth spans it, from between the eyes to the throat, and how it falls off sideways.
PROFILE_Y = (0.0, 0.3, 0.58, 0.75, 1.0, 1.35, 1.6, 1.85, 2.3)
PROFILE_Z = (0.12, 0.25, 0.46, 0.36, 0.28, 0.24, 0.19, 0.06, -0.14)
SMOOTHING = (-0.2, -0.1, 0.0, 0.1, 0.2)  # D; cloth does not bend as sharply as that
SIDE_FALL, SIDE_POWER = 0.75, 2.2

EAR_X, EAR_Z = 1.04, -0.8  # where the loops end, on both sides
EAR_TOP, EAR_BOTTOM = 0.02, 0.6  # y of their upper and lower ends


@dataclass(frozen=True)
class Pose:
    """How a head is projected into the image.

    Attributes:
        origin: (2,) pixels, the middle of the eyes.
        axes: (3, 2) pixels, what one D along x, y, z is in the image.
    """

    origin: np.ndarray
    axes: np.ndarray

    @property
    def unit(self) -> float:
        """D in pixels."""
        return float(np.linalg.norm(self.axes[1]))

    @property
    def view(self) -> np.ndarray:
        """(3,) the direction towards the camera in the head's coordinates, of length 1."""
        towards = np.cross(self.axes[:, 0], self.axes[:, 1])
        return towards / np.linalg.norm(towards)

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw (to the right of the image), pitch (down) and roll (clockwise) in degrees, roughly."""
        nose_x, nose_y = np.linalg.solve(self.axes[:2].T, self.axes[2])  # the z axis in units of the others
        roll = np.arctan2(self.axes[0, 1], self.axes[0, 0])
        return float(np.degrees(np.arctan(nose_x))), float(np.degrees(np.arctan(nose_y))), float(np.degrees(roll))

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (…, 3) in D to pixels (…, 2)."""
        return self.origin + points @ self.axes

    def moved(self, offset: np.ndarray, scale: np.ndarray) -> Pose:
        """The pose in an image cut out at ``offset`` (2,) pixels and then scaled by (2,) factors."""
        return Pose((self.origin - offset) * scale, self.axes * scale)


def fit_pose(landmarks: np.ndarray) -> Pose | None:
    """The pose that explains five landmarks best, by least squares.

    Args:
        landmarks: (5, 2) pixels, in the order of ``CANONICAL_LANDMARKS``.

    Returns:
        None where the face is too small, or turned too far for a mask to be put on.
    """
    known = np.hstack([np.ones((5, 1)), CANONICAL_LANDMARKS])
    solution = np.linalg.lstsq(known, landmarks, rcond=None)[0]  # (4, 2)
    pose = Pose(solution[0], solution[1:])
    eyes, unit, nose = np.linalg.norm(pose.axes, axis=1)
    is_mirrored = np.cross(np.append(pose.axes[0], 0), np.append(pose.axes[1], 0))[2] <= 0
    if unit < MIN_UNIT or is_mirrored or nose > MAX_NOSE_COLUMN * unit:
        return None
    return pose if MIN_EYE_COLUMN * unit <= eyes <= MAX_EYE_COLUMN * unit else None


def surface_z(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far out of the face cloth lies at (x, y), in D."""
    middle = sum(np.interp(y + offset, PROFILE_Y, PROFILE_Z) for offset in SMOOTHING) / len(SMOOTHING)
    return middle - SIDE_FALL * np.abs(x) ** SIDE_POWER


# From where to where the first six attributes of `Shape` are drawn.
POSITIONS = {
    CORRECT: ((0.18, 0.42), (0.12, 0.36), (1.66, 1.90), (1.05, 1.35), (0.92, 1.03), (0.80, 0.95)),
    TIP: ((0.54, 0.66), (-0.05, 0.22), (1.70, 1.98), (1.10, 1.45), (0.90, 1.02), (0.78, 0.94)),
    NOSE: ((0.66, 0.92), (-0.15, 0.16), (1.72, 2.05), (1.15, 1.55), (0.88, 1.01), (0.76, 0.93)),
    CHIN: ((1.12, 1.50), (-0.45, -0.10), (1.82, 2.28), (1.30, 1.70), (0.80, 0.96), (0.68, 0.88)),
}
MIN_SIDE = 0.25  # D, of a mask's left and right edge


@dataclass(frozen=True)
class Shape:
    """A mask's outline on the face, in D.

    Attributes:
        top: y of the upper edge's middle.
        top_ends: how much lower than that its ends are.
        bottom: y of the lower edge's middle.
        bottom_ends: y of its ends.
        top_half_width, bottom_half_width: x of the ends.
        puff: how far the middle stands off the face.
        ridge: how much of that is a ridge along the middle, 0..1.
        squareness: power of the lower edge's curve; 2 is round, 4 is straight with bent ends.
        slant: how much lower the right end is than the left one.
        shift: x of the middle.
    """

    top: float
    top_ends: float
    bottom: float
    bottom_ends: float
    top_half_width: float
    bottom_half_width: float
    puff: float
    ridge: float
    squareness: float
    slant: float
    shift: float


def random_shape(kind: str, ridged: bool, rng: np.random.Generator) -> Shape:
    """Draw an outline.

    Args:
        kind: of ``KINDS``.
        ridged: whether the mask has a ridge along its middle, as FFP2 masks do.
        rng: decides.
    """
    top, top_ends, bottom, bottom_ends, top_half_width, bottom_half_width = (
        rng.uniform(*limits) for limits in POSITIONS[kind]
    )
    return Shape(
        top,
        top_ends,
        bottom,
        max(bottom_ends, top + top_ends + MIN_SIDE),
        top_half_width,
        bottom_half_width,
        puff=rng.uniform(0.1, 0.2) if ridged else rng.uniform(0.03, 0.1),
        ridge=rng.uniform(0.5, 0.8) if ridged else 0.0,
        squareness=rng.uniform(2.0, 2.8) if ridged else rng.uniform(2.4, 3.6),
        slant=rng.normal(0, 0.04),
        shift=rng.normal(0, 0.025),
    )


def mask_points(shape: Shape, rows: int, columns: int) -> np.ndarray:
    """A mask as a grid of points, (rows, columns, 3) in D: the upper edge first, each row from left to right."""
    across = np.linspace(-1, 1, columns)
    down = np.linspace(0, 1, rows)[:, None]
    from_middle = np.abs(across)
    top = shape.top + shape.top_ends * from_middle**1.5
    bottom = shape.bottom + (shape.bottom_ends - shape.bottom) * from_middle**shape.squareness
    y = top + (bottom - top) * down + 0.5 * shape.slant * across
    half_width = shape.top_half_width + (shape.bottom_half_width - shape.top_half_width) * down
    half_width = half_width - 0.03 * np.sin(np.pi * down)  # the loops pull the corners out
    x = half_width * across
    stands_off = shape.ridge * (1 - from_middle) + (1 - shape.ridge) * np.cos(0.5 * np.pi * across) ** 2
    z = surface_z(x, y) + 0.03 + shape.puff * stands_off * np.sin(np.pi * down) ** 0.6
    return np.stack([x + shape.shift, y, z], axis=-1)


def loop_lines(points: np.ndarray, pose: Pose) -> list[np.ndarray]:
    """The ear loops that can be seen: lines of (n, 3) points in D from the mask's corners to the ears."""
    lines = []
    for side, column in ((-1, 0), (1, -1)):
        if pose.view @ (0.9 * side, 0.0, 0.35) < 0.1:
            continue  # behind the head
        for row, ear_y in ((0, EAR_TOP), (-1, EAR_BOTTOM)):
            corner, end = points[row, column], np.array([side * EAR_X, ear_y, EAR_Z])
            t = np.linspace(0, 1, 9)[:, None]
            line = corner + t * (end - corner)
            line[:, 0] += side * 0.02 * np.sin(np.pi * t[:, 0])  # round the cheek
            lines.append(line)
    return lines
