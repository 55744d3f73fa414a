"""Clean a data set: any image format to small JPEG files, each image once, with a list of what was left out and why.

All cores work, and no more images are in memory at a time than there are cores. The source is only read.
"""

from __future__ import annotations

import csv
import enum
import hashlib
import itertools
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mask_detection.io.images import is_image_file, read_image, write_image
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import (
    check_can_write,
    growing_output,
    list_files,
    make_folder,
    part_path,
    read_whole,
)

LIST_NAME = "left_out.csv"
LIST_COLUMNS = ("path", "reason", "copy_of")
MAX_JPEG_SIDE = 65_500  # pixels, libjpeg's limit
MAX_STEM_BYTES = 200  # most file systems allow 255 for a name, and ours add a number and .part.jpg

logger = logging.getLogger(__name__)


class Kind(enum.Enum):
    """Why something was left out, in the words of the summary."""

    FAULTY = "unreadable or with a faulty annotation"
    TWO_CLASSES = "in two classes"
    COPY = "copies"
    NOT_IMAGE = "not images"
    NOT_ANNOTATED = "without an annotation file"
    NO_FACE = "without a marked face"
    NOT_FOUND = "without a face that was found"
    SMALL = "faces too small"
    TURNED = "faces turned too far"
    CUT_OFF = "masks cut off"
    HELD_OUT = "in a fold to leave out"


@dataclass(frozen=True)
class LeftOut:
    """A file, or a face of a photo, that was not taken; ``copy_of`` has the same bytes."""

    path: Path
    kind: Kind
    reason: str
    copy_of: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one image and its copies."""

    written: Sequence[Path] = ()
    left_out: Sequence[LeftOut] = ()


@dataclass
class Summary:
    """What became of a data set.

    Attributes:
        written: the files made.
        left_out: how many were left out, by kind.
    """

    written: set[Path] = field(default_factory=set)
    left_out: Counter[Kind] = field(default_factory=Counter)


Job = Callable[[], Outcome]


def check_folders(source: Path, *destinations: Path) -> None:
    """Make the destinations, unless something forbids to write there.

    Args:
        source: folder to read.
        destinations: folders to write; the first one's list of what was left out tells that all are of an earlier run.

    Raises:
        MaskDetectionError: the source is no folder, two of the folders are one or one lies in the other, or a
            destination holds files already that are not of an earlier run, or cannot be written.
    """
    if not source.is_dir():
        raise MaskDetectionError(f"{source}: there is no such folder; name the one with your images")
    for one, other in itertools.combinations((source, *destinations), 2):
        real_one, real_other = one.resolve(), other.resolve()
        if real_one.is_relative_to(real_other) or real_other.is_relative_to(real_one):
            raise MaskDetectionError(f"{other}: overlaps with {one}; name a folder outside of it")
    for folder in destinations:
        make_folder(folder)
        check_can_write(folder / LIST_NAME)
    own_list = destinations[0] / LIST_NAME
    is_own = own_list.exists() or part_path(own_list).exists()  # the latter of a run that was killed
    for folder in destinations:
        if not is_own and any(folder.iterdir()):
            raise MaskDetectionError(f"{folder}: is not empty and not of an earlier run; name a new folder")


def prepare_images(source: Path, destination: Path, size: int) -> Summary:
    """Write every image of a folder tree as JPEG into the same folders of another.

    An image's class is the name of the folder that it lies in. Of byte-for-byte copies the first by path is taken,
    and none where they lie in folders of different names, as one of the two must be wrong.

    Args:
        source: folder of class folders, at any depth.
        destination: checked with :func:`check_folders`.
        size: the smaller side of larger images becomes this many pixels; smaller images stay as they are.

    Raises:
        MaskDetectionError: there are no images, or the destination cannot be written.
    """
    with worker_pool() as pool:
        images, others = select_images(list_files(source), pool)
        if not images:
            raise MaskDetectionError(f"{source}: holds no images; name a folder that holds a folder for each class")
        groups = group_copies(images, pool)
        names = jpeg_names([group[0].relative_to(source) for group in groups])
        jobs = [
            partial(_prepare_image, group, destination / name, size) for group, name in zip(groups, names, strict=True)
        ]
        return carry_out(jobs, others, source, destination, pool)


def group_copies(images: Sequence[Path], pool: Executor) -> list[list[Path]]:
    """Put files with the same bytes together; groups and their members keep the order of the files."""
    groups: dict[str, list[Path]] = defaultdict(list)
    contents = tqdm(pool.map(_content, images), "comparing", len(images), unit="image", disable=None, leave=False)
    for path, content in zip(images, contents, strict=True):
        groups[content].append(path)
    return list(groups.values())


def _content(path: Path) -> str:
    """What is the same for files with the same bytes; the path of a file without any, which is nobody's copy."""
    try:
        return hashlib.sha256(read_whole(path, "an image")).hexdigest()
    except MaskDetectionError:
        return str(path)


