"""Reading files whole, and writing them so that they appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from mask_detection.utils.errors import MaskDetectionError, OutputError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, which itself keeps open files from being renamed or deleted
    fcntl = None

LFS_POINTER_START = b"version https://git-lfs.github.com/spec/"
ATOMIC_PART, GROWING_PART = ".tmp.part", ".part"  # of no use when a run is killed; of use as far as it got
PART_NAME = re.compile(r"(?P<stem>.+)\.[0-9a-f]{8}(?P<ending>\.tmp\.part|\.part)(?P<suffix>\.[^.]*)?")
MAX_READ_BYTES = 2 << 30  # of images and models
MAX_NAME_BYTES = 255  # of most file systems
OPEN_FILES = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")  # names for what a shell has opened for us


def read_whole(path: Path, what: str) -> bytes:
    """Read a file that has to hold something.

    Args:
        path: the file.
        what: what it should be, for the message, such as ``"an image"``.

    Raises:
        MaskDetectionError: it is missing, a folder, a pipe or device, not readable, empty, larger than
            ``MAX_READ_BYTES``, or a Git-LFS pointer.
    """
    return _read(path, what, -1)


def read_start(path: Path, what: str, n_bytes: int = 64) -> bytes:
    """Read the first bytes of a file, to tell its kind; see :func:`read_whole`."""
    return _read(path, what, n_bytes)


def _read(path: Path, what: str, n_bytes: int) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # it may wait or go on for ever
            raise MaskDetectionError(f"{path}: is a pipe or device, not {what}; save it as a file first")
        if n_bytes < 0 and status.st_size > MAX_READ_BYTES:
            raise MaskDetectionError(f"{path}: has {status.st_size:,} bytes, too many for {what}; check what it is")
        with path.open("rb") as file:
            data = file.read(n_bytes)
    except (FileNotFoundError, ValueError):  # ValueError: a character 0 in the name
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
    """Yield a name of its own beside ``path`` to write to; move it to ``path`` when the block ends without error.

    Whatever stood at ``path`` before stays there until then, and for good if the block fails. A link stays, and the
    file that it leads to is replaced. What is no regular file (see :func:`is_special`) gets the bytes written into it.

    Raises:
        OutputError: the folder is missing or refuses the file, or the disk is full.
    """
    check_can_write(path)
    if is_special(path):
        with _written_into(path) as part:
            yield part
        return
    target = link_target(path)
    _remove_halves(target)
    part = part_name(target, ATOMIC_PART)
    try:
        with _locked_file(part):
            yield part
            part.replace(target)
    except OSError as error:
        if _is_foreign(error, part):
            raise
        raise cannot_write(path, error) from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _written_into(path: Path) -> Iterator[Path]:
    """Yield a temporary file of the same name, whose bytes then go into a device, a pipe or a file that is open."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, path.name)
        yield whole
        try:
            with open_to_append(path, "ab") as stream:
                stream.write(whole.read_bytes())
        except OSError as error:
            raise cannot_write(path, error) from None


@contextmanager
def _locked_file(part: Path) -> Iterator[None]:
    """Hold a new file locked, so that no other run takes it for one that was left behind."""
    if fcntl is None or part.suffix == ".h5":  # HDF5 locks its files itself, and opens none that others locked
        yield
        return
    with part.open("xb") as file:
        lock(file.fileno())
        yield


def _is_foreign(error: OSError, part: Path) -> bool:
    """Tell whether an error was another file's than this one's, or that of standard output, whose reader has left."""
    return isinstance(error, BrokenPipeError) or error.filename not in (None, part, str(part))


def _remove_halves(target: Path) -> None:
    """Delete what runs that were killed had of this file."""
    for half in _halves_in(target.parent).pop(_part_key(target), []):
        if not is_locked(half):
            with suppress(OSError):
                half.unlink()


