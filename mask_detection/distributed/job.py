"""What an output folder says of its own job: what was asked for, and how far it is.

FOLDER/job.json        the job; it is there once its photos are listed
FOLDER/photos/         the list of photos
FOLDER/records/        the rows
FOLDER/checkpoint/     which photos the finished files of rows hold, as Ray Data writes it
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.fs as fs

from mask_detection.distributed.places import Place
from mask_detection.utils import files
from mask_detection.utils.errors import MaskDetectionError

JOB_NAME, LIST_NAME, RECORDS_NAME, CHECKPOINT_NAME = "job.json", "photos", "records", "checkpoint"


@dataclass(frozen=True)
class Job:
    """A job on an archive.

    Attributes:
        inputs: as the user named them.
        format: of the rows.
        detector: what decides over the faces found and their classes; rows of others must not get among these.
        class_names: of the classifier.
        n_photos: how many were listed.
        n_unlisted: how many could not be.
        finished: whether every photo has its row.
    """

    inputs: list[str]
    format: str
    detector: dict[str, Any]
    class_names: list[str]
    n_photos: int = 0
    n_unlisted: int = 0
    finished: bool = False

    def save(self, output: Place) -> None:
        """Write it into its folder.

        Raises:
            MaskDetectionError: it cannot be written.
        """
        (output / JOB_NAME).write((json.dumps(asdict(self), indent=2) + "\n").encode())

    def finish(self, output: Place) -> None:
        """Note that every photo has its row."""
        replace(self, finished=True).save(output)

    def check_same(self, output: Place, asked: Job) -> None:
        """Refuse to go on with another job than this one.

        Raises:
            MaskDetectionError: something that is asked for now differs.
        """
        for name in ("inputs", "format", "detector", "class_names"):
            before, now = getattr(self, name), getattr(asked, name)
            if before != now:
                what = f"--image {' '.join(before)}"[:200] if name == "inputs" else _difference(name, before, now)
                raise MaskDetectionError(
                    f"{output}: was begun with {what}; resume it with the same, or name another --output"
                )


def _difference(name: str, before: Any, now: Any) -> str:
    if not isinstance(before, dict):
        return f"another {name.replace('_', ' ')}: {before}"
    return next(f"another {key}: {value}" for key, value in before.items() if now.get(key) != value)


def find_job(output: Place) -> Job | None:
    """The job of an output folder; None where none was begun. What is left of a list that was not finished is deleted.

    Raises:
        MaskDetectionError: something else lies there.
    """
    if output.kind() == fs.FileType.NotFound:
        return None
    if output.kind() == fs.FileType.File:
        raise MaskDetectionError(f"{output}: is a file; name a folder for the records")
    place = output / JOB_NAME
    if place.kind() == fs.FileType.File:
        try:
            return Job(**json.loads(place.read("a job")))
        except (ValueError, TypeError):
            raise MaskDetectionError(f"{place}: is damaged or of another version; name another --output") from None
    names = {info.base_name for info in output.filesystem.get_file_info(fs.FileSelector(output.path))}
    if names - {LIST_NAME}:
        raise MaskDetectionError(f"{output}: holds other files; name a new folder for the records")
    if names:
        (output / LIST_NAME).delete()
    return None


@contextmanager
def sole_run(output: Place) -> Iterator[None]:
    """Keep other runs of this machine, or of a shared file system that has locks, from writing here meanwhile.

    Raises:
        MaskDetectionError: another run is writing here.
    """
    if not output.is_local:
        yield
        return
    files.make_folder(Path(output.path))
    descriptor = os.open(output.path, os.O_RDONLY)
    try:
        if not files.lock(descriptor):
            raise MaskDetectionError(f"{output}: another run is writing there; wait for it, or name another folder")
        yield
    finally:
        os.close(descriptor)
        with suppress(OSError):
            Path(output.path).rmdir()  # where nothing came of it
