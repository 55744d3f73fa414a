"""Reading files whole, writing them so that they get their name only when they are whole, and listing folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mask_detection.utils.errors import MaskDetectionError

LFS_POINTER_START = b"version https://git-lfs.github.com/spec/"


def read_whole(path: Path, what: str) -> bytes:
    """Read a file that has to hold something.

    Args:
        path: the file.
        what: what it should be, for the message, such as ``"an image"``.

    Raises:
        MaskDetectionError: it is missing, a folder, not readable, empty, or a Git-LFS pointer.
    """
    return _read(path, what, -1)


def read_start(path: Path, what: str, n_bytes: int = 64) -> bytes:
    """Read the first bytes of a file, to tell its kind; see :func:`read_whole`."""
    return _read(path, what, n_bytes)


def _read(path: Path, what: str, n_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(n_bytes)
    except FileNotFoundError:
        raise MaskDetectionError(f"{path}: no such file; check the path") from None
    except IsADirectoryError:
        raise MaskDetectionError(f"{path}: is a folder, not {what}; name the file itself") from None
    except OSError as error:
        raise MaskDetectionError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not data:
        raise MaskDetectionError(f"{path}: is empty (0 bytes), not {what}; get the file again")
    if data.startswith(LFS_POINTER_START):
        raise MaskDetectionError(f"{path}: is a Git-LFS pointer, not {what}; run `git lfs pull` or get the file itself")
    return data


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield ``NAME.part.EXT`` beside ``path`` to write to; move it to ``path`` when the block ends without error.

    Whatever stood at ``path`` before stays there until then, and for good if the block fails.

    Raises:
        MaskDetectionError: the folder is missing or refuses the file, or the disk is full.
    """
    check_can_write(path)
    part = part_path(path)
    try:
        yield part
        part.replace(path)
    except BrokenPipeError:  # standard output's, not this file's
        raise
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def growing_output(path: Path) -> Iterator[Path]:
    """Like :func:`atomic_write`, for what is of use however far it got: it is moved also after an error or Ctrl-C.

    Only an ``OSError``, which says that it could not be written as far as that, leaves what was there before; so does
    a file in which nothing was written.
    """
    check_can_write(path)
    part = part_path(path)
    try:
        yield part
    except BrokenPipeError:  # standard output's, not this file's
        raise
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(path, error) from None
    finally:
        if part.exists() and part.stat().st_size:
            part.replace(path)
        part.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> MaskDetectionError:
    """The error that a failed write becomes."""
    reason = os.strerror(error.errno) if error.errno else error  # HDF5 puts a paragraph into ``strerror``
    return MaskDetectionError(f"{path}: cannot be written ({reason}); make room or name another place")


def part_path(path: Path) -> Path:
    """The name that a file has while it is being made; the suffix stays, as it tells libraries the format."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there yet.

    Raises:
        MaskDetectionError: the place denies it, or a file has that name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaskDetectionError(f"{path}: cannot be made a folder ({error.strerror}); name another place") from None


def check_can_fill(folder: Path) -> None:
    """Find out before long work whether files can be written later into a folder that may have to be made first.

    Raises:
        MaskDetectionError: the folder, or the one above it that is there, is a file or denies writing.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise MaskDetectionError(f"{folder}: cannot be made a folder ({there} is a file); name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise MaskDetectionError(f"{folder}: the folder {there} denies writing; name another place")


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


def list_files(
    folder: Path,
    *,
    subfolders: bool = True,
    follow_links: bool = True,
    on_error: Callable[[MaskDetectionError], None] | None = None,
) -> list[Path]:
    """List the files of a folder by path, without names that begin with a dot, pipes and devices.

    Args:
        folder: where to look.
        subfolders: whether to look into the folders below it, to the bottom.
        follow_links: whether to look into folders that links lead to, each once.
        on_error: is given what is wrong with a folder that cannot be listed, and its files are missing; without it
            the first such error is raised.

    Returns:
        Files and dead links, which reading then reports.

    Raises:
        MaskDetectionError: one of the folders cannot be listed, without ``on_error``.
    """

    def refuse(error: OSError) -> None:
        fault = f"{error.filename}: cannot be listed ({error.strerror}); check the path and its permissions"
        if on_error is None:
            raise MaskDetectionError(fault)
        on_error(MaskDetectionError(fault))

    files: list[Path] = []
    seen: set[str] = set()
    for place, below, names in os.walk(folder, onerror=refuse, followlinks=follow_links):
        is_new = (real := os.path.realpath(place)) not in seen
        seen.add(real)
        below[:] = sorted(name for name in below if subfolders and is_new and not name.startswith("."))
        files += [Path(place, name) for name in names if is_new and not name.startswith(".")]
    return sorted(path for path in files if os.path.isfile(path) or not os.path.exists(path))  # noqa: PTH110, PTH113
