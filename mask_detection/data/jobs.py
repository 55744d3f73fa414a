"""Making a data set from files: a job an image on all cores, and a list of what was excluded and why.

No more images are in memory at a time than there are cores. The source is only read.
"""

from __future__ import annotations

import csv
import enum
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from mask_detection.io.growing import growing_text
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import check_can_write, list_files, make_folder, part_files
from mask_detection.utils.text import csv_cell

LIST_NAME = "left_out.csv"
LIST_COLUMNS = ("path", "reason", "copy_of")

logger = logging.getLogger(__name__)


class Kind(enum.Enum):
    """Why something was excluded, in the words of the summary."""

    FAULTY = "unreadable or with a faulty annotation"
    TWO_CLASSES = "in two classes"
    COPY = "copies"
    NOT_IMAGE = "not images"
    LINK = "links to elsewhere"
    NOT_ANNOTATED = "without an annotation file"
    NO_FACE = "without a marked face"
    NOT_FOUND = "without a face that was found"
    SMALL = "faces too small"
    TURNED = "faces turned too far"
    CUT_OFF = "masks cut off"
    HELD_OUT = "in an excluded fold"


@dataclass(frozen=True)
class Excluded:
    """A file, or a face of a photo, that was not taken; ``copy_of`` has the same bytes."""

    path: Path
    kind: Kind
    reason: str
    copy_of: Path | None = None


@dataclass(frozen=True)
class JobResult:
    """What became of one image and its copies: the files written, and what was excluded."""

    written: Sequence[Path] = ()
    excluded: Sequence[Excluded] = ()


@dataclass
class DataSetSummary:
    """What became of a data set.

    Attributes:
        written: the files made.
        excluded: how many were excluded, by kind.
    """

    written: set[Path] = field(default_factory=set)
    excluded: Counter[Kind] = field(default_factory=Counter)


Job = Callable[[], JobResult]


def check_folders(source: Path, *destinations: Path) -> None:
    """Make the destinations, unless something forbids to write there.

    Args:
        source: folder to read.
        destinations: folders to write; the first one's list of excluded files shows that all are of an earlier run.

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
    is_own = own_list.exists() or part_files(own_list)  # the latter of a run that was killed
    for folder in destinations:
        if not is_own and any(folder.iterdir()):
            raise MaskDetectionError(f"{folder}: is not empty and not of an earlier run; name a new folder")


@contextmanager
def worker_pool() -> Iterator[Executor]:
    """Yield a thread for each core: OpenCV and Pillow let the others run while they decode and scale."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C only what is under way is finished


def run_jobs(
    jobs: Sequence[Job],
    excluded: Sequence[Excluded],
    source: Path,
    destination: Path,
    pool: Executor,
    own_files: Collection[Path] = (),
) -> DataSetSummary:
    """Run the jobs on all cores, and list what was excluded before and by them.

    Args:
        jobs: each writes what comes of an image.
        excluded: what lies in the source and got no job.
        source: the folder from which the paths in the list count.
        destination: where the list is written; files there that no job wrote are pointed out.
        pool: from :func:`worker_pool`.
        own_files: files there that the caller writes.

    Raises:
        MaskDetectionError: the destination cannot be written or is full.
    """
    summary = DataSetSummary()
    own_list = destination / LIST_NAME
    with growing_text(own_list) as file:
        rows = csv.writer(file)
        rows.writerow(LIST_COLUMNS)
        results = tqdm(pool.map(lambda job: job(), jobs), "preparing", len(jobs), unit="image", disable=None)
        for result in itertools.chain([JobResult(excluded=excluded)], results):
            summary.written.update(result.written)
            for entry in result.excluded:
                summary.excluded[entry.kind] += 1
                rows.writerow(_row(entry, source))
                _report(entry)
    warn_of_other_files(destination, summary.written | {own_list, *own_files})
    return summary


def warn_of_other_files(destination: Path, own: set[Path]) -> None:
    """Point out that a destination holds files that this run did not make."""
    if others := set(list_files(destination)) - own:
        logger.warning(
            "warning: %s: not of this run, %d such files in %s; delete what is left of an earlier one",
            min(others),
            len(others),
            destination,
        )


def faulty(path: Path, error: MaskDetectionError) -> Excluded:
    """A file that cannot be used, for the list."""
    return Excluded(path, Kind.FAULTY, str(error).removeprefix(f"{path}: "))


def copies(files: Sequence[Path]) -> list[Excluded]:
    """All but the first of files with the same bytes, for the list."""
    return [Excluded(path, Kind.COPY, "is a copy", copy_of=files[0]) for path in files[1:]]


def _row(entry: Excluded, source: Path) -> tuple[str, str, str]:
    copy_of = entry.copy_of.relative_to(source).as_posix() if entry.copy_of else ""
    path = entry.path.relative_to(source).as_posix()
    return str(csv_cell(path)), str(csv_cell(entry.reason)), str(csv_cell(copy_of))


def _report(entry: Excluded) -> None:
    """Log at once what the user has to mend; the rest stands in the list."""
    if entry.kind is Kind.FAULTY:
        logger.error("error: %s: %s; excluded", entry.path, entry.reason)
    elif entry.kind is Kind.TWO_CLASSES:
        logger.warning("warning: %s: %s: %s; excluded", entry.path, entry.reason, entry.copy_of)
