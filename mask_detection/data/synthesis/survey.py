"""What photos offer to put masks on, and to make masks of: bare faces, and cloth of masks that somebody wears."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mask_detection.data.jobs import Excluded, Kind, copies, faulty
from mask_detection.data.photos import SourcePhoto, in_excluded_fold, list_annotated_photos, list_photos
from mask_detection.data.synthesis.cloth import Swatch
from mask_detection.data.synthesis.geometry import fit_pose
from mask_detection.data.synthesis.swatches import cut_swatch
from mask_detection.inference.classes import is_bare, is_masked
from mask_detection.io.images import read_image
from mask_detection.utils.boxes import SAME_FACE_IOU, box_iou
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole

FindLandmarks = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
FindLabels = Callable[[SourcePhoto], tuple[np.ndarray, Sequence[str]] | None]


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
        excluded: why nothing of it can be used.
    """

    photo: SourcePhoto
    digest: str = ""
    faces: Sequence[BareFace] = ()
    swatches: Sequence[Swatch] = ()
    excluded: Sequence[Excluded] = ()


def list_labelled_photos(
    source: Path, annotation_folder: Path | None, pool: Executor
) -> tuple[list[SourcePhoto], FindLabels, list[Excluded]]:
    """List the photos of a folder.

    Returns:
        The photos, each with its copies; a function that reads the boxes and labels of one, or gives None where
        there is no ``annotation_folder``; and what else lies there.

    Raises:
        MaskDetectionError: there are no images, or none is annotated.
    """
    if annotation_folder is None:
        photos, excluded = list_photos(source, pool)
        return photos, lambda photo: None, excluded
    photos, excluded, read = list_annotated_photos(source, annotation_folder, pool)

    def find_labels(photo: SourcePhoto) -> tuple[np.ndarray, Sequence[str]]:
        annotation = read(photo)
        return annotation.boxes, annotation.labels

    return photos, find_labels, excluded


def survey_photo(
    photo: SourcePhoto, find_landmarks: FindLandmarks, find_labels: FindLabels, excluded_folds: Collection[str]
) -> Survey:
    """Find the bare faces of a photo, and cloth; without labels all its faces are taken for bare ones."""
    if held_out := in_excluded_fold(photo.files, excluded_folds):
        return Survey(photo, excluded=held_out)
    file = photo.files[0]
    try:
        digest = hashlib.sha256(read_whole(file, "an image")).hexdigest()
        image, labelled = read_image(file), find_labels(photo)
    except MaskDetectionError as error:
        return Survey(photo, excluded=[faulty(file, error), *copies(photo.files)])
    boxes, _, landmarks = find_landmarks(image)
    labels = None if labelled is None else _labels_of(boxes, *labelled)
    bare = [i for i in range(len(boxes)) if labels is None or is_bare(labels[i])]
    masked = [i for i in range(len(boxes)) if labels is not None and is_masked(labels[i])]
    faces = [BareFace(i + 1, boxes[i], landmarks[i]) for i in bare]
    excluded = copies(photo.files)
    if not faces:
        excluded.insert(0, Excluded(file, Kind.NOT_FOUND, "has no bare face that the detector finds"))
    return Survey(photo, digest, faces, cut_swatches(image, landmarks[masked], file.name), excluded)


def cut_swatches(image: np.ndarray, landmarks: np.ndarray, photo: str) -> list[Swatch]:
    """Cloth of the masks on faces with such landmarks, (N, 5, 2); fewer than N where it cannot be used."""
    poses = [pose for points in landmarks if (pose := fit_pose(points))]
    return [swatch for pose in poses if (swatch := cut_swatch(image, pose, photo))]


def _labels_of(boxes: np.ndarray, annotated: np.ndarray, labels: Sequence[str]) -> list[str]:
    """The labels of the annotated boxes that detected boxes overlap most; empty where none is of the same face."""
    if not len(annotated):
        return [""] * len(boxes)
    overlaps = box_iou(boxes, annotated)  # (N, M)
    return [labels[row.argmax()] if row.max() >= SAME_FACE_IOU else "" for row in overlaps]
