"""A command's outputs: where they go, that none of them is one of its inputs, and what a data set got."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mask_detection.commands import cli
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.text import one_line

STANDARD_OUTPUT = "-"
RESULT_SUFFIXES = frozenset((".json", ".jsonl", ".csv", ".pdf", ".svg", ".mp4", ".m4v", ".mkv", ".mov", ".avi"))

if TYPE_CHECKING:
    from mask_detection.data.jobs import DataSetSummary
    from mask_detection.io.image_files import ImageFile


def photo_outputs(images: Sequence[ImageFile], inputs: Sequence[str], output: Path | None) -> list[Path | None]:
    """Where each annotated photo goes: to ``output`` itself for one photo, otherwise below it by relative name.

    Args:
        images: the photos behind ``inputs``.
        inputs: as the user named them.
        output: as the user named it; None for nowhere.

    Raises:
        MaskDetectionError: nothing can be written there.
    """
    from mask_detection.io.images import can_write_format
    from mask_detection.utils.files import check_can_fill

    if output is None:
        return [None] * len(images)
    is_one_photo = len(inputs) == 1 and images[0].path == Path(inputs[0])
    if is_one_photo and output.suffix and not output.is_dir():
        targets = [output]
    else:
        names = (image.name for image in images)
        targets = [output / (name if can_write_format(name) else f"{name}.png") for name in names]
    for folder in dict.fromkeys(target.parent for target in targets):
        check_can_fill(folder)
    return [*targets]


def check(
    inputs: Iterable[str | Path | None], outputs: Iterable[Path | None], growing: Iterable[Path | None] = ()
) -> None:
    """Keep inputs from being lost to outputs, and outputs to each other or to another run, before anything is loaded.

    Files are compared by what they are, not by how they are called: links, hard links, ``file://`` addresses.

    Args:
        inputs: all that the command reads: files, folders, addresses; None is skipped.
        outputs: what it writes at once; None, ``-`` for standard output, devices and pipes are skipped.
        growing: likewise, what it writes bit by bit.

    Raises:
        MaskDetectionError: an output is an input, lies among the files of a folder that is one, is named twice, or is
            being written by another run.
    """
    from mask_detection.io.growing import refuse_busy
    from mask_detection.utils.files import is_special, part_of

    paths = [path for name in inputs if name is not None for path in _paths(name)]
    read: set[Identity] = {identity for identity in map(_identity, paths) if isinstance(identity, tuple)}
    parts = {_identity(whole): path for path in paths if (whole := part_of(path))}
    folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112 (also of what no file can be called)
    written: set[Identity] = set()
    growing = [*growing]
    for output in filter(None, [*outputs, *growing]):
        if str(output) == STANDARD_OUTPUT or is_special(output):
            continue
        identity = _identity(output)
        if identity in read or _lies_among(output, read, folders):
            raise MaskDetectionError(f"{output}: is an input and would be lost; name another output")
        if identity in parts:
            raise MaskDetectionError(f"{parts[identity]}: is an input and a part file of {output}; rename it first")
        if identity in written:
            raise MaskDetectionError(f"{output}: is named for two outputs; name another for one of them")
        written.add(identity)
        if output in growing:
            refuse_busy(output)


Identity = tuple[int, int] | str  # device and inode of what is there, otherwise the path


def _identity(path: Path) -> Identity:
    try:
        facts = path.stat()
    except (OSError, ValueError):  # not there, or no name for a file at all
        return os.path.normcase(os.path.realpath(path))
    return facts.st_dev, facts.st_ino


def _paths(name: str | Path) -> set[Path]:
    """The files that an input's name may stand for: FFmpeg and browsers read ``file:`` addresses differently."""
    scheme, _, rest = str(name).partition(":")
    if scheme.lower() != "file":
        return {Path(name)}
    without_host = re.sub(r"^//[^/]*(?=/)", "", rest)
    return {Path(path) for spelling in (rest, without_host) for path in (spelling, unquote(spelling))}


def _lies_among(output: Path, read: set[Identity], folders: Iterable[Path]) -> bool:
    """Tell whether what an output would replace, or has as a second name, is a file of an input folder.

    Files of the kinds that commands write as their results may be there, and may be written again.
    """
    real = Path(os.path.realpath(output))
    if not real.is_file():
        return False
    if real.suffix.lower() not in RESULT_SUFFIXES and any(_identity(folder) in read for folder in real.parents):
        return True
    if real.stat().st_nlink == 1:
        return False
    files = (file for folder in folders for file in folder.rglob("*"))
    return any(file.suffix.lower() not in RESULT_SUFFIXES and _identity(file) == _identity(real) for file in files)


def report_data_set(summary: DataSetSummary, source: Path, destination: Path) -> int:
    """Print how many images each folder got, and how many were excluded for what; return the exit status.

    Raises:
        MaskDetectionError: nothing was written.
    """
    from mask_detection.data.jobs import LIST_NAME, Kind

    for folder, count in sorted(Counter(path.parent for path in summary.written).items()):
        print(one_line(f"{folder}: {count} images"))
    kinds = ", ".join(f"{kind.value} {count}" for kind, count in summary.excluded.most_common())
    print(one_line(f"excluded: {kinds or 'nothing'}; see {destination / LIST_NAME}"))
    if not summary.written:
        reasons = destination / LIST_NAME
        raise MaskDetectionError(f"{source}: nothing of it is left to write; see the reasons in {reasons}")
    return cli.EXIT_SOME_FAILED if summary.excluded[Kind.FAULTY] else cli.EXIT_DONE
