"""The face detector's data set: photos with boxes, read once and stored on disk as plain pixels.

Boxes come from annotations; or, for class folders of photos of one face each, from another detector, and the folder's
name is the class; or there are none, because the photo shows no face.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mask_detection.data.annotations import Annotation, read_annotations
from mask_detection.data.dataset import Samples
from mask_detection.data.duplicates import find_groups
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.io.images import read_image
from mask_detection.models.face_detector import FaceDetector
from mask_detection.training.detector.targets import IGNORED, UNKNOWN_CLASS
from mask_detection.utils.boxes import box_areas
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write

# Labels beside the classes' names:
NO_CLASS = ""  # a face that teaches nothing about classes
DOUBTFUL = "?"  # perhaps a face

MAX_SIDE = 640  # pixels: larger photos are scaled down to it
CERTAIN_CONFIDENCE = 0.6  # of the other detector, from which on its box is a face
MIN_CONFIDENCE = 0.2  # from here on it is doubtful, and below there is none


@dataclass(frozen=True)
class LabelledImage:
    """An image in memory with its faces.

    Attributes:
        image: (H, W, 3) BGR uint8.
        boxes: (N, 4) float32 xyxy in pixels.
        labels: (N,) int, the index of each face's class, ``UNKNOWN_CLASS`` or ``IGNORED``.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Division:
    """Which photos are for training and which for validation.

    Attributes:
        training: annotated photos to learn from.
        validation: annotated photos to measure on after each epoch.
        others_usable: (M,) bool, which of the other photos may be learned from.
        facts: how many photos were excluded for what.
    """

    training: list[Annotation]
    validation: list[Annotation]
    others_usable: np.ndarray
    facts: dict[str, int]


def read_folders(
    image_folders: Sequence[Path], annotation_folders: Sequence[Path], on_error: Callable[[MaskDetectionError], None]
) -> list[Annotation]:
    """Read all annotated photos; the folders come in pairs. For ``on_error`` see :func:`read_annotations`."""
    found: list[Annotation] = []
    for folders in zip(image_folders, annotation_folders, strict=True):
        found += read_annotations(*folders, on_error=on_error)
    return found


def divide(
    annotated: Sequence[Annotation],
    others: Sequence[Path],
    excluded_folds: Collection[str],
    validation_fold: str,
    excluded: Sequence[Path],
) -> Division:
    """Put photos aside for validation and for a later evaluation, and exclude their near-duplicates from training.

    Args:
        annotated: photos with boxes; the folds are of their names.
        others: M photos that are only learned from.
        excluded_folds: folds that training must not see, such as those of a final evaluation.
        validation_fold: the fold to measure on after each epoch.
        excluded: more images that training must not see.

    Raises:
        MaskDetectionError: nothing is left to learn from, or to measure on.
    """
    folds = np.array([FOLDS[fold_of(annotation.image.name)] for annotation in annotated])
    is_aside = np.isin(folds, [*excluded_folds, validation_fold])
    movable, aside = list(compress(annotated, ~is_aside)), list(compress(annotated, is_aside))
    paths = [*(annotation.image for annotation in movable), *others]
    groups = find_groups([*paths, *(annotation.image for annotation in aside), *excluded])
    usable = ~np.isin(groups[: len(paths)], groups[len(paths) :])
    training = list(compress(movable, usable))
    validation = list(compress(annotated, folds == validation_fold))
    if not training or not validation:
        raise MaskDetectionError(
            f"{len(annotated)} annotated photos are too few: {len(training)} are left to learn from and "
            f"{len(validation)} to measure on; give more with --images and --annotations"
        )
    facts = {
        "annotated_photos": len(annotated),
        "left_out_folds": int(np.isin(folds, list(excluded_folds)).sum()),
        "left_out_as_near_copies": int((~usable).sum()),
    }
    return Division(training, validation, usable[len(movable) :], facts)


