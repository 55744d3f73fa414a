"""Reading files whole, and writing them so that they appear under their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mask_detection.errors import MaskDetectionError

LFS_POINTER_START = b"version https://git-lfs.github.com/spec/"


def read_whole(path: Path, what: str) -> bytes:
    """Read a file that has to hold something.

    Args:
        path: the file.
        what: what it should be, for the message, such as ``"an image"``.

    Raises:
        MaskDetectionError: it is missing, a folder, not readable, empty, or a Git-LFS pointer.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MaskDetectionError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise MaskDetectionError(f"{path}: is a folder, not {what}") from None
    except OSError as error:
        raise MaskDetectionError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise MaskDetectionError(f"{path}: is empty (0 bytes), not {what}; get the file again")
    if data.startswith(LFS_POINTER_START):
        raise MaskDetectionError(f"{path}: is a Git-LFS pointer, not {what}; run `git lfs pull` or get the file itself")
    return data


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield ``NAME.part.EXT`` beside ``path`` to write to; move it to ``path`` when the block ends without error.

    Whatever stood at ``path`` before stays there until then, and for good if the block fails.

    Raises:
        MaskDetectionError: the folder is missing or refuses the file, or the disk is full.
    """
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        check_can_write(path)
        yield part
        os.replace(part, path)  # noqa: PTH105  (Path.replace would hide that this is the atomic step)
    except OSError as error:
        raise MaskDetectionError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        part.unlink(missing_ok=True)


def check_can_write(path: Path) -> None:
    """Find out before long work whether a file can be written there later.

    Raises:
        MaskDetectionError: ``path`` is a folder, or its folder is missing or denies writing.
    """
    if path.is_dir():
        raise MaskDetectionError(f"{path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise MaskDetectionError(f"{path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise MaskDetectionError(f"{path}: the folder {path.parent} denies writing; name another place")
