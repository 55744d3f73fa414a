"""Class folders as a list of labelled images, in any of the usual layouts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mask_detection.io.image_files import list_image_files
from mask_detection.io.images import read_image
from mask_detection.utils.errors import MaskDetectionError

logger = logging.getLogger(__name__)

TRAIN, VALIDATION, TEST = "train", "validation", "test"

# How public data sets spell the folders of a ready-made split, in small letters.
PART_OF_FOLDER = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}

MIN_IMAGES_A_CLASS = 3  # one for each of training, validation and test


@dataclass(frozen=True)
class Samples:
    """Labelled images of a data set.

    Attributes:
        paths: N image files.
        labels: (N,) int, index into ``class_names``.
        class_names: the names of the class folders, sorted.
        parts: (N,) str, the part of a ready-made split that each image belongs to, empty where there is none.
        root: the folder that holds them all, from which :attr:`names` count.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    parts: np.ndarray
    root: Path

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: np.ndarray) -> Samples:
        """The samples at some indices or where a mask is True, in that order."""
        order = np.arange(len(self))[indices]
        return replace(
            self, paths=tuple(self.paths[i] for i in order), labels=self.labels[order], parts=self.parts[order]
        )

    @property
    def names(self) -> list[str]:
        """The images' paths from ``root`` on, the same on every machine."""
        return [path.absolute().relative_to(self.root).as_posix() for path in self.paths]

    @property
    def class_counts(self) -> dict[str, int]:
        """How many images each class has."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))


def scan(folders: Sequence[Path]) -> Samples:
    """List the images of one or more data sets.

    Each is ``DIR/<class>/…`` or comes split, ``DIR/Train/<class>/…`` and so on in the spellings of
    ``PART_OF_FOLDER``. Class folders are searched to the bottom; names that start with a dot are skipped.

    Raises:
        MaskDetectionError: a folder is missing, there are fewer than two classes, two that differ only in case, or a
            class has too few images.
    """
    found: dict[str, list[tuple[Path, str]]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise MaskDetectionError(f"{folder}: there is no such folder; name one that holds a folder for each class")
        for part, class_folder in _class_folders(folder):
            images = [(path, part) for path in list_image_files(class_folder)]
            found.setdefault(class_folder.name, []).extend(images)
    _check_classes(folders, {name: len(images) for name, images in found.items()})
    class_names = tuple(sorted(found))
    paths, parts = zip(*(image for name in class_names for image in found[name]), strict=True)
    labels = np.repeat(np.arange(len(class_names)), [len(found[name]) for name in class_names])
    root = Path(os.path.commonpath([folder.absolute() for folder in folders]))
    return Samples(paths, labels, class_names, np.array(parts, dtype="<U10"), root)


def list_images(folders: Sequence[Path]) -> tuple[Path, ...]:
    """All images below some folders, whatever they show.

    Raises:
        MaskDetectionError: a folder is missing or holds no image.
    """
    found: list[Path] = []
    for folder in folders:
        images = list_image_files(folder)
        if not images:
            raise MaskDetectionError(f"{folder}: holds no images; name a folder that does")
        found += images
    return tuple(found)


def _class_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each class folder with the part of the ready-made split that it belongs to."""
    below = _visible_folders(folder)
    parts = [PART_OF_FOLDER.get(path.name.lower(), "") for path in below]
    if TRAIN not in parts:
        yield from (("", path) for path in below)
        return
    for part, path in zip(parts, below, strict=True):
        if part:
            yield from ((part, class_folder) for class_folder in _visible_folders(path))
        else:
            logger.warning("%s: stands beside the folders of a ready-made split; excluded", path)


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _check_classes(folders: Sequence[Path], counts: dict[str, int]) -> None:
    where = ", ".join(map(str, folders))
    if len(counts) < 2:
        has = f"only the class folder {next(iter(counts))}" if counts else "no class folders"
        raise MaskDetectionError(f"{where}: holds {has}; two are needed, such as with_mask and without_mask")
    by_lower_case: dict[str, str] = {}
    for name, count in counts.items():
        if other := by_lower_case.get(name.lower()):
            raise MaskDetectionError(f"{where}: the classes {other} and {name} differ only in case; give them one name")
        by_lower_case[name.lower()] = name
        if count < MIN_IMAGES_A_CLASS:
            raise MaskDetectionError(
                f"{where}: the class {name} has {count} images; give each class {MIN_IMAGES_A_CLASS} or more"
            )


def exclude_unreadable(samples: Samples) -> tuple[Samples, int]:
    """Decode every image once, name those that cannot be read, and go on without them.

    Returns:
        The readable samples, and how many were excluded.

    Raises:
        MaskDetectionError: too few of a class can be read.
    """
    with ThreadPoolExecutor() as pool:
        checks = pool.map(_is_readable, samples.paths)
        progress = tqdm(checks, "checking images", len(samples), unit="image", disable=None, leave=False)
        readable = np.fromiter(progress, bool, len(samples))
    kept = samples.select(readable)
    for name, count in kept.class_counts.items():
        if count < MIN_IMAGES_A_CLASS:
            raise MaskDetectionError(f"{name}: only {count} of this class's images can be read; add more")
    return kept, len(samples) - len(kept)


def _is_readable(path: Path) -> bool:
    try:
        read_image(path)
    except MaskDetectionError as error:
        logger.error("error: %s; excluded", error)
        return False
    return True
