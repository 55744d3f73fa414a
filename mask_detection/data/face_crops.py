"""From photos to a training set: cut the faces out into a folder for each class.

Where the faces are is known from annotations, or from a face detector, or from both.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from mask_detection.data import cleaning
from mask_detection.data.annotations import ANNOTATION_SUFFIXES, read_annotation, read_class_names
from mask_detection.data.box_sampling import no_boxes
from mask_detection.data.cleaning import Kind, LeftOut, Outcome, Summary
from mask_detection.data.crops import CropOptions, Face, FindFaces, FoundFaces, Photo, cut_photo
from mask_detection.models.face_detector import FaceDetector
from mask_detection.utils.boxes import box_areas, box_iou
from mask_detection.utils.defaults import CONFIDENCE
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import list_files

PHOTO_FOLDERS = ("images", "JPEGImages")  # as YOLO's and VOC's own sets name them
ANNOTATION_FOLDERS = ("annotations", "Annotations", "labels")

MIN_CONFIDENCE = 0.1  # what the detector is less sure of it takes for nothing
# Annotators leave small faces unmarked, so a box without an annotation is a false one only where the detector doubts.
SUSPECT_CONFIDENCE = 0.35  # below, a box is no face unless an annotation says so
MATCH_IOU = 0.5  # from here on a detected box is of the same face as an annotated one
TIGHT_CROP_SIDE = 256  # pixels; a picture this small is itself the crop of a face, if no face is found in it

Found = TypeVar("Found")
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def prepare_annotated_crops(
    source: Path,
    destination: Path,
    options: CropOptions,
    annotation_folder: Path | None = None,
    detector: FaceDetector | None = None,
) -> Summary:
    """Cut the faces out of annotated photos, as ``CLASS/PHOTO_NUMBER.jpg``.

    Args:
        source: folder of photos at any depth, or one that holds such a folder named ``images``.
        destination: checked with :func:`mask_detection.data.cleaning.check_folders`.
        options: which faces, how much around them, how large, and what more.
        annotation_folder: VOC ``.xml`` or YOLO ``.txt`` files at the same places as the photos; without it, the
            folder ``annotations`` or ``labels`` beside the photos' folder or in it, otherwise that folder itself.
        detector: adds its own boxes of the marked faces, and prefers its false boxes as backgrounds; to be loaded
            with ``MIN_CONFIDENCE``.

    Raises:
        MaskDetectionError: no photo is annotated, class names are missing, or the destination cannot be written.
    """
    photo_folder, annotation_folder = _find_folders(source, annotation_folder)
    files = [path for path in list_files(photo_folder) if path.suffix.lower() not in ANNOTATION_SUFFIXES]
    with cleaning.worker_pool() as pool:
        images, left_out = cleaning.select_images(files, pool)
        pairs = pair_annotations(images, photo_folder, annotation_folder)
        left_out += [
            LeftOut(path, Kind.NOT_ANNOTATED, "has no annotation file") for path in images if path not in pairs
        ]
        is_yolo = any(path.suffix == ".txt" for path in pairs.values())
        class_names = read_class_names(annotation_folder) if is_yolo else {}
        photos = name_photos(cleaning.group_copies(list(pairs), pool), photo_folder)
        detect = one_at_a_time(detector.detect) if detector else _detect_nothing
        find_faces = partial(_marked_faces, pairs=pairs, class_names=class_names, detect=detect)
        jobs = [partial(cut_photo, photo, find_faces, destination, options) for photo in photos]
        return cleaning.carry_out(jobs, left_out, source, destination, pool)


def prepare_detected_crops(source: Path, destination: Path, options: CropOptions, detector: FaceDetector) -> Summary:
    """Cut the most prominent face out of each photo of class folders, as ``CLASS/PHOTO_1.jpg``.

    A picture without a face that the detector finds is taken as ``CLASS/PHOTO_whole.jpg`` if it is small enough to be
    the crop of a face, and left out otherwise.

    Args:
        source: folder of class folders, at any depth; the destination gets the same folders.
        destination: checked with :func:`mask_detection.data.cleaning.check_folders`.
        options: which faces, how much around them, how large, and what more.
        detector: to be loaded with ``MIN_CONFIDENCE``; faces need ``CONFIDENCE``.

    Raises:
        MaskDetectionError: there are no images, or the destination cannot be written.
    """
    with cleaning.worker_pool() as pool:
        images, left_out = cleaning.select_images(list_files(source), pool)
        if not images:
            raise MaskDetectionError(f"{source}: holds no images; name a folder that holds a folder for each class")
        groups = cleaning.group_copies(images, pool)
        names = cleaning.jpeg_names([group[0].relative_to(source) for group in groups])
        detect = one_at_a_time(detector.detect)
        jobs = [
            partial(_cut_class_photo, photo, partial(_main_face, name=name, detect=detect), destination, options)
            for photo, name in zip(name_photos(groups, source), names, strict=True)
        ]
        return cleaning.carry_out(jobs, left_out, source, destination, pool)


def name_photos(groups: Sequence[Sequence[Path]], folder: Path) -> list[Photo]:
    """Name photos, each with its copies, by their place in a folder: ``a/b.jpg`` becomes ``a_b``."""
    names = cleaning.jpeg_names([Path("_".join(group[0].relative_to(folder).parts)) for group in groups])
    return [Photo(group, name.stem) for group, name in zip(groups, names, strict=True)]


def one_at_a_time(detect: Callable[[np.ndarray], Found]) -> Callable[[np.ndarray], Found]:
    """Let many threads share a detector: its network holds the state of one image, and uses all cores by itself."""
    lock = threading.Lock()

    def detect_alone(frame: np.ndarray) -> Found:
        with lock:
            return detect(frame)

    return detect_alone


def _detect_nothing(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return no_boxes(), np.empty(0)


def _find_folders(source: Path, annotation_folder: Path | None) -> tuple[Path, Path]:
    """The folder of the photos and that of their annotations."""
    photo_folder = next((folder for name in PHOTO_FOLDERS if (folder := source / name).is_dir()), source)
    if annotation_folder is None:
        places = (photo_folder.resolve().parent, photo_folder)
        candidates = (place / name for place in places for name in ANNOTATION_FOLDERS)
        annotation_folder = next((folder for folder in candidates if folder.is_dir()), photo_folder)
    return photo_folder, annotation_folder


def pair_annotations(images: Sequence[Path], photo_folder: Path, annotation_folder: Path) -> dict[Path, Path]:
    """The images that have an annotation file at the same place in the other folder; XML goes before text.

    Raises:
        MaskDetectionError: there is none.
    """
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


def _marked_faces(
    photo: Photo, frame: np.ndarray, pairs: Mapping[Path, Path], class_names: Mapping[int, str], detect: Detect
) -> FoundFaces:
    """The annotated faces; a detector adds its boxes of the same, and where it nearly saw others."""
    file = photo.files[0]
    annotation = read_annotation(file, pairs[file], class_names)
    _check_folder_names(annotation.labels, pairs[file])
    boxes = annotation.boxes.round().astype(int)
    detected, confidences = detect(frame)
    matches = box_iou(boxes, detected) >= MATCH_IOU  # (N, M)
    faces = [
        Face(box, Path(label, f"{photo.stem}_{number}.jpg"), f"face {number}, {label}", detected[of_face])
        for number, (box, label, of_face) in enumerate(zip(boxes, annotation.labels, matches, strict=True), start=1)
    ]
    doubtful = confidences < SUSPECT_CONFIDENCE
    left_out = [] if faces else [LeftOut(file, Kind.NO_FACE, "has no marked face")]
    return FoundFaces(faces, np.concatenate([boxes, detected[~doubtful]]), detected[doubtful], left_out)


def _cut_class_photo(photo: Photo, find_faces: FindFaces, destination: Path, options: CropOptions) -> Outcome:
    if clashes := cleaning.class_clashes(photo.files):
        return Outcome(left_out=clashes)
    return cut_photo(photo, find_faces, destination, options)


def _main_face(photo: Photo, frame: np.ndarray, name: Path, detect: Detect) -> FoundFaces:
    """The detected face that is largest and surest, or the whole of a small picture."""
    boxes, confidences = detect(frame)
    scores = np.where(confidences >= CONFIDENCE, confidences * box_areas(boxes), 0.0)
    if scores.any():
        best = boxes[scores.argmax()]
        return FoundFaces([Face(best, name.with_name(f"{name.stem}_1.jpg"), "face 1")], occupied=boxes)
    height, width = frame.shape[:2]
    whole = np.array([0, 0, width, height])  # the face may be anywhere in it
    if max(width, height) <= TIGHT_CROP_SIDE:
        return FoundFaces([Face(whole, name.with_name(f"{name.stem}_whole.jpg"), "the picture")], whole[None])
    reason = f"has no face that the detector finds, and with {width} x {height} pixels is no crop of one"
    return FoundFaces([], whole[None], left_out=[LeftOut(photo.files[0], Kind.NOT_FOUND, reason)])


def _check_folder_names(labels: Sequence[str], annotation_file: Path) -> None:
    """Class names from a file must not lead out of the destination, nor make folders that training overlooks."""
    for label in labels:
        if not re.fullmatch(r"[^./\\:\0][^/\\:\0]*", label):
            raise MaskDetectionError(f"{annotation_file}: {label!r} cannot be a class folder's name; mend the file")
