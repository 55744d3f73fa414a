"""From photos to a training set: cut the faces out into a folder for each class.

Where the faces are is known from annotations, or from a face detector, or from both.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from mask_detection.data.annotations import Annotation
from mask_detection.data.crops import CropOptions, Face, FindFaces, FoundFaces, cut_photo, no_boxes
from mask_detection.data.jobs import DataSetSummary, Excluded, JobResult, Kind, run_jobs, worker_pool
from mask_detection.data.photos import (
    ReadAnnotation,
    SourcePhoto,
    in_two_classes,
    jpeg_names,
    list_annotated_photos,
    list_class_images,
    name_photos,
)
from mask_detection.models.face_detector import FaceDetector
from mask_detection.utils.boxes import SAME_FACE_IOU, box_areas, box_iou
from mask_detection.utils.defaults import CONFIDENCE
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import leads_out_of
from mask_detection.utils.text import is_one_line

PHOTO_FOLDERS = ("images", "JPEGImages")  # as YOLO's and VOC's own sets name them
ANNOTATION_FOLDERS = ("annotations", "Annotations", "labels")

MIN_CONFIDENCE = 0.1  # what the detector is less confident of is nothing
# Annotators leave small faces unmarked, so a box without an annotation is a false one only where the detector doubts.
SUSPECT_CONFIDENCE = 0.35  # below, a box is no face unless an annotation says so
TIGHT_CROP_SIDE = 256  # pixels; an image this small is itself the crop of a face, if no face is found in it

Found = TypeVar("Found")
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def prepare_annotated_crops(
    source: Path,
    destination: Path,
    options: CropOptions,
    annotation_folder: Path | None = None,
    detector: FaceDetector | None = None,
) -> DataSetSummary:
    """Cut the faces out of annotated photos, as ``CLASS/PHOTO_NUMBER.jpg``.

    Args:
        source: folder of photos at any depth, or one that holds such a folder named ``images``.
        destination: checked with :func:`mask_detection.data.jobs.check_folders`.
        options: which faces, how much around them, how large, and what more.
        annotation_folder: VOC ``.xml`` or YOLO ``.txt`` files at the same places as the photos; without it, the
            folder ``annotations`` or ``labels`` beside the photos' folder or in it, otherwise that folder itself.
        detector: adds its own boxes of the marked faces, and prefers its false boxes as backgrounds; to be loaded
            with ``MIN_CONFIDENCE``.

    Raises:
        MaskDetectionError: no photo is annotated, class names are missing, or the destination cannot be written.
    """
    photo_folder, annotation_folder = _find_folders(source, annotation_folder)
    with worker_pool() as pool:
        photos, excluded, read = list_annotated_photos(photo_folder, annotation_folder, pool)
        detect = one_at_a_time(detector.detect) if detector else _detect_nothing
        find_faces = partial(_marked_faces, read=read, detect=detect)
        jobs = [partial(cut_photo, photo, find_faces, destination, options) for photo in photos]
        return run_jobs(jobs, excluded, source, destination, pool)


def prepare_detected_crops(
    source: Path, destination: Path, options: CropOptions, detector: FaceDetector
) -> DataSetSummary:
    """Cut the most prominent face out of each photo of class folders, as ``CLASS/PHOTO_1.jpg``.

    An image without a face that the detector finds is taken as ``CLASS/PHOTO_whole.jpg`` if it is small enough to be
    the crop of a face, and excluded otherwise.

    Args:
        source: folder of class folders, at any depth; the destination gets the same folders.
        destination: checked with :func:`mask_detection.data.jobs.check_folders`.
        options: which faces, how much around them, how large, and what more.
        detector: to be loaded with ``MIN_CONFIDENCE``; faces need ``CONFIDENCE``.

    Raises:
        MaskDetectionError: there are no images, or the destination cannot be written.
    """
    with worker_pool() as pool:
        groups, excluded = list_class_images(source, pool)
        names = jpeg_names([group[0].relative_to(source) for group in groups])
        detect = one_at_a_time(detector.detect)
        jobs = [
            partial(_cut_class_photo, photo, partial(_main_face, name=name, detect=detect), destination, options)
            for photo, name in zip(name_photos(groups, source), names, strict=True)
        ]
        return run_jobs(jobs, excluded, source, destination, pool)


def one_at_a_time(detect: Callable[[np.ndarray], Found]) -> Callable[[np.ndarray], Found]:
    """Let many threads use one detector: its network holds the state of one image, and uses all cores by itself."""
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
    if leads_out_of(source, photo_folder):
        raise MaskDetectionError(f"{photo_folder}: is a link out of {source}; name the folder that it leads to")
    if annotation_folder is None:
        places = (photo_folder.resolve().parent, photo_folder)
        candidates = (place / name for place in places for name in ANNOTATION_FOLDERS)
        annotation_folder = next((folder for folder in candidates if folder.is_dir()), photo_folder)
    return photo_folder, annotation_folder


def _marked_faces(photo: SourcePhoto, frame: np.ndarray, read: ReadAnnotation, detect: Detect) -> FoundFaces:
    """The annotated faces; a detector adds its boxes of the same, and where it nearly saw others."""
    annotation = read(photo)
    _check_folder_names(annotation)
    boxes = annotation.boxes.round().astype(int)
    detected, confidences = detect(frame)
    matches = box_iou(boxes, detected) >= SAME_FACE_IOU  # (N, M)
    faces = [
        Face(box, Path(label, f"{photo.stem}_{number}.jpg"), f"face {number}, {label}", detected[of_face])
        for number, (box, label, of_face) in enumerate(zip(boxes, annotation.labels, matches, strict=True), start=1)
    ]
    doubtful = confidences < SUSPECT_CONFIDENCE
    excluded = [] if faces else [Excluded(photo.files[0], Kind.NO_FACE, "has no marked face")]
    return FoundFaces(faces, np.concatenate([boxes, detected[~doubtful]]), detected[doubtful], excluded)


def _cut_class_photo(photo: SourcePhoto, find_faces: FindFaces, destination: Path, options: CropOptions) -> JobResult:
    if clashes := in_two_classes(photo.files):
        return JobResult(excluded=clashes)
    return cut_photo(photo, find_faces, destination, options)


def _main_face(photo: SourcePhoto, frame: np.ndarray, name: Path, detect: Detect) -> FoundFaces:
    """The detected face that is largest and most confident, or the whole of a small image."""
    boxes, confidences = detect(frame)
    scores = np.where(confidences >= CONFIDENCE, confidences * box_areas(boxes), 0.0)
    if scores.any():
        best = boxes[scores.argmax()]
        return FoundFaces([Face(best, name.with_name(f"{name.stem}_1.jpg"), "face 1")], occupied=boxes)
    height, width = frame.shape[:2]
    whole = np.array([0, 0, width, height])  # the face may be anywhere in it
    if max(width, height) <= TIGHT_CROP_SIDE:
        return FoundFaces([Face(whole, name.with_name(f"{name.stem}_whole.jpg"), "the image")], whole[None])
    reason = f"has no face that the detector finds, and with {width} x {height} pixels is no crop of one"
    return FoundFaces([], whole[None], excluded=[Excluded(photo.files[0], Kind.NOT_FOUND, reason)])


def _check_folder_names(annotation: Annotation) -> None:
    """Class names from a file must not lead out of the destination, nor make folders that training overlooks."""
    for label in annotation.labels:
        if not re.fullmatch(r"[^./\\:][^/\\:]*", label) or not is_one_line(label):
            raise MaskDetectionError(
                f"{annotation.image}: {label!r} in its annotation cannot be a class folder's name; mend that file"
            )
