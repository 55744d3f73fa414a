"""Training the classifier: first its head, then, if asked for, the last blocks of its backbone too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.data.dataset import Samples
from mask_detection.models.mobilenet import FINE_TUNE_INPUT, HEAD_INPUT
from mask_detection.training.augmentation import AUGMENTATIONS, Augmentation
from mask_detection.training.batches import batches
from mask_detection.training.checkpoints import Curves, PhaseCheckpoint
from mask_detection.training.features import BATCH_SIZE, FeatureJob, FeatureWriter, feature_batches, write_features
from mask_detection.utils.tensorflow import compiled

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

FINE_TUNE_RATE = 0.1  # of the head's learning rate: the backbone must not forget


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes:
        epochs: of the head; an epoch has as many examples as there are training images.
        fine_tune: epochs of the second phase, in which the backbone's last blocks learn too; 0 for none.
        batch_size: images in a batch.
        learning_rate: of Adam, for the head; fine-tuning starts with a tenth and ends with 0.
        views: how many augmented copies of each training image the frozen part is run on. The epochs use them in turn,
            so more of them cost time and make overfitting harder.
        augmentation: their kind, a key of ``mask_detection.training.augmentation.AUGMENTATIONS``.
        patience: stop a phase after this many epochs without a better validation loss; 0 never stops, and ends
            with the last weights instead of the best: a rate that falls to 0 needs no choice.
        seed: of everything random.
    """

    epochs: int
    fine_tune: int
    batch_size: int
    learning_rate: float
    views: int
    augmentation: str
    patience: int
    seed: int


@dataclass(frozen=True)
class Phase:
    """A stretch of training: what lies below a layer's output is frozen, what lies above learns.

    Its learning rate may fall to 0 by its last epoch, along a cosine (Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1608.03983).
    """

    name: str
    boundary: str
    epochs: int
    views: int
    learning_rate: float
    rate_falls: bool = False


@dataclass(frozen=True)
class Examples:
    """Images with their targets.

    Attributes:
        paths: N image files.
        targets: (N, n_classes) float32, the probabilities that the model should predict.
        weights: (N,) float32, how much each counts in the loss.
    """

    paths: tuple[Path, ...]
    targets: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, samples: Samples, background: Sequence[Path], class_weights: np.ndarray) -> Examples:
        """Labelled samples, and images without a face, for which all classes should be equally probable.

        Args:
            samples: weighted as ``class_weights`` (n_classes,) says.
            background: weighted 1.
            class_weights: of a sample of each class.
        """
        n_classes = len(samples.class_names)
        one_hot = np.eye(n_classes, dtype=np.float32)[samples.labels]
        even = np.full((len(background), n_classes), 1 / n_classes, np.float32)
        weights = np.concatenate([class_weights[samples.labels], np.ones(len(background))])
        return cls((*samples.paths, *background), np.concatenate([one_hot, even]), weights.astype(np.float32))

    def shuffled(self, seed: int) -> Examples:
        """The same examples in a random order."""
        order = np.random.default_rng(seed).permutation(len(self.paths))
        return Examples(tuple(self.paths[i] for i in order), self.targets[order], self.weights[order])


def train(
    model: keras.Model,
    training: Examples,
    validation: Examples,
    options: TrainingOptions,
    run_folder: Path,
    write: FeatureWriter = write_features,
) -> dict[str, Curves]:
    """Train a model in place and leave it with the weights that did best on the validation part, or the last.

    Args:
        model: from :func:`mask_detection.models.mobilenet.build_model`.
        training: what to learn from.
        validation: what to measure on after each epoch.
        options: how to train.
        run_folder: from :func:`open_run_folder`; an interrupted run in it is continued.
        write: computes the frozen part's features.

    Returns:
        Loss and accuracy of both parts after each epoch, for each phase.
    """
    # A head that is to be fine-tuned needs only a sensible start, not all the copies.
    phases = [
        Phase("head", HEAD_INPUT, options.epochs, 1 if options.fine_tune else options.views, options.learning_rate)
    ]
    if options.fine_tune:
        rate = options.learning_rate * FINE_TUNE_RATE
        phases.append(Phase("fine_tune", FINE_TUNE_INPUT, options.fine_tune, options.views, rate, rate_falls=True))
    curves = {}
    for phase in phases:
        frozen, learning = _cut(model, phase.boundary)
        features = _Features(phase, frozen, options, run_folder, write)
        curves[phase.name] = _train_phase(features, learning, training, validation)
    return curves


