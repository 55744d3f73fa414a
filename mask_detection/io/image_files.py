"""Which image files are meant: the ones behind files, folders and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from mask_detection.io.images import is_image_file
from mask_detection.utils.errors import MaskDetectionError


class ImageFile(NamedTuple):
    """An image to read, and the relative name that its results go by."""

    path: Path
    name: PurePath


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
    below = ((file, file.relative_to(path)) for file in sorted(path.rglob("*")))
    visible = ((file, name) for file, name in below if not any(part.startswith(".") for part in name.parts))
    return [ImageFile(file, name) for file, name in visible if file.is_file() and is_image_file(file)]


def _with_distinct_names(images: list[ImageFile]) -> list[ImageFile]:
    """Where two inputs have the same relative name, name all of them from their common folder on."""
    if len({image.name for image in images}) == len(images):
        return images
    absolute = [image.path.absolute() for image in images]
    common = os.path.commonpath([path.parent for path in absolute])
    return [ImageFile(image.path, path.relative_to(common)) for image, path in zip(images, absolute, strict=True)]
