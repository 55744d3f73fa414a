"""From photos with boxes to a training set: cut the faces out into a folder for each class."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mask_detection import preparation
from mask_detection.annotations import ANNOTATION_SUFFIXES, Annotation, read_annotation, read_class_names
from mask_detection.errors import MaskDetectionError
from mask_detection.folds import FOLDS, fold_of
from mask_detection.images import read_image
from mask_detection.preparation import Kind, LeftOut, Outcome, Summary
from mask_detection.preprocessing import crop_faces

PHOTO_FOLDERS = ("images", "JPEGImages")  # as YOLO's and VOC's own sets name them
ANNOTATION_FOLDERS = ("annotations", "Annotations", "labels")


@dataclass(frozen=True)
class CropOptions:
    """How faces are cut out.

    Attributes:
        size: the smaller side of larger crops becomes this many pixels; smaller crops stay as they are.
        margin: added on each side of a box, in parts of its width and height.
        min_face_pixels: faces whose box has a smaller side below this are left out.
        left_out_folds: of ``FOLDS``, by the photo's name.
    """

    size: int
    margin: float
    min_face_pixels: int
    left_out_folds: Collection[str] = ()


@dataclass(frozen=True)
class _Photo:
    """A photo to cut up: its file and byte-for-byte copies, its boxes, and how its crops' names begin."""

    files: Sequence[Path]
    annotation_file: Path
    stem: str


def prepare_crops(
    source: Path, destination: Path, options: CropOptions, annotation_folder: Path | None = None
) -> Summary:
    """Cut the faces out of annotated photos, as ``CLASS/PHOTO_NUMBER.jpg``.

    Args:
        source: folder of photos at any depth, or one that holds such a folder named ``images``.
        destination: checked with :func:`mask_detection.preparation.check_folders`.
        options: which faces, how much around them, how large.
        annotation_folder: VOC ``.xml`` or YOLO ``.txt`` files at the same places as the photos; without it, the
            folder ``annotations`` or ``labels`` beside the photos' folder or in it, otherwise that folder itself.

    Raises:
        MaskDetectionError: no photo is annotated, class names are missing, or the destination cannot be written.
    """
    photo_folder, annotation_folder = _find_folders(source, annotation_folder)
    files = [path for path in preparation.list_files(photo_folder) if path.suffix.lower() not in ANNOTATION_SUFFIXES]
    with preparation.worker_pool() as pool:
        images, left_out = preparation.select_images(files, pool)
        pairs = _pair(images, photo_folder, annotation_folder)
        left_out += [
            LeftOut(path, Kind.NOT_ANNOTATED, "has no annotation file") for path in images if path not in pairs
        ]
        is_yolo = any(path.suffix == ".txt" for path in pairs.values())
        class_names = read_class_names(annotation_folder) if is_yolo else {}
        groups = preparation.group_copies(list(pairs), pool)
        names = preparation.jpeg_names([Path("_".join(group[0].relative_to(photo_folder).parts)) for group in groups])
        photos = [_Photo(group, pairs[group[0]], name.stem) for group, name in zip(groups, names, strict=True)]
        jobs = [partial(_prepare_photo, photo, class_names, destination, options) for photo in photos]
        return preparation.carry_out(jobs, left_out, source, destination, pool)


def _find_folders(source: Path, annotation_folder: Path | None) -> tuple[Path, Path]:
    """The folder of the photos and that of their annotations."""
    photo_folder = next((folder for name in PHOTO_FOLDERS if (folder := source / name).is_dir()), source)
    if annotation_folder is None:
        places = (photo_folder.resolve().parent, photo_folder)
        candidates = (place / name for place in places for name in ANNOTATION_FOLDERS)
        annotation_folder = next((folder for folder in candidates if folder.is_dir()), photo_folder)
    return photo_folder, annotation_folder


def _pair(images: Sequence[Path], photo_folder: Path, annotation_folder: Path) -> dict[Path, Path]:
    """The images that have an annotation file at the same place in the other folder; XML goes before text."""
    pairs = {}
    for image in images:
        place = annotation_folder / image.relative_to(photo_folder)
        for suffix in ANNOTATION_SUFFIXES:
            if (file := place.with_suffix(suffix)).is_file():
                pairs[image] = file
    if not pairs:
        raise MaskDetectionError(
            f"{annotation_folder}: no .xml or .txt file is named like an image in {photo_folder}; "
            "name the right folder with --annotations"
        )
    return pairs


def _prepare_photo(photo: _Photo, class_names: Mapping[int, str], destination: Path, options: CropOptions) -> Outcome:
    file = photo.files[0]
    # A copy under another name is the same photo: if one of them is to stay unseen, so are all.
    if held_out := {FOLDS[fold_of(path.name)] for path in photo.files}.intersection(options.left_out_folds):
        reason = f"is in fold {' and '.join(sorted(held_out))}"
        return Outcome(left_out=[LeftOut(path, Kind.HELD_OUT, reason) for path in photo.files])
    left_out = preparation.copies(photo.files)
    try:
        annotation = read_annotation(file, photo.annotation_file, class_names)
        _check_folder_names(annotation.labels, photo.annotation_file)
        frame = read_image(file)
    except MaskDetectionError as error:
        return Outcome(left_out=[preparation.fault(file, error), *left_out])
    if not annotation.labels:
        return Outcome(left_out=[LeftOut(file, Kind.NO_FACE, "has no marked face"), *left_out])
    cut = _cut_faces(frame, annotation, destination, photo.stem, options)
    return Outcome(cut.written, [*cut.left_out, *left_out])


def _cut_faces(
    frame: np.ndarray, annotation: Annotation, destination: Path, stem: str, options: CropOptions
) -> Outcome:
    """Write the crops of a photo (H, W, 3) BGR uint8; the numbers in their names count all its boxes from 1."""
    written, left_out = [], []
    boxes = annotation.boxes.round().astype(int)
    crops = crop_faces(frame, boxes, options.margin)
    sizes = boxes[:, 2:] - boxes[:, :2]  # (N, 2) without the margin
    for number, (crop, label, (w, h)) in enumerate(zip(crops, annotation.labels, sizes, strict=True), start=1):
        if min(w, h) < options.min_face_pixels:
            reason = f"face {number}, {label}, has only {w} x {h} pixels"
            left_out.append(LeftOut(annotation.image, Kind.SMALL, reason))
        else:
            target = destination / label / f"{stem}_{number}.jpg"
            preparation.write_jpeg(target, crop, options.size)
            written.append(target)
    return Outcome(written, left_out)


def _check_folder_names(labels: Sequence[str], annotation_file: Path) -> None:
    """Class names from a file must not lead out of the destination, nor make folders that training overlooks."""
    for label in labels:
        if not re.fullmatch(r"[^./\\:\0][^/\\:\0]*", label):
            raise MaskDetectionError(f"{annotation_file}: {label!r} cannot be a class folder's name; mend the file")
