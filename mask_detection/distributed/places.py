"""Where photos, lists and results lie: local folders, and object stores as pyarrow reaches them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow.fs as fs

from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import MAX_READ_BYTES, atomic_write, make_folder, read_whole
from mask_detection.utils.urls import scheme_of

STORES = ("s3", "gs")  # schemes of object stores
BUCKET = re.compile(r"[A-Za-z0-9][\w.-]*")  # without a user and password, which records would show


@dataclass(frozen=True)
class Place:
    """A file or folder, or an object or prefix of a store.

    Attributes:
        address: absolute path, or address such as ``s3://bucket/photos``.
        filesystem: what reads and writes it.
        path: what it is called there.
    """

    address: str
    filesystem: fs.FileSystem
    path: str

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.address}/{name}", self.filesystem, f"{self.path}/{name}")

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def kind(self) -> fs.FileType:
        """What is there.

        Raises:
            MaskDetectionError: the store cannot be reached or refuses an answer.
        """
        try:
            return self.filesystem.get_file_info(self.path).type
        except OSError as error:
            raise cannot_read(self.address, error) from None

    def files(self, recursive: bool = False) -> list[Place]:
        """The files in a folder; none where it doesn't exist.

        Raises:
            MaskDetectionError: it cannot be listed.
        """
        selector = fs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
        try:
            found = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise cannot_read(self.address, error) from None
        start = len(self.path.rstrip("/")) + 1
        paths = sorted(info.path for info in found if info.type == fs.FileType.File)
        base = self.address.rstrip("/")
        return [Place(f"{base}/{path[start:]}", self.filesystem, path) for path in paths]

    def read(self, what: str) -> bytes:
        """All bytes of a file or object, of at most ``MAX_READ_BYTES``.

        Args:
            what: what it should be, for messages.

        Raises:
            MaskDetectionError: it is missing, empty or too large, or cannot be read.
        """
        if self.is_local:
            return read_whole(Path(self.path), what)
        try:
            with self.filesystem.open_input_file(self.path) as stream:
                if stream.size() > MAX_READ_BYTES:
                    n_bytes = f"{stream.size():,} bytes"
                    raise MaskDetectionError(f"{self}: has {n_bytes}, too many for {what}; check what it is")
                data = stream.read()
        except FileNotFoundError:
            raise MaskDetectionError(f"{self}: no such object; check the address") from None
        except OSError as error:
            raise cannot_read(self.address, error) from None
        if not data:
            raise MaskDetectionError(f"{self}: is empty (0 bytes), not {what}; get the file again")
        return data

    def write(self, data: bytes) -> None:
        """Write a file whole or not at all; its folder is made.

        Raises:
            MaskDetectionError: it cannot be written.
        """
        if self.is_local:
            make_folder(Path(self.path).parent)
            with atomic_write(Path(self.path)) as part:
                part.write_bytes(data)
            return
        try:
            with self.filesystem.open_output_stream(self.path) as stream:  # an object appears when it is closed
                stream.write(data)
        except OSError as error:
            raise cannot_write(self.address, error) from None

    def delete(self) -> None:
        """Delete a folder with all that is in it."""
        self.filesystem.delete_dir(self.path)


def is_in_store(address: str) -> bool:
    """Tell whether an address is one of an object store; otherwise it is a local path."""
    return scheme_of(address) in STORES


def open_place(address: str) -> Place:
    """The place that a user or a list names.

    Raises:
        MaskDetectionError: it is no address of a store that is known, or holds a password.
    """
    if not is_in_store(address):
        if scheme := scheme_of(address):
            raise MaskDetectionError(f"{address}: {scheme}:// is not read here; give a path, s3:// or gs://")
        path = os.path.abspath(address)  # noqa: PTH100 (Path.resolve() follows links)
        return Place(path, _local(), path)
    bucket, _, key = address.partition("://")[2].partition("/")
    if not BUCKET.fullmatch(bucket):
        raise MaskDetectionError(
            f"{address}: is no address such as s3://bucket/photos; give keys and passwords in the environment"
        )
    path = f"{bucket}/{key}".rstrip("/")
    return Place(address.rstrip("/"), _store(scheme_of(address), bucket), path)


@lru_cache(maxsize=1)
def _local() -> fs.FileSystem:
    return fs.LocalFileSystem()


@lru_cache(maxsize=64)
def _store(scheme: str, bucket: str) -> fs.FileSystem:
    """A client, which finds its credentials in the environment, as a user's profile or by the machine's role."""
    try:
        return fs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
    except (OSError, ValueError, NotImplementedError) as error:
        raise cannot_read(f"{scheme}://{bucket}", error) from None


def cannot_read(address: str, error: Exception) -> MaskDetectionError:
    """What to tell the user of a failed read; it holds one line of what the store said."""
    return MaskDetectionError(f"{address}: cannot be read ({_reason(error)}); check the address and your credentials")


def cannot_write(address: str, error: Exception) -> MaskDetectionError:
    """What to tell the user of a failed write."""
    return MaskDetectionError(
        f"{address}: cannot be written ({_reason(error)}); check the address, your credentials and the space left"
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