def box_faces(
    samples: Samples, detector: FaceDetector, on_error: Callable[[MaskDetectionError], None]
) -> list[Annotation]:
    """Let a detector box the photos of class folders, most of one face each.

    The face of the largest area x confidence is of the folder's class. Others from ``CERTAIN_CONFIDENCE`` on are of no
    known class, and less certain ones are doubtful. Photos without a certain face are excluded.

    Args:
        samples: the photos.
        detector: to be loaded with ``MIN_CONFIDENCE``.
        on_error: is given what is wrong with a photo that cannot be read, which is excluded.
    """
    found = []
    paths = tqdm(samples.paths, "finding faces", disable=None, leave=False)
    for path, label in zip(paths, samples.labels, strict=True):
        try:
            boxes, confidences = detector.detect(read_image(path))
        except MaskDetectionError as error:
            on_error(error)
            continue
        certain = confidences >= CERTAIN_CONFIDENCE
        if not certain.any():
            continue
        labels = np.where(certain, NO_CLASS, DOUBTFUL).astype(object)
        labels[np.argmax(certain * confidences * box_areas(boxes))] = samples.class_names[label]
        found.append(Annotation(path, boxes.astype(np.float32), tuple(labels)))
    return found


def without_faces(paths: Sequence[Path], on_error: Callable[[MaskDetectionError], None]) -> list[Annotation]:
    """Photos that show no face; for ``on_error`` see :func:`box_faces`."""
    found = []
    for path in paths:
        try:
            read_image(path)
        except MaskDetectionError as error:
            on_error(error)
            continue
        found.append(Annotation(path, np.empty((0, 4), np.float32), ()))
    return found


class ImageStore:
    """Images as pixels in one file that is mapped into memory, so that none is decoded twice."""

    def __init__(self, path: Path) -> None:
        """Open what :meth:`write` wrote."""
        with np.load(path.with_suffix(".npz")) as index:
            self._index = dict(index)
        self._pixels = np.memmap(path, np.uint8, "r")

    def __len__(self) -> int:
        return len(self._index["sizes"])

    @property
    def face_counts(self) -> np.ndarray:
        """(P,) how many boxes each image has."""
        return np.diff(self._index["faces"])

    def __getitem__(self, i: int) -> LabelledImage:
        start, (height, width) = self._index["starts"][i], self._index["sizes"][i]
        faces = slice(*self._index["faces"][i : i + 2])
        image = self._pixels[start : start + height * width * 3].reshape(height, width, 3)
        return LabelledImage(image, self._index["boxes"][faces], self._index["labels"][faces])

    @classmethod
    def write(cls, path: Path, annotations: Sequence[Annotation], class_names: Sequence[str], title: str) -> None:
        """Decode photos, scale the large ones down, and write their pixels one after another.

        Args:
            path: the file; a ``.npz`` beside it holds where each image starts, and the boxes.
            annotations: the photos; labels are names of classes, ``NO_CLASS`` or ``DOUBTFUL``.
            class_names: other labels are taken for ``NO_CLASS``.
            title: of the progress bar.

        Raises:
            MaskDetectionError: a photo cannot be read, or the disk is full.
        """
        ids = {DOUBTFUL: IGNORED, **{name: i for i, name in enumerate(class_names)}}
        sizes, boxes = [], [np.empty((0, 4), np.float32)]
        with atomic_write(path) as part, part.open("wb") as file:
            for annotation in tqdm(annotations, title, unit="photo", disable=None, leave=False):
                image = read_image(annotation.image)
                scale = min(1.0, MAX_SIDE / max(image.shape[:2]))
                if scale < 1:
                    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                file.write(image.tobytes())
                sizes.append(image.shape[:2])
                boxes.append(annotation.boxes * np.float32(scale))
        with atomic_write(path.with_suffix(".npz")) as part:
            np.savez(
                part,
                sizes=np.array(sizes),
                starts=np.cumsum([0, *(height * width * 3 for height, width in sizes)], dtype=np.int64),
                faces=np.cumsum([0, *map(len, boxes[1:])]),
                boxes=np.concatenate(boxes),
                labels=np.array([ids.get(name, UNKNOWN_CLASS) for each in annotations for name in each.labels], int),
            )
