"""Cut one photo up into training crops: its faces, the same with boxes drawn otherwise, and places without a face."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mask_detection.data import cleaning
from mask_detection.data.box_sampling import background_boxes, jitter_box, no_boxes
from mask_detection.data.cleaning import Kind, LeftOut, Outcome
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.io.images import read_image
from mask_detection.models.preprocessing import crop_faces
from mask_detection.utils.errors import MaskDetectionError


@dataclass(frozen=True)
class CropOptions:
    """How faces are cut out.

    Attributes:
        size: the smaller side of larger crops becomes this many pixels; smaller crops stay as they are.
        margin: added on each side of a box, in parts of its longer side.
        min_face_pixels: faces whose box has a smaller side below this are left out.
        left_out_folds: of ``FOLDS``, by the photo's name.
        jitter: more crops of each face, with the box moved and scaled at random.
        backgrounds: crops of each photo that show no face.
        background_folder: where they go; needed only if there are to be any.
    """

    size: int
    margin: float
    min_face_pixels: int
    left_out_folds: Collection[str] = ()
    jitter: int = 0
    backgrounds: int = 0
    background_folder: Path | None = None


@dataclass(frozen=True)
class Photo:
    """A photo to cut up: its file and byte-for-byte copies, and a name of its own among all photos."""

    files: Sequence[Path]
    stem: str


@dataclass(frozen=True)
class Face:
    """A face to cut out.

    Attributes:
        box: (4,) int xyxy in pixels, x2 and y2 exclusive, inside the photo.
        crop: its file below the destination, such as ``with_mask/group_2.jpg``.
        title: how the list of what was left out calls it.
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
        suspects: (K, 4) int, what a face detector nearly took for a face; the best backgrounds, the surest first.
        left_out: why there are no faces.
    """

    faces: Sequence[Face]
    occupied: np.ndarray
    suspects: np.ndarray = field(default_factory=no_boxes)
    left_out: Sequence[LeftOut] = ()


FindFaces = Callable[[Photo, np.ndarray], FoundFaces]  # may raise MaskDetectionError


def cut_photo(photo: Photo, find_faces: FindFaces, destination: Path, options: CropOptions) -> Outcome:
    """Write the crops of one photo; the same photo gives the same crops every time.

    Args:
        photo: is decoded, and given to ``find_faces`` as (H, W, 3) BGR uint8.
        find_faces: knows where its faces are.
        destination: the folder of the class folders.
        options: which faces, how much around them, how large, and what more.
    """
    file = photo.files[0]
    # A copy under another name is the same photo: if one of them is to stay unseen, so are all.
    if held_out := {FOLDS[fold_of(path.name)] for path in photo.files}.intersection(options.left_out_folds):
        reason = f"is in fold {' and '.join(sorted(held_out))}"
        return Outcome(left_out=[LeftOut(path, Kind.HELD_OUT, reason) for path in photo.files])
    copies = cleaning.copies(photo.files)
    try:
        frame = read_image(file)
        found = find_faces(photo, frame)
    except MaskDetectionError as error:
        return Outcome(left_out=[cleaning.fault(file, error), *copies])
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(os.fsencode(file.name)).digest()[:8], "big"))
    written: list[Path] = []
    left_out = [*found.left_out, *copies]
    for face in found.faces:
        width, height = face.box[2:] - face.box[:2]  # without the margin
        if min(width, height) < options.min_face_pixels:
            reason = f"{face.title}, has only {width} x {height} pixels"
            left_out.append(LeftOut(file, Kind.SMALL, reason))
        else:
            written += _cut_face(frame, face, destination, options, rng)
    return Outcome([*written, *_cut_backgrounds(frame, found, photo.stem, options, rng)], left_out)


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
        cleaning.write_jpeg(target, crop, options.size)
    return targets
