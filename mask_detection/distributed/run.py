"""The job on an archive: list its photos, have workers look at them, and write a row for each, exactly one."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.dataset as pads
import ray.data
from ray.data.checkpoint import CheckpointConfig

import mask_detection
from mask_detection.distributed import cluster
from mask_detection.distributed.job import CHECKPOINT_NAME, JOB_NAME, LIST_NAME, RECORDS_NAME, Job, find_job, sole_run
from mask_detection.distributed.photo_lists import write_photo_list
from mask_detection.distributed.places import Place, open_place
from mask_detection.distributed.progress import counts_of, watched
from mask_detection.distributed.records import Totals, photo_schema, total_of
from mask_detection.distributed.sinks import write_rows
from mask_detection.distributed.tracker import Tracker
from mask_detection.distributed.worker import PhotoDetector
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole

READER_CPUS = 0.25
MAX_PER_FILE = 500  # rows
MIN_FILES = 4  # for each worker, so that all end at about the same time

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What came of a job.

    Attributes:
        totals: the sums over all rows.
        n_unlisted: how many photos could not even be listed.
        was_finished: whether an earlier run had done everything.
    """

    totals: Totals
    n_unlisted: int
    was_finished: bool


def process_archive(
    inputs: Sequence[str],
    output: str,
    settings: dict[str, Any],
    *,
    format_: str = "parquet",
    address: str | None = None,
    resume: bool = False,
    photos_per_file: int | None = None,
) -> Outcome:
    """Detect in all photos of an archive and write a row for each.

    Args:
        inputs: photos, folders, globs, ``.txt`` or ``.parquet`` lists, addresses of a store.
        output: folder or address of one, for the rows and all that a later run needs to go on.
        settings: the arguments of :func:`mask_detection.load`.
        format_: ``parquet`` or ``jsonl``.
        address: of a Ray cluster; None starts Ray on this machine alone.
        resume: go on with the job that was begun there, or find it finished.
        photos_per_file: how many rows a file of the output holds; a worker that dies loses as many at most. None is
            ``MAX_PER_FILE``, or fewer where that keeps all workers busy.

    Raises:
        MaskDetectionError: nothing can be done, or the run ended before every photo had its row.
    """
    place, asked = open_place(output), _asked_job([*inputs], format_, settings)
    with sole_run(place):
        begun = find_job(place)
        _check_resume(place, begun, asked, resume)
        job = begun or _new_job(place, asked)
        if not job.finished:
            with cluster.ray_session(address):
                _run(place, job, settings, address, photos_per_file)
        return _finished(place, job)


def _check_resume(place: Place, begun: Job | None, asked: Job, resume: bool) -> None:
    if begun is None:
        return
    if not resume:
        state = "is finished" if begun.finished else "was begun"
        remedy = "--resume shows its sums" if begun.finished else "--resume goes on with it"
        raise MaskDetectionError(f"{place}: a job {state} there; {remedy}, or name another --output")
    begun.check_same(place, asked)
    if begun.finished:
        logger.info("%s: is finished, nothing is left to do", place)


def _asked_job(inputs: list[str], format_: str, settings: dict[str, Any]) -> Job:
    """The job that is asked for; loads the networks, so that what is wrong with them shows first."""
    detector = mask_detection.load(**settings)
    description = {"face detector": detector.face_detector_name, "confidence": detector.confidence, "model": "none"}
    if not detector.is_one_stage:
        model = read_whole(Path(settings["classifier"]), "a model")
        description["model"] = f"SHA-256 {hashlib.sha256(model).hexdigest()}"
    return Job(inputs, format_, description, [*detector.class_names])


def _new_job(place: Place, asked: Job) -> Job:
    n_photos, n_unlisted = write_photo_list(asked.inputs, place / LIST_NAME)
    return replace(asked, n_photos=n_photos, n_unlisted=n_unlisted)


def _run(place: Place, job: Job, settings: dict[str, Any], address: str | None, photos_per_file: int | None) -> None:
    n_before = _n_checkpointed(place / CHECKPOINT_NAME)
    n_workers = cluster.worker_count(address, resumes=n_before > 0)
    per_file = photos_per_file or min(MAX_PER_FILE, math.ceil(job.n_photos / n_workers / MIN_FILES))
    n_workers = min(n_workers, math.ceil(job.n_photos / per_file))
    job.save(place)
    if address is not None:
        cluster.check_nodes(_fault_of_node, settings, job.class_names, (place / JOB_NAME).address)
    logger.info("%s photos, %s of them done before; workers: %d", f"{job.n_photos:,}", f"{n_before:,}", n_workers)
    tracker = cluster.start_beside(Tracker)

    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = False  # it starts 32 processes to list a few files
    context.checkpoint_config = _checkpoint(place / CHECKPOINT_NAME)
    try:
        with watched(partial(counts_of, tracker), job.n_photos, n_before):
            write_rows(_rows(place, settings, tracker, n_workers, per_file), place / RECORDS_NAME, job.format)
    finally:
        context.checkpoint_config = None


def _fault_of_node(settings: dict[str, Any], class_names: list[str], job_file: str) -> str:
    """What keeps this node from working; empty where nothing does.

    Args:
        settings: the arguments of :func:`mask_detection.load`.
        class_names: that they must lead to.
        job_file: address of a file that every node must see.
    """
    try:
        detector = mask_detection.load(**settings)
        open_place(job_file).read("a job")
    except MaskDetectionError as error:
        return f"{error}" if job_file not in str(error) else f"{error}; --output must be on a disk that all nodes share"
    if [*detector.class_names] != class_names:
        return f"{settings['classifier']}: is another model there; put the same on all nodes"
    return ""


def _rows(place: Place, settings: dict[str, Any], tracker: Any, n_workers: int, per_file: int) -> ray.data.Dataset:
    """The rows to be: Ray Data computes them where they are written."""
    photos = ray.data.read_parquet((place / LIST_NAME).path, filesystem=place.filesystem, num_cpus=READER_CPUS)
    return cluster.in_workers(photos, PhotoDetector, (settings, tracker), per_file, n_workers)


def _checkpoint(place: Place) -> CheckpointConfig:
    """Ray Data notes which photos a file of rows holds before it writes the file, and confirms it afterwards."""
    return CheckpointConfig(
        id_column="image",
        checkpoint_path=place.path,
        override_filesystem=place.filesystem,
        delete_checkpoint_on_success=False,
    )


def _n_checkpointed(place: Place) -> int:
    files = [file.path for file in place.files() if not file.path.endswith(".pending.parquet")]
    return pads.dataset(files, filesystem=place.filesystem, format="parquet").count_rows() if files else 0


def _finished(place: Place, job: Job) -> Outcome:
    """Add up the rows, and make sure that each photo has one."""
    totals = total_of(place / RECORDS_NAME, job.format, photo_schema(job.class_names))
    if totals.n_photos != job.n_photos:
        raise MaskDetectionError(
            f"{place}: holds {totals.n_photos:,} rows for {job.n_photos:,} photos; run it once more with --resume, or "
            "to another --output"
        )
    if not job.finished:
        job.finish(place)
    return Outcome(totals, job.n_unlisted, job.finished)