@lru_cache(maxsize=64)
def _halves_in(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """The files that other runs had not finished when this run first wrote into a folder, by what they were to be."""
    halves: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in folder.iterdir():
        match = PART_NAME.fullmatch(path.name)
        if match and match["ending"] == ATOMIC_PART:
            halves[match["stem"], match["suffix"] or ""].append(path)
    return halves


# --- names ---


def link_target(path: Path) -> Path:
    """The path itself, or where it leads as a link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def part_name(target: Path, ending: str = GROWING_PART) -> Path:
    """A new name for a file while it is being made; the suffix stays, as it tells libraries the format."""
    return target.with_name(f"{_part_key(target)[0]}.{secrets.token_hex(4)}{ending}{target.suffix}")


def part_files(target: Path) -> list[Path]:
    """The files of this and of other runs, dead or alive, that are to get the name of a growing output."""
    with suppress(OSError):  # no such folder
        matches = {path: PART_NAME.fullmatch(path.name) for path in target.parent.iterdir()}
        key = _part_key(target)
        return sorted(
            path
            for path, match in matches.items()
            if match and match["ending"] == GROWING_PART and (match["stem"], match["suffix"] or "") == key
        )
    return []


def part_of(path: Path) -> Path | None:
    """What a part file is to become; None for any other file."""
    real = Path(os.path.realpath(path))
    match = PART_NAME.fullmatch(real.name)
    return real.with_name(match["stem"] + (match["suffix"] or "")) if match else None


def recovered_name(target: Path) -> Path:
    """The next free ``NAME.recovered-1.EXT`` for what a run had of a file when it failed or was killed."""
    stem, suffix = _part_key(target)
    n = 1
    while os.path.lexists(recovered := target.with_name(f"{stem}.recovered-{n}{suffix}")):
        n += 1
    return recovered


def _part_key(target: Path) -> tuple[str, str]:
    """The stem, cut where the names made of it would be too long, and the suffix."""
    room = MAX_NAME_BYTES - len(os.fsencode(f".12345678{ATOMIC_PART}{target.suffix}"))
    return os.fsdecode(os.fsencode(target.stem)[:room]), target.suffix


# --- locks ---


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed, also by the end of the process.

    Returns:
        False where another has locked it. True also where this system knows no locks.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # some network file systems have no locks
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
    return True


def is_locked(path: Path) -> bool:
    """Tell whether a regular file or a folder is locked by someone, this process included."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # gone meanwhile, or not ours to touch
        return path.exists()
    try:
        return not lock(descriptor)
    finally:
        os.close(descriptor)


# --- what can be written, and where ---


def cannot_write(path: Path, error: OSError) -> OutputError:
    """What to tell the user of a failed write."""
    reason = os.strerror(error.errno) if error.errno else error  # HDF5 puts a paragraph into ``strerror``
    return OutputError(f"{path}: cannot be written ({reason}); make room or name another place")


def is_special(path: Path) -> bool:
    """Tell whether a path leads to what is written into and never replaced: a device, a pipe, a file that is open."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # not there, or no name that a file can have
        return False
    return str(path).startswith(OPEN_FILES) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there yet.

    Raises:
        MaskDetectionError: the place denies it, or a file has that name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaskDetectionError(f"{path}: cannot be made a folder ({error.strerror}); name another place") from None


def open_to_append(path: Path, mode: str = "a", **how: Any) -> IO[Any]:
    """Open a file, a device or a pipe to write at its end; the arguments are those of ``open``.

    Names of files that a shell has opened give these, not the file anew: with a place of its own to write at, one of
    the two would write over what came from the other.
    """

    def descriptor(name: str, flags: int) -> int:
        if not name.startswith(OPEN_FILES):
            return os.open(name, flags, 0o666)
        number = {"stdout": 1, "stderr": 2}.get(path.name) or int(path.name)
        if number == 2 and sys.stderr is not None:  # while native libraries are kept silent, it has another number
            number = sys.stderr.fileno()
        return os.dup(number)

    return open(str(path), mode, opener=descriptor, **how)


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
        OutputError: ``path`` is a folder, its name is too long, or its folder is missing or denies writing.
    """
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file in it")
    except OSError as error:
        raise cannot_write(path, error) from None
    if is_special(path):
        return
    folder = link_target(path).parent
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: the folder {folder} denies writing; name another place")


def list_files(
    folder: Path,
    *,
    subfolders: bool = True,
    follow_links: bool = True,
    on_link_out: Callable[[Path], None] | None = None,
    on_error: Callable[[MaskDetectionError], None] | None = None,
) -> list[Path]:
    """List the files of a folder by path, without names that begin with a dot, pipes and devices.

    Args:
        folder: where to look.
        subfolders: whether to look into the folders below it, to the bottom.
        follow_links: whether to look into folders that links lead to, each once.
        on_link_out: is given each link that leads out of the folder, which is not followed then.
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

    def goes_on(path: Path) -> bool:
        if on_link_out is None or not leads_out_of(folder, path):
            return True
        on_link_out(path)
        return False

    files: list[Path] = []
    seen: set[str] = set()
    for place, below, names in os.walk(folder, onerror=refuse, followlinks=follow_links):
        is_new = (real := os.path.realpath(place)) not in seen
        seen.add(real)
        visible = [[name for name in some if is_new and not name.startswith(".")] for some in (below, names)]
        below[:] = sorted(name for name in visible[0] if subfolders and goes_on(Path(place, name)))
        files += [path for name in visible[1] if goes_on(path := Path(place, name))]
    return sorted(path for path in files if os.path.isfile(path) or not os.path.exists(path))  # noqa: PTH110, PTH113


def leads_out_of(folder: Path, path: Path) -> bool:
    """Tell whether a path below a folder is a link to elsewhere."""
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
