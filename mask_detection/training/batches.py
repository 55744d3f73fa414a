"""The tf.data pipeline: reads images as they are needed, several at a time, and makes batches for the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mask_detection.io.images import read_image
from mask_detection.models.preprocessing import classifier_input, resize
from mask_detection.training.augmentation import Augmentation

if TYPE_CHECKING:
    import tensorflow as tf


def batches(
    paths: Sequence[Path],
    input_size: int,
    batch_size: int,
    augment: Augmentation | None = None,
    seed: int = 0,
    first: int = 0,
) -> tf.data.Dataset:
    """Batches of images, in their order, once.

    Args:
        paths: the images.
        input_size: width and height of the batches in pixels.
        batch_size: images in a batch.
        augment: makes a random copy of each image, which takes its place.
        seed: of the copies: image i gets the same one whenever the seed is the same.
        first: the number of the first image, where these are a part of more.

    Returns:
        A data set of (n, input_size, input_size, 3) float32 RGB in -1..1, n <= batch_size.
    """
    import tensorflow as tf

    def load(index: np.int64) -> np.ndarray:
        image = resize(read_image(paths[int(index)]), input_size)
        if augment:
            image = augment(image, np.random.default_rng((seed, first + int(index))))
        return classifier_input([image], input_size)[0]

    def example(index: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(load, [index], tf.float32)
        return tf.ensure_shape(image, (input_size, input_size, 3))

    loaded = tf.data.Dataset.range(len(paths)).map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return loaded.batch(batch_size).prefetch(tf.data.AUTOTUNE)
