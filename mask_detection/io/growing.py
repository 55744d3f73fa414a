"""Outputs that grow during a run and are kept as far as they got, however it ends: videos, lists, logs.

While it grows, an output is a part file, ``NAME.1a2b3c4d.part.EXT``, locked as long as its run lives. The part files of
runs that were killed become recovered files, ``NAME.recovered-1.EXT``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mask_detection.utils.errors import OutputError
from mask_detection.utils.files import (
    cannot_write,
    check_can_write,
    is_locked,
    is_special,
    link_target,
    lock,
    open_to_append,
    part_files,
    part_name,
    recovered_name,
)
from mask_detection.utils.interrupts import finishing

FOLDER_LOCK_S = 2.0  # another run needs its folder for an instant only, while it looks for part files
CHUNK_BYTES = 1 << 16

logger = logging.getLogger(__name__)

Mend = Callable[[Path], bool]  # cuts off what is not complete; tells whether something is left


class GrowingOutput:
    """An output in the making.

    Attributes:
        path: what the user called it.
        part: where to write it.
        has_failed: whether it could not be written, so that it is not what it should be.
    """

    def __init__(self, path: Path, part: Path) -> None:
        self.path = path
        self.part = part
        self.has_failed = False

    @property
    def is_special(self) -> bool:
        """Whether it is written into a device or a pipe, from which nothing can be read back."""
        return self.part == self.path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wrap everything that writes to it, so that its faults are told from those of others.

        Raises:
            OutputError: at the first fault; what fails afterwards, as closing does, is the same once more.
        """
        try:
            yield
        except (OSError, OutputError) as error:
            if self.has_failed:
                return
            self.has_failed = True
            raise (cannot_write(self.path, error) if isinstance(error, OSError) else error) from None


@contextmanager
def growing_output(path: Path, mend: Mend) -> Iterator[GrowingOutput]:
    """Yield an output that gets its name when the block ends, also by an error elsewhere or by Ctrl-C.

    If it fails itself, an older file keeps the name, and what was complete becomes a recovered file. The same becomes
    of part files that killed runs left.

    Args:
        path: the output's name. A link stays, what it leads to is replaced; see also ``is_special`` of
            :mod:`mask_detection.utils.files`.
        mend: for what did not end well.

    Raises:
        OutputError: another run is writing it, or the place denies it.
    """
    check_can_write(path)
    if is_special(path):
        yield GrowingOutput(path, path)
        return
    target = link_target(path)
    try:
        part, descriptor = _claim(path, target, mend)
    except OSError as error:
        raise cannot_write(path, error) from None
    output = GrowingOutput(path, part)
    try:
        yield output
    finally:
        with finishing():
            try:
                _settle(output, target, mend, descriptor)
            except OSError as error:
                raise cannot_write(path, error) from None


def refuse_busy(path: Path) -> None:
    """Find out before long work whether another run is writing an output.

    Raises:
        OutputError: so it is.
    """
    target = link_target(path)
    candidates = [*part_files(target), *([target] if target.is_file() or target.is_dir() else [])]
    if any(is_locked(candidate) for candidate in candidates):
        raise _busy(path)


def _busy(path: Path) -> OutputError:
    return OutputError(f"{path}: another run is writing it; wait for that run or name another output")


def _claim(path: Path, target: Path, mend: Mend) -> tuple[Path, int | None]:
    """Make a part file and lock it; keep those of runs that were killed.

    Returns:
        The part file, and what holds its lock, if this system has locks.
    """
    with _alone_in(target.parent):
        for leftover in part_files(target):
            if is_locked(leftover):
                raise _busy(path)
            _recover(leftover, path, target, mend)
        part = part_name(target)
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        if os.name == "nt":  # where nobody could rename it afterwards
            os.close(descriptor)
            return part, None
        lock(descriptor)
        return part, descriptor


def recover_parts(path: Path, mend: Mend) -> None:
    """Make recovered files of the part files that killed runs left of an output.

    Raises:
        OutputError: the place denies it.
    """
    target = link_target(path)
    try:
        for leftover in part_files(target):
            if not is_locked(leftover):
                _recover(leftover, path, target, mend)
    except OSError as error:
        raise cannot_write(path, error) from None


def _recover(leftover: Path, path: Path, target: Path, mend: Mend) -> None:
    mend(leftover)
    if not leftover.stat().st_size:
        leftover.unlink()
        return
    recovered = recovered_name(target)
    try:
        leftover.rename(recovered)
    except PermissionError:  # Windows says so of a file that is open
        raise _busy(path) from None
    logger.warning("%s: a run that did not end has left a part of it; it is kept as %s", path, recovered)


