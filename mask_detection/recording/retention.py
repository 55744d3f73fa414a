"""Recordings are deleted when they are too old or too large together: the oldest first, and none that isn't listed.

A manifest lies beside the recordings and lists them, so that no other file is ever deleted, and that the next run goes
on with those of this one.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mask_detection.io.growing import Mend, growing_table, recover_parts
from mask_detection.utils.errors import OutputError
from mask_detection.utils.files import atomic_write

HEADER = '{"manifest": "recordings that are deleted when they are too old or too large together"}'

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """A finished file.

    Attributes:
        path: where it is.
        n_bytes: how large it is.
        modified_ns: when it was modified last, as ``os.stat`` says.
    """

    path: Path
    n_bytes: int
    modified_ns: int


class Manifest:
    """The list of the recordings of one output, made by :func:`open_manifest`."""

    def __init__(self, path: Path, write_line: Callable[[str], None]) -> None:
        self._folder = path.parent
        self._write_line = write_line
        self.recordings: dict[str, Recording] = {}  # by name, in the order in which they were finished

    def begin(self, path: Path) -> None:
        """List a file that is about to be made, so that another run finds what is left of it after a power cut."""
        self._append(file=path.name)

    def finish(self, path: Path) -> None:
        """List what a file has become: itself, and what was recovered of it."""
        for file in (path, *sorted(path.parent.glob(f"{_escaped(path.stem)}.recovered-*{path.suffix}"))):
            with suppress(FileNotFoundError):
                facts = file.lstat()
                if file.name not in self.recordings and stat.S_ISREG(facts.st_mode):
                    self.recordings[file.name] = Recording(file, facts.st_size, facts.st_mtime_ns)
                    self._append(file=file.name, bytes=facts.st_size, modified_ns=facts.st_mtime_ns)

    def delete(self, recording: Recording) -> None:
        """Delete a recording, unless it is another file by now."""
        with suppress(FileNotFoundError):
            facts = recording.path.lstat()
            is_same = (facts.st_size, facts.st_mtime_ns) == (recording.n_bytes, recording.modified_ns)
            if stat.S_ISREG(facts.st_mode) and is_same:
                recording.path.unlink()
        del self.recordings[recording.path.name]
        self._append(file=recording.path.name, deleted=True)

    def _append(self, **entry: Any) -> None:
        self._write_line(json.dumps(entry) + "\n")


@contextmanager
def open_manifest(path: Path, mend: Mend) -> Iterator[Manifest]:
    """Open a manifest, with the recordings of earlier runs.

    Args:
        path: its name, in the folder of the recordings.
        mend: cuts off what is not complete of a recording, see :func:`mask_detection.io.growing.recover_parts`.

    Raises:
        OutputError: another run uses it, it is another file, or it cannot be written.
    """
    recordings, begun = _read(path)
    _shorten(path, recordings, begun)
    with growing_table(path, HEADER) as stream:

        def write_line(line: str) -> None:
            stream.write(f"{HEADER}\n{line}" if stream.is_empty else line)
            stream.flush()

        manifest = Manifest(path, write_line)
        manifest.recordings = recordings
        for name in begun:
            recover_parts(path.with_name(name), mend)
            manifest.finish(path.with_name(name))
        yield manifest


def _read(path: Path) -> tuple[dict[str, Recording], list[str]]:
    """The recordings that a manifest lists, and the names of those that were begun; what is no entry is left out."""
    recordings: dict[str, Recording] = {}
    begun: dict[str, None] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[1:] if path.is_file() else []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            entry = json.loads(line)
            name = entry["file"]
            if os.path.basename(name) != name or name in ("", ".", ".."):  # noqa: PTH119 (an entry leads nowhere else)
                continue
            begun.pop(name, None)
            recordings.pop(name, None)
            if "bytes" in entry:
                recordings[name] = Recording(path.with_name(name), int(entry["bytes"]), int(entry["modified_ns"]))
            elif not entry.get("deleted"):
                begun[name] = None
    return recordings, [*begun]


def _shorten(path: Path, recordings: dict[str, Recording], begun: list[str]) -> None:
    """Write a manifest anew without the recordings that are gone."""
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace").split("\n")[0] != HEADER:
        return
    entries = [{"file": r.path.name, "bytes": r.n_bytes, "modified_ns": r.modified_ns} for r in recordings.values()]
    with growing_table(path, HEADER), atomic_write(path) as part:  # locked, as another run may use it
        lines = [HEADER, *map(json.dumps, entries), *(json.dumps({"file": name}) for name in begun)]
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Retention:
    """Keeps the recordings of all manifests of a run within limits."""

    def __init__(self, keep_bytes: float | None, keep_s: float | None, clock: Callable[[], float] = time.time) -> None:
        """Set the limits.

        Args:
            keep_bytes: that the recordings may have together; None for any number.
            keep_s: seconds that each is kept after it was finished; None for ever.
            clock: gives seconds since 1970.
        """
        self._keep_bytes = keep_bytes
        self._keep_s = keep_s
        self._clock = clock
        self.manifests: list[Manifest] = []

    def tidy(self) -> None:
        """Delete what is too much; what cannot be deleted is logged and stays listed."""
        listed = [(recording, manifest) for manifest in self.manifests for recording in manifest.recordings.values()]
        listed.sort(key=lambda entry: entry[0].modified_ns)
        n_bytes = sum(recording.n_bytes for recording, _ in listed)
        oldest_ns = (self._clock() - self._keep_s) * 1e9 if self._keep_s is not None else 0.0
        for recording, manifest in listed:
            is_too_much = self._keep_bytes is not None and n_bytes > self._keep_bytes
            if not is_too_much and recording.modified_ns >= oldest_ns:
                return
            try:
                manifest.delete(recording)
            except (OSError, OutputError) as error:
                reason = getattr(error, "strerror", None) or error
                logger.error(
                    "error: %s: cannot be deleted (%s); check its folder's permissions", recording.path, reason
                )
                return
            n_bytes -= recording.n_bytes


def _escaped(stem: str) -> str:
    """A name in which ``glob`` sees no patterns."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in stem)
