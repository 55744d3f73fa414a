"""The photos of an archive: behind paths, folders, globs, lists and addresses, and written down for the cluster."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq

from mask_detection.distributed.places import Place, cannot_read, cannot_write, is_in_store, open_place
from mask_detection.io.image_files import find_images
from mask_detection.io.images import IMAGE_SUFFIXES
from mask_detection.utils.errors import MaskDetectionError

LIST_SUFFIXES = (".txt", ".parquet")
PATH_COLUMNS = ("image", "path")  # of a list in Parquet; with one column only, it may have any name
LIST_SCHEMA = pa.schema([("image", pa.string())])
PHOTOS_PER_LIST_FILE = 100_000

logger = logging.getLogger(__name__)


class ListedPhotos(NamedTuple):
    """How many photos were listed, and how many could not be, as their names are no UTF-8."""

    n_photos: int
    n_unlisted: int


def write_photo_list(inputs: Sequence[str], folder: Place) -> ListedPhotos:
    """Write the photos behind inputs into Parquet files, each once, in one column ``image``.

    Paths become absolute. What does not exist is listed, too: reading it then says what is wrong.

    Args:
        inputs: photos, folders, globs, ``.txt`` or ``.parquet`` lists, addresses of a store.
        folder: where to write; it must not exist yet.

    Raises:
        MaskDetectionError: there are no photos, a list cannot be read, or the folder cannot be written.
    """
    seen: set[str] = set()
    unlisted: list[str] = []
    photos = _unique(_photos_behind(inputs), seen, unlisted)
    parts = iter(lambda: [*islice(photos, PHOTOS_PER_LIST_FILE)], [])
    first = next(parts, None)
    if first is None:
        raise MaskDetectionError(f"{inputs[0]}: no photos are there; name photos, or a folder or list of some")
    try:
        folder.filesystem.create_dir(folder.path, recursive=True)
        for number, part in enumerate(chain([first], parts)):
            table = pa.table({"image": part}, schema=LIST_SCHEMA)
            pq.write_table(table, f"{folder.path}/{number:06}.parquet", filesystem=folder.filesystem)
    except OSError as error:
        raise cannot_write(folder.address, error) from None
    return ListedPhotos(len(seen), len(unlisted))


def _unique(photos: Iterable[str], seen: set[str], unlisted: list[str]) -> Iterator[str]:
    for photo in photos:
        if photo in seen:
            continue
        if not _is_utf8(photo):
            spelled_out = photo.encode("utf-8", "backslashreplace").decode()
            logger.error("error: %s: its name is no UTF-8, which lists cannot hold; rename it", spelled_out)
            unlisted.append(photo)
            continue
        seen.add(photo)
        yield photo


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _photos_behind(inputs: Sequence[str]) -> Iterator[str]:
    here: list[str] = []
    for text in inputs:
        if PurePosixPath(text).suffix.lower() in LIST_SUFFIXES:
            yield from _photos_in_list(open_place(text))
        elif is_in_store(text):
            yield from _photos_in_store(open_place(text))
        else:
            here.append(open_place(text).address)
    if here:
        yield from (str(image.path) for image in find_images(here))


def _photos_in_store(place: Place) -> Iterator[str]:
    if place.kind() != fs.FileType.Directory:
        yield place.address
        return
    for file in place.files(recursive=True):
        if PurePosixPath(file.path).suffix.lower() in IMAGE_SUFFIXES:
            yield file.address


def _photos_in_list(place: Place) -> Iterator[str]:
    read = _rows_of_parquet if place.path.lower().endswith(".parquet") else _lines_of_text
    if place.kind() != fs.FileType.File:
        raise MaskDetectionError(f"{place}: no such list; check the path")
    try:
        with place.filesystem.open_input_file(place.path) as stream:
            for photo in read(place, stream):
                if photo:
                    yield photo if is_in_store(photo) else open_place(photo).address
    except (OSError, pa.ArrowException) as error:
        raise cannot_read(place.address, error) from None


def _lines_of_text(place: Place, stream: pa.NativeFile) -> Iterator[str]:
    try:
        for line in io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig"):
            yield line.rstrip("\r\n")
    except UnicodeDecodeError:
        raise MaskDetectionError(f"{place}: is no text in UTF-8; write one path a line into it") from None


def _rows_of_parquet(place: Place, stream: pa.NativeFile) -> Iterator[str | None]:
    file = pq.ParquetFile(stream)
    names = file.schema_arrow.names
    column = next((name for name in PATH_COLUMNS if name in names), names[0] if len(names) == 1 else None)
    if column is None or not _is_text(file.schema_arrow.field(column).type):
        raise MaskDetectionError(f"{place}: has no column of text called image or path, but {', '.join(names)[:200]}")
    for batch in file.iter_batches(columns=[column]):
        yield from batch.column(0).to_pylist()


def _is_text(type_: pa.DataType) -> bool:
    return pa.types.is_string(type_) or pa.types.is_large_string(type_)