def _settle(output: GrowingOutput, target: Path, mend: Mend, descriptor: int | None) -> None:
    """Give a part file its name, or that of a recovered file if it failed; it stays locked until it has that name."""
    part = output.part
    try:
        if not part.stat().st_size:
            part.unlink()
        elif not output.has_failed:
            part.replace(target)
        elif mend(part) and part.stat().st_size:
            recovered = part.rename(recovered_name(target))
            logger.warning("%s: what was complete of it is kept as %s", output.path, recovered)
        else:
            part.unlink()
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one run at a time look for part files and make its own; a lock that is never released is not waited for."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield
        return
    try:
        deadline = time.monotonic() + FOLDER_LOCK_S
        while not lock(descriptor) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep a folder of outputs for one run.

    Raises:
        OutputError: another run is writing there.
    """
    if os.name == "nt":  # where no folder can be opened
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not lock(descriptor):
            raise _busy(folder)
        yield
    finally:
        os.close(descriptor)


# --- text ---


class GrowingText:
    """Lines in the making, with what ``csv.writer`` needs of a file."""

    def __init__(self, output: GrowingOutput, stream: IO[str], has_old_text: bool = False) -> None:
        """Write to a stream.

        Args:
            output: what is written.
            stream: its file, opened.
            has_old_text: whether the file holds the lines of an earlier run, to be removed when the first one comes.
        """
        self._output = output
        self._stream = stream
        self._has_old_text = has_old_text
        self.is_empty = True

    def write(self, text: str) -> None:
        """Append whole lines."""
        with self._output.writing():
            if self._has_old_text and self.is_empty:
                self._stream.truncate(0)
            self.is_empty = False
            self._stream.write(text)

    def flush(self) -> None:
        """Let others see what was written."""
        with self._output.writing():
            self._stream.flush()


@contextmanager
def growing_text(path: Path) -> Iterator[GrowingText]:
    """Yield lines that get their name when the block ends; see :func:`growing_output`.

    Raises:
        OutputError: another run is writing it, the place denies it, or the disk is full.
    """
    with growing_output(path, cut_after_last_line) as output:
        with output.writing():
            stream = open_to_append(output.part, encoding="utf-8", errors="surrogateescape", newline="")
        try:
            yield GrowingText(output, stream)
        finally:
            with finishing(), output.writing():
                stream.close()


@contextmanager
def growing_log(path: Path) -> Iterator[GrowingText]:
    """Yield lines that grow under their own name, to be read meanwhile; an older file is emptied by the first of them.

    Raises:
        OutputError: another run is writing it, the place denies it, or the disk is full.
    """
    with _growing_in_place(path) as (output, stream):
        yield GrowingText(output, stream, has_old_text=not is_special(path))


@contextmanager
def growing_table(path: Path, header: str) -> Iterator[GrowingText]:
    """Yield lines that grow under their own name, after those of earlier runs.

    Args:
        path: the file's name.
        header: the first line that an older file has to have.

    Raises:
        OutputError: so it hasn't, another run is writing it, the place denies it, or the disk is full.
    """
    with _growing_in_place(path) as (output, stream):
        text = GrowingText(output, stream)
        with output.writing():
            text.is_empty = is_special(path) or not _has_table(path, header)
        yield text


def _has_table(path: Path, header: str) -> bool:
    """Tell whether a file holds the lines of an earlier run; half a line at their end is removed.

    Raises:
        OutputError: it holds something else.
    """
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        first = file.readline(len(header) + 2)
    if not any(f"{header}{ending}".startswith(first) for ending in ("\n", "\r\n")):
        raise OutputError(f"{path}: holds something else, or other columns; name another file")
    if not cut_after_last_line(path):
        os.truncate(path, 0)
        return False
    return True


@contextmanager
def _growing_in_place(path: Path) -> Iterator[tuple[GrowingOutput, IO[str]]]:
    """Open a file to append to, and hold it locked; one that is new and gets nothing is removed."""
    check_can_write(path)
    output = GrowingOutput(path, path)
    is_new = not path.exists()
    with output.writing():
        stream = open_to_append(path, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        if not is_special(path) and not lock(stream.fileno()):
            raise _busy(path)
        yield output, stream
    finally:
        with finishing(), output.writing():
            stream.close()
            if is_new and not path.stat().st_size:
                path.unlink()


def cut_after_last_line(path: Path) -> bool:
    """Remove the half line at the end of a text file; tell whether whole ones are left."""
    with suppress(OSError), path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - CHUNK_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return True
            end = start
    return False
