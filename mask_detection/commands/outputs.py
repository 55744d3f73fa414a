"""A command's outputs: where they go, that none of them is one of its inputs, and what a data set got."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli
from mask_detection.utils.errors import MaskDetectionError

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


def refuse_output_over_source(source: str, output: Path | None) -> None:
    """Keep a video from being written over itself.

    Raises:
        MaskDetectionError: both are the same file.
    """
    is_path = "://" not in source
    if is_path and output and output.exists() and Path(source).exists() and output.samefile(source):
        raise MaskDetectionError(f"{output}: is the source and would be lost; name another --output")


def refuse_overwriting(inputs: Sequence[Path], outputs: Sequence[Path | None]) -> None:
    """Keep inputs from being lost to what is made of them.

    Raises:
        MaskDetectionError: an output is one of the inputs.
    """
    read = {os.path.realpath(path) for path in inputs}  # Path.resolve() fails at links that go in a circle
    for output in filter(None, outputs):
        if os.path.realpath(output) in read:
            raise MaskDetectionError(f"{output}: is an input and would be lost; name another output")


def report_data_set(summary: DataSetSummary, source: Path, destination: Path) -> int:
    """Print how many images each folder got, and how many were excluded for what; return the exit status.

    Raises:
        MaskDetectionError: nothing was written.
    """
    from mask_detection.data.jobs import LIST_NAME, Kind

    for folder, count in sorted(Counter(path.parent for path in summary.written).items()):
        print(f"{folder}: {count} images")
    kinds = ", ".join(f"{kind.value} {count}" for kind, count in summary.excluded.most_common())
    print(f"excluded: {kinds or 'nothing'}; see {destination / LIST_NAME}")
    if not summary.written:
        reasons = destination / LIST_NAME
        raise MaskDetectionError(f"{source}: nothing of it is left to write; see the reasons in {reasons}")
    return cli.EXIT_SOME_FAILED if summary.excluded[Kind.FAULTY] else cli.EXIT_DONE
