"""Which image files are meant: those in a folder, and those behind files, folders and globs."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from mask_detection.io.images import is_image_file
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import list_files

MAX_KINDS = 5  # of other files that are named

logger = logging.getLogger(__name__)


class ImageFile(NamedTuple):
    """An image to read, and the relative name that its results go by."""

    path: Path
    name: PurePath


def list_image_files(folder: Path, *, subfolders: bool = True, counts_others: bool = False) -> list[Path]:
    """List the images of a folder by path, without hidden ones.

    A folder that cannot be listed is named in a warning.

    Args:
        folder: where to look.
        subfolders: whether to look into the folders below it, to the bottom.
        counts_others: whether to count what else lies there in one line of the log.
    """

    def warn(error: MaskDetectionError) -> None:
        logger.warning("%s", error)

    files = list_files(folder, subfolders=subfolders, follow_links=False, on_error=warn)
    images = [path for path in files if os.path.isfile(path) and is_image_file(path)]  # noqa: PTH113 (entry denied)
    others = sorted(set(files) - set(images))
    if images and others and counts_others:
        kinds = Counter(path.suffix.lower() or "no suffix" for path in others).most_common(MAX_KINDS)
        named = ", ".join(f"{count} {kind}" for kind, count in kinds)
        logger.info("%s: %d files skipped that are no images (%s)", folder, len(others), named)
    return images


def find_images(inputs: Sequence[str]) -> list[ImageFile]:
    """List the images behind files, folders (searched to the bottom) and globs, in the order given.

    A path that doesn't exist is listed too, and so is an input without images beside others that have some: reading
    it then says what is wrong.

    Raises:
        MaskDetectionError: there is no image behind any of the inputs.
    """
    found: list[ImageFile] = []
    n_empty = 0
    for text in inputs:
        images = [image for path in _matches(text) for image in _images_behind(path)]
        n_empty += not images
        found += images or [ImageFile(Path(text), PurePath(Path(text).name))]
    if n_empty == len(inputs):
        raise MaskDetectionError(f"{inputs[0]}: no images are there; name photos, or a folder that holds some")
    unique = list({image.path.absolute(): image for image in found}.values())
    return _with_distinct_names(unique)


def _matches(text: str) -> list[Path]:
    if glob.has_magic(text) and not os.path.lexists(text):  # a file's name may hold brackets too
        return [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 (absolute too)
    return [Path(text)]


def _images_behind(path: Path) -> list[ImageFile]:
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir() fails where the path is too long or entry denied)
        return [ImageFile(path, PurePath(path.name))]
    return [ImageFile(file, file.relative_to(path)) for file in list_image_files(path, counts_others=True)]


def _with_distinct_names(images: list[ImageFile]) -> list[ImageFile]:
    """Where two inputs have the same relative name, name all of them from their common folder on."""
    if len({image.name for image in images}) == len(images):
        return images
    absolute = [image.path.absolute() for image in images]
    common = os.path.commonpath([path.parent for path in absolute])
    return [ImageFile(image.path, path.relative_to(common)) for image, path in zip(images, absolute, strict=True)]
