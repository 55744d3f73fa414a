"""From class folders to batches: scan, split, and a tf.data pipeline that reads images as they are needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from mask_detection.errors import MaskDetectionError
from mask_detection.images import is_image_file, read_image
from mask_detection.preprocessing import classifier_input, resize

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

View = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # (H, W, 3) uint8 -> the same

MAX_FOLDS = 20  # splits are made of whole folds: sizes are right to 1/20
MIN_IMAGES_A_CLASS = 3  # one for each of training, validation and test


@dataclass(frozen=True)
class Samples:
    """Labelled images of a data set.

    Attributes:
        paths: N image files.
        labels: (N,) int, index into ``class_names``.
        class_names: the names of the class folders, sorted.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: np.ndarray) -> Samples:
        """The samples at some indices, in that order."""
        return Samples(tuple(self.paths[i] for i in indices), self.labels[indices], self.class_names)


@dataclass(frozen=True)
class Split:
    """The three parts of a data set."""

    train: Samples
    validation: Samples
    test: Samples


def scan(folders: Sequence[Path]) -> Samples:
    """List the images of one or more data sets that hold a folder for each class.

    Raises:
        MaskDetectionError: a folder is missing, there are fewer than two classes, or a class has too few images.
    """
    paths_of_class: dict[str, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise MaskDetectionError(f"{folder}: there is no such folder; name one that holds a folder for each class")
        for class_folder in _visible(folder):
            if class_folder.is_dir():
                images = [path for path in _visible(class_folder) if path.is_file() and is_image_file(path)]
                paths_of_class.setdefault(class_folder.name, []).extend(images)
    _check_classes(folders, paths_of_class)
    class_names = tuple(sorted(paths_of_class))
    paths = [path for name in class_names for path in paths_of_class[name]]
    labels = np.repeat(np.arange(len(class_names)), [len(paths_of_class[name]) for name in class_names])
    return Samples(tuple(paths), labels, class_names)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _check_classes(folders: Sequence[Path], paths_of_class: dict[str, list[Path]]) -> None:
    where = ", ".join(map(str, folders))
    if len(paths_of_class) < 2:
        found = f"only the class folder {next(iter(paths_of_class))}" if paths_of_class else "no class folders"
        raise MaskDetectionError(f"{where}: holds {found}; two are needed, such as with_mask and without_mask")
    for name, paths in paths_of_class.items():
        if len(paths) < MIN_IMAGES_A_CLASS:
            raise MaskDetectionError(
                f"{where}: the class {name} has {len(paths)} images; give each class {MIN_IMAGES_A_CLASS} or more"
            )


def leave_out_unreadable(samples: Samples) -> tuple[Samples, int]:
    """Decode every image once, name those that cannot be read, and go on without them.

    Returns:
        The readable samples, and how many were left out.

    Raises:
        MaskDetectionError: too few of a class can be read.
    """
    with ThreadPoolExecutor() as pool:
        checks = pool.map(_is_readable, samples.paths)
        progress = tqdm(checks, "checking images", len(samples), unit="image", disable=None, leave=False)
        readable = np.fromiter(progress, bool, len(samples))
    kept = samples.select(np.flatnonzero(readable))
    for label, name in enumerate(samples.class_names):
        if (count := np.count_nonzero(kept.labels == label)) < MIN_IMAGES_A_CLASS:
            raise MaskDetectionError(f"{name}: only {count} of this class's images can be read; add more")
    return kept, len(samples) - len(kept)


def _is_readable(path: Path) -> bool:
    try:
        read_image(path)
    except MaskDetectionError as error:
        logger.error("error: %s; left out", error)
        return False
    return True


def split(samples: Samples, validation_size: float, test_size: float, seed: int) -> Split:
    """Split at random into training, validation and test, each with the classes in their proportions.

    Args:
        samples: all samples.
        validation_size: part of all samples, 0..1.
        test_size: likewise.
        seed: the same seed gives the same split.
    """
    n_folds = int(min(MAX_FOLDS, np.bincount(samples.labels).min()))
    n_test = max(1, round(test_size * n_folds))
    n_validation = max(1, round(validation_size * n_folds))
    n_validation = min(n_validation, n_folds - n_test - 1)

    folder = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    groups = np.arange(len(samples))
    folds = [held_out for _, held_out in folder.split(groups, samples.labels, groups)]
    parts = folds[:n_test], folds[n_test : n_test + n_validation], folds[n_test + n_validation :]
    test, validation, train = (samples.select(np.sort(np.concatenate(part))) for part in parts)
    return Split(train, validation, test)


def batches(
    samples: Samples, input_size: int, batch_size: int, view: View | None = None, seed: int = 0, shuffle: bool = False
) -> tf.data.Dataset:
    """Read images as they are needed, several at a time, and make batches for the classifier.

    Args:
        samples: the images.
        input_size: width and height of the batches in pixels.
        batch_size: images in a batch.
        view: a random change to each image, new in each epoch.
        seed: of the views and of the order.
        shuffle: whether the order is random, new in each epoch.

    Returns:
        A data set of ((n, input_size, input_size, 3) float32 RGB in -1..1, (n,) int32 labels), n <= batch_size.
    """
    import tensorflow as tf

    def load(index: np.ndarray, view_seed: np.ndarray) -> np.ndarray:
        image = resize(read_image(samples.paths[index]), input_size)
        if view:
            image = view(image, np.random.default_rng(view_seed))
        return classifier_input([image], input_size)[0]

    def example(index: tf.Tensor, view_seed: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.numpy_function(load, [index, view_seed], tf.float32, stateful=False)
        return tf.ensure_shape(image, (input_size, input_size, 3)), label

    order = tf.data.Dataset.from_tensor_slices((np.arange(len(samples)), samples.labels.astype(np.int32)))
    if shuffle:
        order = order.shuffle(len(samples), seed=seed, reshuffle_each_iteration=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    numbered = tf.data.Dataset.zip(order, seeds).map(lambda item, view_seed: (item[0], view_seed, item[1]))
    loaded = numbered.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return loaded.batch(batch_size).prefetch(tf.data.AUTOTUNE)