def _train_phase(features: _Features, learning: keras.Model, training: Examples, validation: Examples) -> Curves:
    import keras

    phase, options = features.phase, features.options
    n_steps = -(-len(training.paths) // options.batch_size)  # an epoch
    rate = phase.learning_rate
    if phase.rate_falls:
        rate = keras.optimizers.schedules.CosineDecay(rate, phase.epochs * n_steps)
    learning.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="categorical_crossentropy",
        metrics=[labelled_accuracy()],
    )
    learning.optimizer.build(learning.trainable_variables)  # so that its state can be restored
    checkpoint = PhaseCheckpoint(features.run_folder, phase.name)
    checkpoint.restore_last(learning)

    def finish_epoch(epoch: int, values: dict[str, float]) -> None:
        checkpoint.keep(learning, values)
        if options.patience and checkpoint.epochs_done - 1 - checkpoint.best_epoch >= options.patience:
            learning.stop_training = True

    learning.fit(
        features.of_copies(training),
        initial_epoch=checkpoint.epochs_done,
        epochs=phase.epochs,
        steps_per_epoch=n_steps,
        validation_data=features.of_originals(validation),
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=finish_epoch)],
        shuffle=False,  # the data set is shuffled already
        verbose=2,
    )
    if options.patience:
        checkpoint.restore_best(learning)
    else:
        checkpoint.restore_last(learning)
    return checkpoint.curves


def labelled_accuracy() -> keras.metrics.Metric:
    """Accuracy over the images that have a class; backgrounds, whose targets are even, are not counted."""
    import keras

    class LabelledAccuracy(keras.metrics.CategoricalAccuracy):
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            has_class = keras.ops.max(y_true, axis=-1) > 0.5
            super().update_state(y_true, y_pred, keras.ops.cast(has_class, "float32"))

    return LabelledAccuracy(name="accuracy")


def _cut(model: keras.Model, boundary: str) -> tuple[keras.Model, keras.Model]:
    """Split a model at a layer's output into two that share its weights; BatchNorm keeps its ImageNet statistics."""
    import keras

    between = model.get_layer(boundary).output
    frozen, learning = keras.Model(model.input, between), keras.Model(between, model.output)
    frozen.trainable = False
    for layer in learning.layers:  # one by one: an earlier phase froze some
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return frozen, learning


@dataclass(frozen=True)
class _Features:
    """The frozen part's outputs for one phase, as batches for the part that learns."""

    phase: Phase
    frozen: keras.Model
    options: TrainingOptions
    run_folder: Path
    write: FeatureWriter

    def of_copies(self, examples: Examples) -> tf.data.Dataset:
        """Of augmented copies, shuffled, without end."""
        options, files = self.options, []
        examples = examples.shuffled(options.seed)
        for number in range(min(self.phase.views, self.phase.epochs)):
            augment, seed = AUGMENTATIONS[options.augmentation], options.seed + number
            files.append(self._file(f"copy {number + 1}", examples, augment, seed))
        shape = self.frozen.output_shape[1:]
        return feature_batches(files, examples.targets, examples.weights, shape, options.batch_size, options.seed)

    def of_originals(self, examples: Examples) -> tf.data.Dataset:
        """Of the images as they are, once."""
        file = self._file("validation", examples)
        shape = self.frozen.output_shape[1:]
        return feature_batches([file], examples.targets, examples.weights, shape, self.options.batch_size)

    def _file(self, what: str, examples: Examples, augment: Augmentation | None = None, seed: int = 0) -> Path:
        """Where the features are; an interrupted run may have left them."""
        path = self.run_folder / f"{self.phase.name} {what}.float16"
        if not path.exists():
            self.write(path, self.frozen, FeatureJob(f"{self.phase.name}: {what}", examples.paths, augment, seed))
        return path


def predict(model: keras.Model, samples: Samples) -> np.ndarray:
    """The model's probabilities for each image, (N, n_classes) float32."""
    data = batches(samples.paths, model.input_shape[1], BATCH_SIZE)
    network = compiled(model)
    return np.concatenate([network(images) for images in data])
