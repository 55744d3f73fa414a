"""Features of a large data set, computed by Ray Data into the very file that one machine writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa
import ray.data

from mask_detection.distributed import cluster
from mask_detection.distributed.progress import watched
from mask_detection.distributed.tracker import Counts
from mask_detection.io.images import read_image
from mask_detection.training.features import BATCH_SIZE, FeatureJob, bytes_of_row, feature_rows
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write
from mask_detection.utils.tensorflow import compiled, start_tensorflow

if TYPE_CHECKING:
    import keras

COMPUTED = pa.schema([("first", pa.int64()), ("rows", pa.large_binary()), ("error", pa.string())])
IMAGES_PER_TASK = 8 * BATCH_SIZE  # the same batches as on one machine: rounding may depend on them


def write_features(path: Path, frozen: keras.Model, job: FeatureJob, *, address: str | None) -> None:
    """Do what :func:`mask_detection.training.features.write_features` does, with Ray.

    Args:
        path: where to.
        frozen: maps (n, S, S, 3) images to (n, …) features.
        job: its images, which all nodes find under the same absolute paths.
        address: of a Ray cluster; None starts Ray on this machine alone.

    Raises:
        MaskDetectionError: the disk is full, or the cluster could not do it.
    """
    job = replace(job, images=[image.absolute() for image in job.images])
    row_bytes = bytes_of_row(frozen.output_shape[1:])
    n_done = 0
    with (
        cluster.ray_session(address),
        atomic_write(path) as part,
        part.open("wb") as file,
        watched(lambda: Counts(n_done, 0), len(job.images), title=job.title),
    ):
        for first, rows in _computed(frozen, job, address):
            file.seek(first * row_bytes)
            file.write(rows)
            n_done += len(rows) // row_bytes


def _computed(frozen: keras.Model, job: FeatureJob, address: str | None) -> Iterator[tuple[int, bytes]]:
    """The rows of each part of the images, with the number of its first one, as they come."""
    starts = range(0, len(job.images), IMAGES_PER_TASK)
    images = [[str(image) for image in job.images[start : start + IMAGES_PER_TASK]] for start in starts]
    n_workers = min(cluster.worker_count(address), len(starts))
    if address is not None:
        cluster.check_nodes(_fault_of_node, images[0][0])
    parts = ray.data.from_arrow(pa.table({"first": [*starts], "images": images}))
    arguments = (frozen.to_json(), frozen.get_weights(), replace(job, images=()))
    for row in cluster.in_workers(parts, FeatureWorker, arguments, 1, n_workers).iter_rows():
        if row["error"]:
            raise MaskDetectionError(row["error"])
        yield row["first"], row["rows"]


def _fault_of_node(image: str) -> str:
    """What keeps this node from working; empty where nothing does."""
    try:
        read_image(Path(image))
    except MaskDetectionError as error:
        return f"{error}; the data set must be on a disk that all nodes share"
    return ""


class FeatureWorker:
    """Runs the frozen part of a network; one lives in each process, which it keeps to one core."""

    def __init__(self, network: str, weights: list[np.ndarray], job: FeatureJob) -> None:
        """Build the network.

        Args:
            network: its layers, as Keras writes them in JSON.
            weights: their numbers.
            job: what to do with each image; without the images.
        """
        cv2.setNumThreads(1)
        os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
        start_tensorflow()
        import keras

        frozen = keras.models.model_from_json(network)
        frozen.set_weights(weights)
        self._predict, self._input_size, self._job = compiled(frozen), frozen.input_shape[1], job

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The columns ``first``, ``rows`` (bytes) and ``error`` for those of ``first`` and ``images`` (paths)."""
        return pa.Table.from_pylist([self._computed(**part) for part in batch.to_pylist()], schema=COMPUTED)

    def _computed(self, first: int, images: list[str]) -> dict[str, Any]:
        job = replace(self._job, images=[Path(image) for image in images], first=first)
        try:
            rows = b"".join(feature_rows(self._predict, self._input_size, job))
        except Exception as error:  # TensorFlow wraps what reading an image raises
            return {"first": first, "rows": b"", "error": cluster.reason_of(error)}
        return {"first": first, "rows": rows, "error": ""}
