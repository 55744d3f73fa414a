"""What photos offer to put masks on, and to make masks of: bare faces, and cloth of masks that somebody wears."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mask_detection.data import cleaning
from mask_detection.data.annotations import ANNOTATION_SUFFIXES, read_annotation, read_class_names
from mask_detection.data.cleaning import Kind, LeftOut
from mask_detection.data.crops import Photo
from mask_detection.data.face_crops import MATCH_IOU, name_photos, pair_annotations
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.data.synthesis.cloth import Swatch
from mask_detection.data.synthesis.geometry import fit_pose
from mask_detection.data.synthesis.swatches import cut_swatch
from mask_detection.inference.classes import is_bare, is_masked
from mask_detection.io.images import read_image
from mask_detection.utils.boxes import box_iou
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole

FindLandmarks = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
FindLabels = Callable[[Photo], tuple[np.ndarray, Sequence[str]] | None]


@dataclass(frozen=True)
class BareFace:
    """A face to put masks on: its number in the photo from 1 on, (4,) int xyxy, and (5, 2) landmarks in pixels."""

    number: int
    box: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Survey:
    """What a photo shows.

    Attributes:
        photo: its files and name.
        digest: SHA-256 of its bytes.
        faces: the bare ones.
        swatches: cloth of masks that are worn.
        left_out: why nothing of it can be used.
    """

    photo: Photo
    digest: str = ""
    faces: Sequence[BareFace] = ()
    swatches: Sequence[Swatch] = ()
    left_out: Sequence[LeftOut] = ()


def list_photos(
    source: Path, annotation_folder: Path | None, pool: Executor
) -> tuple[list[Photo], FindLabels, list[LeftOut]]:
    """List the photos of a folder.

    Returns:
        The photos, each with its copies; a function that reads the boxes and labels of one, or gives None where
        there is no ``annotation_folder``; and what else lies there.

    Raises:
        MaskDetectionError: there are no images, or none is annotated.
    """
    files = [path for path in cleaning.list_files(source) if path.suffix.lower() not in ANNOTATION_SUFFIXES]
    images, left_out = cleaning.select_images(files, pool)
    if not images:
        raise MaskDetectionError(f"{source}: holds no images; name a folder of photos of bare faces")
    if annotation_folder is None:
        return name_photos(cleaning.group_copies(images, pool), source), lambda photo: None, left_out
    pairs = pair_annotations(images, source, annotation_folder)
    left_out += [LeftOut(path, Kind.NOT_ANNOTATED, "has no annotation file") for path in images if path not in pairs]
    is_yolo = any(path.suffix == ".txt" for path in pairs.values())
    class_names = read_class_names(annotation_folder) if is_yolo else {}

    def find_labels(photo: Photo) -> tuple[np.ndarray, Sequence[str]]:
        annotation = read_annotation(photo.files[0], pairs[photo.files[0]], class_names)
        return annotation.boxes, annotation.labels

    return name_photos(cleaning.group_copies(list(pairs), pool), source), find_labels, left_out


def survey_photo(
    photo: Photo, find_landmarks: FindLandmarks, find_labels: FindLabels, left_out_folds: Collection[str]
) -> Survey:
    """Find the bare faces of a photo, and cloth; without labels all its faces are taken for bare ones."""
    if held_out := {FOLDS[fold_of(path.name)] for path in photo.files}.intersection(left_out_folds):
        reason = f"is in fold {' and '.join(sorted(held_out))}"
        return Survey(photo, left_out=[LeftOut(path, Kind.HELD_OUT, reason) for path in photo.files])
    file, copies = photo.files[0], cleaning.copies(photo.files)
    try:
        digest = hashlib.sha256(read_whole(file, "an image")).hexdigest()
        image, labelled = read_image(file), find_labels(photo)
    except MaskDetectionError as error:
        return Survey(photo, left_out=[cleaning.fault(file, error), *copies])
    boxes, _, landmarks = find_landmarks(image)
    labels = None if labelled is None else _labels_of(boxes, *labelled)
    bare = [i for i in range(len(boxes)) if labels is None or is_bare(labels[i])]
    masked = [i for i in range(len(boxes)) if labels is not None and is_masked(labels[i])]
    faces = [BareFace(i + 1, boxes[i], landmarks[i]) for i in bare]
    if not faces:
        copies = [LeftOut(file, Kind.NOT_FOUND, "has no bare face that the detector finds"), *copies]
    return Survey(photo, digest, faces, cut_swatches(image, landmarks[masked], file.name), copies)


def cut_swatches(image: np.ndarray, landmarks: np.ndarray, photo: str) -> list[Swatch]:
    """Cloth of the masks on faces with such landmarks, (N, 5, 2); fewer than N where it cannot be used."""
    poses = [pose for points in landmarks if (pose := fit_pose(points))]
    return [swatch for pose in poses if (swatch := cut_swatch(image, pose, photo))]


def _labels_of(boxes: np.ndarray, annotated: np.ndarray, labels: Sequence[str]) -> list[str]:
    """The labels of the annotated boxes that detected boxes overlap most; empty where none is of the same face."""
    if not len(annotated):
        return [""] * len(boxes)
    overlaps = box_iou(boxes, annotated)  # (N, M)
    return [labels[row.argmax()] if row.max() >= MATCH_IOU else "" for row in overlaps]
