"""The photos of a folder, each with its byte-for-byte copies and a name of its own, and with its annotation."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mask_detection.data.annotations import ANNOTATION_SUFFIXES, Annotation, read_annotation, read_class_names
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.data.jobs import Excluded, Kind
from mask_detection.io.images import is_image_file
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import leads_out_of, list_files, read_whole

MAX_STEM_BYTES = 200  # most file systems allow 255 for a name, and ours add a number and .part.jpg


@dataclass(frozen=True)
class SourcePhoto:
    """A photo to make something of: its file and byte-for-byte copies, and a name of its own among all photos."""

    files: Sequence[Path]
    stem: str


ReadAnnotation = Callable[[SourcePhoto], Annotation]  # may raise MaskDetectionError


def select_images(
    folder: Path, pool: Executor, other_suffixes: Collection[str] = ()
) -> tuple[list[Path], list[Excluded]]:
    """Separate the files of a folder that are images, or claim to be, from the others.

    Links that lead out of the folder are not followed: what lies there may be meant for nobody.

    Args:
        folder: searched to the bottom.
        pool: does the work.
        other_suffixes: of files that are neither, in small letters.

    Raises:
        MaskDetectionError: a folder cannot be listed.
    """
    links: list[Path] = []
    listed = list_files(folder, on_link_out=links.append)
    files = [path for path in listed if path.suffix.lower() not in other_suffixes]
    claims = dict(zip(files, pool.map(is_image_file, files), strict=True))
    others = [Excluded(path, Kind.NOT_IMAGE, "is not an image") for path, claim in claims.items() if not claim]
    others += [Excluded(path, Kind.LINK, "is a link out of the folder; copy what it leads to") for path in links]
    return [path for path, claim in claims.items() if claim], others


def list_class_images(source: Path, pool: Executor) -> tuple[list[list[Path]], list[Excluded]]:
    """The images of class folders at any depth, each with its copies; and what else lies there.

    Raises:
        MaskDetectionError: there are no images, or a folder cannot be listed.
    """
    images, others = select_images(source, pool)
    if not images:
        raise MaskDetectionError(f"{source}: holds no images; name a folder that holds a folder for each class")
    return group_copies(images, pool), others


def list_photos(folder: Path, pool: Executor) -> tuple[list[SourcePhoto], list[Excluded]]:
    """The photos of a folder, at any depth, and what else lies there but for annotations.

    Raises:
        MaskDetectionError: there are no images, or a folder cannot be listed.
    """
    images, others = select_images(folder, pool, ANNOTATION_SUFFIXES)
    if not images:
        raise MaskDetectionError(f"{folder}: holds no images; name a folder of photos")
    return name_photos(group_copies(images, pool), folder), others


def list_annotated_photos(
    folder: Path, annotation_folder: Path, pool: Executor
) -> tuple[list[SourcePhoto], list[Excluded], ReadAnnotation]:
    """The photos of a folder, at any depth, that have an annotation file at the same place in another folder.

    Returns:
        The photos; what else lies there; and a function that reads the annotation of one.

    Raises:
        MaskDetectionError: no photo is annotated, a folder cannot be listed, or class names are missing.
    """
    images, excluded = select_images(folder, pool, ANNOTATION_SUFFIXES)
    pairs = _pair(images, folder, annotation_folder)
    excluded += [Excluded(path, Kind.NOT_ANNOTATED, "has no annotation file") for path in images if path not in pairs]
    is_yolo = any(path.suffix == ".txt" for path in pairs.values())
    class_names = read_class_names(annotation_folder) if is_yolo else {}

    def read(photo: SourcePhoto) -> Annotation:
        return read_annotation(photo.files[0], pairs[photo.files[0]], class_names)

    return name_photos(group_copies(list(pairs), pool), folder), excluded, read


def _pair(images: Sequence[Path], photo_folder: Path, annotation_folder: Path) -> dict[Path, Path]:
    """The images that have an annotation file at the same place in the other folder; XML goes before text."""
    pairs = {}
    for image in images:
        place = annotation_folder / image.relative_to(photo_folder)
        for suffix in ANNOTATION_SUFFIXES:
            if (file := place.with_suffix(suffix)).is_file() and not leads_out_of(annotation_folder, file):
                pairs[image] = file
    if not pairs:
        raise MaskDetectionError(
            f"{annotation_folder}: no .xml or .txt file is named like an image in {photo_folder}; "
            "name the right folder with --annotations"
        )
    return pairs


def group_copies(images: Sequence[Path], pool: Executor) -> list[list[Path]]:
    """Put files with the same bytes together; groups and their members keep the order of the files."""
    groups: dict[str, list[Path]] = defaultdict(list)
    contents = tqdm(pool.map(_content, images), "comparing", len(images), unit="image", disable=None, leave=False)
    for path, content in zip(images, contents, strict=True):
        groups[content].append(path)
    return list(groups.values())


def _content(path: Path) -> str:
    """What is the same for files with the same bytes; the path of a file without any, which is nobody's copy."""
    try:
        return hashlib.sha256(read_whole(path, "an image")).hexdigest()
    except MaskDetectionError:
        return str(path)


def name_photos(groups: Sequence[Sequence[Path]], folder: Path) -> list[SourcePhoto]:
    """Name photos, each with its copies, by their place in a folder: ``a/b.jpg`` becomes ``a_b``."""
    names = jpeg_names([Path("_".join(group[0].relative_to(folder).parts)) for group in groups])
    return [SourcePhoto(group, name.stem) for group, name in zip(groups, names, strict=True)]


def jpeg_names(paths: Sequence[Path]) -> list[Path]:
    """A JPEG name of its own for each path, in the same folder: ``a.jpg`` and ``a.png`` become ``a.jpg``, ``a_2.jpg``.

    The names differ also where capital and small letters count as the same, and are valid UTF-8.
    """
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = os.fsencode(path.stem)[:MAX_STEM_BYTES].decode(errors="ignore") or "image"
        for ending in itertools.chain([""], (f"_{n}" for n in itertools.count(2))):
            name = path.with_name(f"{stem}{ending}.jpg")
            if str(name).casefold() not in taken:
                break
        taken.add(str(name).casefold())
        names.append(name)
    return names


def in_excluded_fold(files: Sequence[Path], folds: Collection[str]) -> list[Excluded]:
    """All copies of a photo if one of them is in one of these folds: a copy under another name is the same photo."""
    held_out = {FOLDS[fold_of(path.name)] for path in files}.intersection(folds)
    reason = f"is in fold {' and '.join(sorted(held_out))}"
    return [Excluded(path, Kind.HELD_OUT, reason) for path in files] if held_out else []


def in_two_classes(files: Sequence[Path]) -> list[Excluded]:
    """All copies of an image if they lie in folders of different names, each with one that lies in another."""
    classes = {path.parent.name: path for path in reversed(files)}  # the first file of each
    clashes = []
    for path in files if len(classes) > 1 else ():
        other = next(first for name, first in classes.items() if name != path.parent.name)
        clashes.append(Excluded(path, Kind.TWO_CLASSES, "has a copy in another class", copy_of=other))
    return clashes
