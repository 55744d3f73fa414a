"""Training the classifier: the frozen backbone sees each image a few times, the head learns from what it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from mask_detection.augmentation import classic_view
from mask_detection.dataset import Samples, Split, View, batches
from mask_detection.model import HEAD_INPUT

if TYPE_CHECKING:
    import keras

Curves = dict[str, list[float]]  # loss, accuracy, val_loss, val_accuracy; a value an epoch


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        epochs: how often the head sees as many examples as there are training images.
        batch_size: images in a batch.
        learning_rate: of Adam.
        views: how many random views of each training image the backbone is run on. The head meets all of them in
            turn, so more of them cost time and make it less prone to learn images by heart.
        seed: of everything random.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-4
    views: int = 4
    seed: int = 42


def train_head(model: keras.Model, split: Split, options: TrainingOptions) -> Curves:
    """Train what lies above the frozen backbone.

    The backbone's answers to an image never change while it is frozen, and computing them is nearly all of the cost:
    so they are computed once for each of a few random views, and the epochs run over these features.

    Args:
        model: from :func:`mask_detection.model.build_model`; its head is trained in place.
        split: its training part is learned from, its validation part is only measured on.
        options: how to train.

    Returns:
        Loss and accuracy of both parts after each epoch.
    """
    import keras
    import tensorflow as tf

    boundary = model.get_layer(HEAD_INPUT).output
    backbone, head = keras.Model(model.input, boundary), keras.Model(boundary, model.output)

    train = np.concatenate(
        [
            _features(backbone, split.train, options, f"view {view + 1} of {options.views}", classic_view, view)
            for view in range(options.views)
        ]
    )  # (views * N, d)
    train_labels = np.tile(split.train.labels, options.views)
    validation = _features(backbone, split.validation, options, "validation")

    head.compile(
        optimizer=keras.optimizers.Adam(options.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    examples = tf.data.Dataset.from_tensor_slices((train, train_labels))
    examples = examples.shuffle(len(train), seed=options.seed).repeat().batch(options.batch_size)
    history = head.fit(
        examples,
        epochs=options.epochs,
        steps_per_epoch=-(-len(split.train) // options.batch_size),
        validation_data=(validation, split.validation.labels),
        shuffle=False,
        verbose=2,
    )
    return history.history


def _features(
    backbone: keras.Model,
    samples: Samples,
    options: TrainingOptions,
    progress_title: str,
    view: View | None = None,
    view_number: int = 0,
) -> np.ndarray:
    """The frozen part's answers, (N, d) float32."""
    data = batches(samples, backbone.input_shape[1], options.batch_size, view, seed=options.seed + view_number)
    n_batches = -(-len(samples) // options.batch_size)
    progress = tqdm(data, progress_title, n_batches, unit="batch", disable=None, leave=False)
    return np.concatenate([backbone.predict_on_batch(images) for images, _ in progress])


def predict(model: keras.Model, samples: Samples, batch_size: int) -> np.ndarray:
    """The model's probabilities for each image, (N, n_classes) float32."""
    data = batches(samples, model.input_shape[1], batch_size)
    return np.concatenate([model.predict_on_batch(images) for images, _ in data])
