"""Cut one photo up into training crops: its faces, the same with boxes drawn otherwise, and places without a face."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mask_detection.data.cleaning import write_jpeg
from mask_detection.data.jobs import Excluded, JobResult, Kind, copies, faulty
from mask_detection.data.photos import SourcePhoto, in_excluded_fold
from mask_detection.io.images import read_image
from mask_detection.models.preprocessing import crop_faces, crop_squares
from mask_detection.utils.boxes import box_areas, box_iou, clip_boxes, intersection_areas
from mask_detection.utils.errors import MaskDetectionError

# Detectors and annotators agree on where a face is, but one box ends at the brows and another above the hair, one at
# the chin and another at the collar. The ranges cover that, and lean towards larger boxes, which lose nothing.
JITTER_SHIFT = 0.08  # at most, in parts of the box's width and height
JITTER_SCALE = (0.85, 1.25)  # of width and height, each by itself

MAX_FACE_IOU = 0.05  # of a background's crop with a face; above, it could pass for a bad crop of the face
MAX_FACE_FRACTION = 0.1  # of a background's crop that a face may cover: an edge of hair, but no mouth
MAX_SQUARE_FRACTION = 0.5  # of the photo's smaller side: the largest random background
CANDIDATES = 100  # random squares to choose from; in a crowd most of them meet a face


def no_boxes() -> np.ndarray:
    """(0, 4) int."""
    return np.empty((0, 4), int)


@dataclass(frozen=True)
class CropOptions:
    """How faces are cut out.

    Attributes:
        size: the smaller side of larger crops becomes this many pixels; smaller crops stay as they are.
        margin: added on each side of a box, in parts of its longer side.
        min_face_pixels: faces whose box has a smaller side below this are excluded.
        excluded_folds: of ``FOLDS``, by the photo's name.
        jitter: more crops of each face, with the box moved and scaled at random.
        backgrounds: crops of each photo that show no face.
        background_folder: where they go; needed only if there are to be any.
    """

    size: int
    margin: float
    min_face_pixels: int
    excluded_folds: Collection[str] = ()
    jitter: int = 0
    backgrounds: int = 0
    background_folder: Path | None = None


@dataclass(frozen=True)
class Face:
    """A face to cut out.

    Attributes:
        box: (4,) int xyxy in pixels, x2 and y2 exclusive, inside the photo.
        crop: its file below the destination, such as ``with_mask/group_2.jpg``.
        title: how the list of what was excluded calls it.
        other_boxes: (K, 4) int, what a face detector made of the same face.
    """

    box: np.ndarray
    crop: Path
    title: str
    other_boxes: np.ndarray = field(default_factory=no_boxes)


@dataclass(frozen=True)
class FoundFaces:
    """What is known of a photo's faces.

    Attributes:
        faces: those to cut out.
        occupied: (M, 4) int, where no background may be taken: whatever may be a face.
        suspects: (K, 4) int, what a face detector nearly took for a face, the most confident first: the best
            backgrounds.
        excluded: why there are no faces.
    """

    faces: Sequence[Face]
    occupied: np.ndarray
    suspects: np.ndarray = field(default_factory=no_boxes)
    excluded: Sequence[Excluded] = ()


FindFaces = Callable[[SourcePhoto, np.ndarray], FoundFaces]  # may raise MaskDetectionError


def cut_photo(photo: SourcePhoto, find_faces: FindFaces, destination: Path, options: CropOptions) -> JobResult:
    """Write the crops of one photo; the same photo gives the same crops every time.

    Args:
        photo: is decoded, and given to ``find_faces`` as (H, W, 3) BGR uint8.
        find_faces: knows where its faces are.
        destination: the folder of the class folders.
        options: which faces, how much around them, how large, and what more.
    """
    file = photo.files[0]
    if held_out := in_excluded_fold(photo.files, options.excluded_folds):
        return JobResult(excluded=held_out)
    try:
        frame = read_image(file)
        found = find_faces(photo, frame)
    except MaskDetectionError as error:
        return JobResult(excluded=[faulty(file, error), *copies(photo.files)])
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(os.fsencode(file.name)).digest()[:8], "big"))
    written: list[Path] = []
    excluded = [*found.excluded, *copies(photo.files)]
    for face in found.faces:
        width, height = face.box[2:] - face.box[:2]  # without the margin
        if min(width, height) < options.min_face_pixels:
            excluded.append(Excluded(file, Kind.SMALL, f"{face.title}, has only {width} x {height} pixels"))
        else:
            written += _cut_face(frame, face, destination, options, rng)
    return JobResult([*written, *_cut_backgrounds(frame, found, photo.stem, options, rng)], excluded)


def _cut_face(
    frame: np.ndarray, face: Face, destination: Path, options: CropOptions, rng: np.random.Generator
) -> list[Path]:
    """Write ``group_2.jpg``, ``group_2_d1.jpg`` as the detector boxed it, ``group_2_j1.jpg`` with the box jittered."""
    exact = destination / face.crop
    jittered = jitter_box(face.box, options.jitter, frame.shape[:2], rng)
    return [
        *_write_crops(frame, face.box[None], [exact], options),
        *_write_crops(frame, face.other_boxes, _numbered(exact, "d", face.other_boxes), options),
        *_write_crops(frame, jittered, _numbered(exact, "j", jittered), options),
    ]


def _cut_backgrounds(
    frame: np.ndarray, found: FoundFaces, stem: str, options: CropOptions, rng: np.random.Generator
) -> list[Path]:
    """Write ``group_b1.jpg`` and so on."""
    if options.background_folder is None:
        return []
    boxes = background_boxes(
        found.suspects,
        found.occupied,
        options.backgrounds,
        frame.shape[:2],
        options.min_face_pixels,
        options.margin,
        rng,
    )
    targets = _numbered(options.background_folder / f"{stem}.jpg", "b", boxes)
    return _write_crops(frame, boxes, targets, options)


def _numbered(target: Path, letter: str, boxes: np.ndarray) -> list[Path]:
    return [target.with_name(f"{target.stem}_{letter}{number}.jpg") for number in range(1, len(boxes) + 1)]


def _write_crops(frame: np.ndarray, boxes: np.ndarray, targets: list[Path], options: CropOptions) -> list[Path]:
    for crop, target in zip(crop_faces(frame, boxes, options.margin), targets, strict=True):
        write_jpeg(target, crop, options.size)
    return targets


def jitter_box(box: np.ndarray, count: int, frame_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Move and scale a face's box at random.

    Args:
        box: (4,) xyxy in pixels.
        count: how many boxes to make; fewer come back where a box of a pixel or two shrinks to nothing.
        frame_size: height and width of the photo in pixels.
        rng: where the chance comes from.

    Returns:
        (count, 4) int xyxy, x2 and y2 exclusive, inside the photo.
    """
    side = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + side * rng.uniform(-JITTER_SHIFT, JITTER_SHIFT, (count, 2))
    half = side * rng.uniform(*JITTER_SCALE, (count, 2)) / 2
    boxes = clip_boxes(np.hstack([centre - half, centre + half]).round().astype(int), frame_size)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def background_boxes(
    suspects: np.ndarray,
    faces: np.ndarray,
    count: int,
    frame_size: tuple[int, int],
    min_side: int,
    margin: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Choose places of a photo where no face is: the suspects first, then random squares.

    Args:
        suspects: (K, 4) xyxy in pixels, what a detector nearly took for a face, the most confident first.
        faces: (M, 4) xyxy, what may be a face.
        count: how many boxes to choose; fewer come back where faces leave no room.
        frame_size: height and width of the photo in pixels.
        min_side: smaller boxes are not chosen, in pixels.
        margin: what the crops will have around the boxes; the faces are to be outside of it too.
        rng: where the chance comes from.

    Returns:
        (count, 4) int xyxy, x2 and y2 exclusive, inside the photo.
    """
    suspects = suspects[(suspects[:, 2:] - suspects[:, :2]).min(axis=1) >= min_side]
    candidates = np.concatenate([suspects, _random_squares(frame_size, min_side, rng)]).astype(int)
    return candidates[_are_clear(crop_squares(candidates, frame_size, margin), faces)][:count]


def _random_squares(frame_size: tuple[int, int], min_side: int, rng: np.random.Generator) -> np.ndarray:
    """Squares anywhere in a photo, their sides log-uniform as those of faces far and near: (M, 4) int xyxy."""
    height, width = frame_size
    max_side = int(min(height, width) * MAX_SQUARE_FRACTION)
    if max_side < min_side:
        return no_boxes()
    sides = np.exp(rng.uniform(np.log(min_side), np.log(max_side), (CANDIDATES, 1))).round()
    corners = rng.integers(0, [width, height] - sides, endpoint=True)
    return np.hstack([corners, corners + sides]).astype(int)


def _are_clear(boxes: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) hardly touch any face (M, 4): (N,) bool."""
    shared, areas = intersection_areas(boxes, faces), box_areas(boxes)[:, None]  # (N, M), (N, 1)
    is_clear = (box_iou(boxes, faces) < MAX_FACE_IOU) & (shared < MAX_FACE_FRACTION * areas)
    return np.logical_and.reduce(is_clear, axis=1)
