"""HDF5 models that may come from anywhere: a child process copies what a model needs to a fresh file.

One damaged byte can make the HDF5 library search for ever, so it meets files of others only where it can be stopped.
And an HDF5 file may say that its numbers lie in other files, which HDF5 then reads: only what lies in the file itself
is copied.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mask_detection.utils import sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_start

if TYPE_CHECKING:
    import keras

READING_S = 60.0  # until a file that is not read counts as damaged
READING_CPU_S = 10  # likewise, on the processor; 100 MB take less than one
MAX_MODEL_BYTES = 2 << 30  # of all arrays and attributes; compressed, even a small file can announce any size
READING_MEMORY = 2 * MAX_MODEL_BYTES
TRAINING_PARTS = frozenset({"optimizer_weights", "optimizer"})  # of a whole model, of weights alone
MAX_ENTRY_BYTES = 8192  # that HDF5 keeps about each array and each group, beside its numbers
CHUNK_BYTES = 16 << 20
DISK_FULL = (errno.ENOSPC, errno.EFBIG)


def check_room(path: Path, model: keras.Model) -> None:
    """Find out whether a model's file will fit on the disk: where it doesn't, the HDF5 library may crash.

    Args:
        path: it is overwritten, with as many bytes as writing the model takes at most.
        model: what is to be written there.

    Raises:
        OSError: it will not fit.
    """
    n_entries = len(model.weights) + len(model.layers)
    n_bytes = sum(weight.nbytes for weight in model.get_weights()) + len(model.to_json()) + n_entries * MAX_ENTRY_BYTES
    _try_room(path, n_bytes)


def _try_room(path: Path, n_bytes: int) -> None:
    with path.open("wb") as file:
        for start in range(0, n_bytes, CHUNK_BYTES):
            file.write(bytes(min(CHUNK_BYTES, n_bytes - start)))


def copy_model(source: Path, target: Path) -> dict[str, Any]:
    """Copy a model's description and weights, or weights alone; not the state of its training.

    Args:
        source: any file.
        target: the file to write, in a temporary folder.

    Returns:
        The attributes of the file: text as ``str``, anything else as h5py gives it.

    Raises:
        MaskDetectionError: the source is missing, no HDF5 file, damaged, larger than ``MAX_MODEL_BYTES``, or reads
            other files; or there is no room for the copy.
    """
    read_start(source, "a model")
    n_bytes = source.stat().st_size
    try:
        _try_room(target, min(n_bytes, MAX_MODEL_BYTES))
    except OSError as error:
        raise no_room_for(source, error) from None
    files = str(source.resolve()), str(target)
    result = sandbox.run(copy_content, *files, timeout_s=READING_S, cpu_s=READING_CPU_S, memory=READING_MEMORY)
    for number in DISK_FULL:
        if f"[Errno {number}]" in result.fault:
            raise no_room_for(source, OSError(number, os.strerror(number)))
    if result.fault:
        raise MaskDetectionError(
            f"{source}: is not a whole Keras model; get the file again or train a new one ({result.fault[:200]})"
        )
    with h5py.File(target) as file:
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}


@contextmanager
def safe_copy(source: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a temporary copy of a model, and its attributes; raises as :func:`copy_model`."""
    try:
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    except OSError as error:
        raise no_room_for(source, error) from None
    with folder as name:
        copy = Path(name, "copy.weights.h5")  # Keras insists on the one suffix for models, on both for weights
        yield copy, copy_model(source, copy)


def no_room_for(source: Path, error: OSError) -> MaskDetectionError:
    """What to tell the user where a model cannot be copied before it is read."""
    try:
        place = tempfile.gettempdir()
    except OSError:  # none of the usual folders can be written
        place = "/tmp"  # noqa: S108
    return MaskDetectionError(
        f"{source}: cannot be read, as the temporary folder {place} has no room for a copy ({error.strerror}); "
        "make room there, or name another folder with TMPDIR"
    )


def read_attributes(path: Path) -> dict[str, Any]:
    """What a model says of itself; returns and raises as :func:`copy_model`."""
    with safe_copy(path) as (_, attributes):
        return attributes


def copy_content(source: str, target: str) -> None:
    """Copy a model in this very process; see :func:`copy_model`.

    Raises:
        ValueError: the model is too large, or reads other files.
        Exception: whatever damage leads h5py to.
    """
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        copy = _PlainCopy()
        copy.copy_group(old, new, TRAINING_PARTS)
        copy.copy_arrays()


class _PlainCopy:
    """Copies groups with what lies in the file itself, up to ``MAX_MODEL_BYTES``.

    The arrays come last, when it is known that all fit: filling memory with those of a harmful file takes long.
    """

    def __init__(self) -> None:
        self._n_bytes = 0
        self._arrays: list[tuple[str, h5py.Dataset, h5py.Group]] = []

    def copy_group(self, old: h5py.Group, new: h5py.Group, left_out: Collection[str] = ()) -> None:
        """Copy the attributes and the groups of a group, but those of some names, and note its arrays."""
        for name in old.attrs:
            self._copy_attribute(name, old, new)
        for name in old:
            if name not in left_out:
                self._copy_entry(name, old, new)

    def _copy_entry(self, name: str, old: h5py.Group, new: h5py.Group) -> None:
        if not isinstance(old.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link, perhaps to another file")
        item = old[name]
        if isinstance(item, h5py.Group):
            self._count(name, MAX_ENTRY_BYTES)
            self.copy_group(item, new.create_group(name))
            return
        if not isinstance(item, h5py.Dataset) or item.dtype.hasobject:
            raise ValueError(f"{name} is no array of numbers")
        if item.is_virtual or item.id.get_create_plist().get_external_count():
            raise ValueError(f"the numbers of {name} are to be read from another file")
        self._count(name, item.nbytes + MAX_ENTRY_BYTES)
        self._arrays.append((name, item, new))

    def copy_arrays(self) -> None:
        """Copy the arrays of all groups."""
        for name, item, new in self._arrays:
            new[name] = item[()]

    def _copy_attribute(self, name: str, old: h5py.Group, new: h5py.Group) -> None:
        announced = old.attrs.get_id(name)
        self._count(name, math.prod(announced.shape or ()) * announced.dtype.itemsize)
        value = old.attrs[name]
        if announced.dtype.hasobject:  # texts, whose lengths it doesn't announce
            self._count(name, sum(len(text) for text in np.ravel(value)))
        new.attrs[name] = value.decode() if isinstance(value, bytes) else value  # long bytes would not fit

    def _count(self, name: str, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        if self._n_bytes > MAX_MODEL_BYTES:
            raise ValueError(f"with {name} it has {self._n_bytes:,} bytes")
