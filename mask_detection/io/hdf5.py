"""HDF5 models that may come from anywhere: a child process copies what a model needs to a fresh file.

One damaged byte can make the HDF5 library search for ever, so it meets files of others only where it can be stopped.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from mask_detection.utils import sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import cannot_write

if TYPE_CHECKING:
    import keras

READING_S = 60.0  # until a file that is not read counts as damaged
READING_CPU_S = 10  # likewise, on the processor; 100 MB take less than one
MAX_ARRAY_BYTES = 2 << 30  # compressed, even a small file can announce any size
MAX_ENTRY_BYTES = 8192  # that HDF5 keeps about each array and each group, beside its numbers
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
    path.write_bytes(bytes(n_bytes))


def copy_model(source: Path, target: Path) -> dict[str, Any]:
    """Copy a model's description and weights; the state of its training is left out.

    Args:
        source: any file.
        target: the file to write.

    Returns:
        The attributes of the file: text as ``str``, anything else as h5py gives it.

    Raises:
        MaskDetectionError: the source is no HDF5 file, or damaged, or the disk is full.
    """
    files = str(source.resolve()), str(target)
    result = sandbox.run(copy_content, *files, timeout_s=READING_S, cpu_s=READING_CPU_S)
    for number in DISK_FULL:
        if f"[Errno {number}]" in result.fault:
            raise cannot_write(target, OSError(number, os.strerror(number)))
    if result.fault:
        raise MaskDetectionError(
            f"{source}: is not a whole Keras model; get the file again or train a new one ({result.fault[:200]})"
        )
    with h5py.File(target) as file:
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}


def read_attributes(path: Path) -> dict[str, Any]:
    """What a model says of itself; returns and raises as :func:`copy_model`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return copy_model(path, Path(folder, "model.h5"))


def copy_content(source: str, target: str) -> None:
    """Copy a model in this very process; see :func:`copy_model`.

    Raises:
        Exception: whatever damage leads h5py to.
    """
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        _copy_attributes(old, new)
        if "model_weights" in old:
            _copy_group(old["model_weights"], new.create_group("model_weights"))


def _copy_group(old: h5py.Group, new: h5py.Group) -> None:
    _copy_attributes(old, new)
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _copy_group(item, new.create_group(name))
        elif item.nbytes > MAX_ARRAY_BYTES:
            raise ValueError(f"{name} has {item.nbytes:,} bytes")
        else:
            new[name] = item[()]


def _copy_attributes(old: h5py.Group, new: h5py.Group) -> None:
    for name, value in old.attrs.items():
        new.attrs[name] = value.decode() if isinstance(value, bytes) else value  # long bytes would not fit