def jpeg_names(paths: Sequence[Path]) -> list[Path]:
    """A JPEG name of its own for each path, in the same folder: ``a.jpg`` and ``a.png`` become ``a.jpg``, ``a_2.jpg``.

    The names differ also where capital and small letters count as the same, are valid UTF-8, and never equal the
    name that another has while it is written.
    """
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = os.fsencode(path.stem)[:MAX_STEM_BYTES].decode(errors="ignore") or "image"
        for ending in itertools.chain([""], (f"_{n}" for n in itertools.count(2))):
            name = path.with_name(f"{stem}{ending}.jpg")
            keys = {str(name).casefold(), str(part_path(name)).casefold()}
            if not keys & taken:
                break
        taken |= keys
        names.append(name)
    return names


def scale_down(image: np.ndarray, size: int) -> np.ndarray:
    """Scale a larger image (H, W, 3) so that its smaller side has ``size`` pixels; its shape stays."""
    height, width = image.shape[:2]
    scale = min(size / min(height, width), MAX_JPEG_SIDE / max(height, width))
    if scale >= 1:
        return image
    scaled_size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, scaled_size, interpolation=cv2.INTER_AREA)


def write_jpeg(target: Path, image: np.ndarray, size: int) -> None:
    """Write an image (H, W, 3) BGR uint8, scaled down to ``size``, and make its folder if need be."""
    make_folder(target.parent)
    write_image(target, scale_down(image, size))


def fault(path: Path, error: MaskDetectionError) -> LeftOut:
    """List a file that cannot be used."""
    return LeftOut(path, Kind.FAULTY, str(error).removeprefix(f"{path}: "))


def copies(group: Sequence[Path]) -> list[LeftOut]:
    """List all but the first of files with the same bytes."""
    return [LeftOut(path, Kind.COPY, "is a copy", copy_of=group[0]) for path in group[1:]]


@contextmanager
def worker_pool() -> Iterator[Executor]:
    """Yield a thread for each core: OpenCV and Pillow let the others run while they decode and scale."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C only what is under way is finished


def select_images(files: Sequence[Path], pool: Executor) -> tuple[list[Path], list[LeftOut]]:
    """Tell the files that are images, or claim to be, from the others."""
    claims = dict(zip(files, pool.map(is_image_file, files), strict=True))
    others = [LeftOut(path, Kind.NOT_IMAGE, "is not an image") for path, claim in claims.items() if not claim]
    return [path for path, claim in claims.items() if claim], others


def carry_out(
    jobs: Sequence[Job],
    left_out: Sequence[LeftOut],
    source: Path,
    destination: Path,
    pool: Executor,
    own_files: Collection[Path] = (),
) -> Summary:
    """Do the jobs on all cores, and list what was left out before and by them.

    Raises:
        MaskDetectionError: the destination cannot be written or is full.
    """
    summary = Summary()
    own_list = destination / LIST_NAME
    with (
        growing_output(own_list) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(LIST_COLUMNS)
        outcomes = tqdm(pool.map(lambda job: job(), jobs), "preparing", len(jobs), unit="image", disable=None)
        for outcome in itertools.chain([Outcome(left_out=left_out)], outcomes):
            summary.written.update(outcome.written)
            for entry in outcome.left_out:
                summary.left_out[entry.kind] += 1
                rows.writerow(_row(entry, source))
                _tell(entry)
    warn_of_strangers(destination, summary.written | {own_list, *own_files})
    return summary


def _row(entry: LeftOut, source: Path) -> tuple[str, str, str]:
    copy_of = entry.copy_of.relative_to(source).as_posix() if entry.copy_of else ""
    return entry.path.relative_to(source).as_posix(), entry.reason, copy_of


def _tell(entry: LeftOut) -> None:
    """Say at once what the user has to mend; the rest stands in the list."""
    if entry.kind is Kind.FAULTY:
        logger.error("error: %s: %s; left out", entry.path, entry.reason)
    elif entry.kind is Kind.TWO_CLASSES:
        logger.warning("warning: %s: %s: %s; left out", entry.path, entry.reason, entry.copy_of)


def warn_of_strangers(destination: Path, own: set[Path]) -> None:
    """Point out that a destination holds files that this run did not make."""
    if strangers := set(list_files(destination)) - own:
        logger.warning(
            "warning: %s: not of this run, %d such files in %s; delete what is left of an earlier one",
            min(strangers),
            len(strangers),
            destination,
        )


def _prepare_image(group: Sequence[Path], target: Path, size: int) -> Outcome:
    try:
        image = read_image(group[0])
    except MaskDetectionError as error:
        return Outcome(left_out=[fault(group[0], error), *copies(group)])
    if clashes := class_clashes(group):
        return Outcome(left_out=clashes)
    write_jpeg(target, image, size)
    return Outcome([target], copies(group))


def class_clashes(group: Sequence[Path]) -> list[LeftOut]:
    """All of a group, each with a copy in a folder of another name; nothing if all those names are the same."""
    classes = {path.parent.name: path for path in reversed(group)}  # the first file of each
    clashes = []
    for path in group if len(classes) > 1 else ():
        other = next(first for name, first in classes.items() if name != path.parent.name)
        clashes.append(LeftOut(path, Kind.TWO_CLASSES, "has a copy in another class", copy_of=other))
    return clashes
