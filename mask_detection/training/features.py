"""Features: the outputs of the frozen part of a network for a data set, computed once and stored on disk.

They never change while that part is frozen, and computing them is nearly all of the cost of training. On disk they need
no memory that grows with the data set, and a run that was killed finds them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from mask_detection.training.augmentation import Augmentation
from mask_detection.training.batches import batches
from mask_detection.utils.files import atomic_write
from mask_detection.utils.tensorflow import compiled

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

STORED = np.float16  # half the disk; the rounding is far below what augmentation changes
BATCH_SIZE = 16  # images; more take as long and 16 MB each, most of it for the first blocks' outputs
SHUFFLE_BYTES = 64 << 20  # memory for the window in which examples are mixed


@dataclass(frozen=True)
class FeatureJob:
    """What to run the frozen part on.

    Attributes:
        title: of the progress bar.
        images: N files.
        augment: makes a random copy of each image, which takes its place.
        seed: of the copies.
        first: the number of the first image, where these are a part of more.
    """

    title: str
    images: Sequence[Path]
    augment: Augmentation | None = None
    seed: int = 0
    first: int = 0


FeatureWriter = Callable[[Path, "keras.Model", FeatureJob], None]


def write_features(path: Path, frozen: keras.Model, job: FeatureJob) -> None:
    """Run the frozen part on every image once, and store its outputs row by row.

    Args:
        path: where to.
        frozen: maps (n, S, S, 3) images to (n, …) features.
        job: its images.

    Raises:
        MaskDetectionError: the disk is full.
    """
    n_batches = -(-len(job.images) // BATCH_SIZE)
    rows = feature_rows(compiled(frozen), frozen.input_shape[1], job)
    with atomic_write(path) as part, part.open("wb") as file:
        for batch in tqdm(rows, job.title, n_batches, unit="batch", disable=None, leave=False):
            file.write(batch)


def feature_rows(predict: Callable[[np.ndarray], np.ndarray], input_size: int, job: FeatureJob) -> Iterator[bytes]:
    """The rows of a file of features, a batch at a time.

    Args:
        predict: maps (n, S, S, 3) images to (n, …) features.
        input_size: S.
        job: the images.
    """
    for batch in batches(job.images, input_size, BATCH_SIZE, job.augment, job.seed, job.first):
        yield predict(batch).astype(STORED).tobytes()


def bytes_of_row(shape: tuple[int, ...]) -> int:
    """How many bytes the features of one image take in a file."""
    return int(np.prod(shape)) * np.dtype(STORED).itemsize


def feature_batches(
    paths: Sequence[Path],
    targets: np.ndarray,
    weights: np.ndarray,
    shape: tuple[int, ...],
    batch_size: int,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Read stored features back as batches.

    Args:
        paths: files of N rows each, all of the same images in the same order.
        targets: (N, n_classes) float32, the probabilities that the model should predict.
        weights: (N,) float32, how much each image counts in the loss.
        shape: of one row.
        batch_size: rows in a batch.
        seed: of the order, in which the files follow one another without end; None keeps the order, once.

    Returns:
        A data set of ((n, *shape) float32 features, (n, n_classes) float32 targets, (n,) float32 weights).
    """
    import tensorflow as tf

    row_bytes = bytes_of_row(shape)
    rows = tf.data.FixedLengthRecordDataset([str(path) for path in paths], row_bytes)
    rows = rows.apply(tf.data.experimental.assert_cardinality(len(paths) * len(targets)))
    data = tf.data.Dataset.zip(rows, tf.data.Dataset.from_tensor_slices((targets, weights)).repeat(len(paths)))
    if seed is not None:
        data = data.shuffle(max(batch_size, min(len(targets), SHUFFLE_BYTES // row_bytes)), seed=seed).repeat()

    def decode(records: tf.Tensor, truth: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        values = tf.cast(tf.io.decode_raw(records, tf.float16), tf.float32)
        return tf.reshape(values, (-1, *shape)), *truth

    return data.batch(batch_size).map(decode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
