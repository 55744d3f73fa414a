"""Training the face detector: a schedule, Keras's fit, and after each epoch its average precision on other photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mask_detection.evaluation.metrics import GroundTruth, ScoredBoxes, match_images
from mask_detection.models.face_detector import keep_faces
from mask_detection.models.fcos import INPUT_MULTIPLE, decode
from mask_detection.models.preprocessing import detector_input
from mask_detection.training.checkpoints import Curves, PhaseCheckpoint
from mask_detection.training.detector.dataset import ImageStore, LabelledImage
from mask_detection.training.detector.loss import make_loss
from mask_detection.training.detector.mosaic import example_batches
from mask_detection.utils.tensorflow import compiled

if TYPE_CHECKING:
    import keras

    from mask_detection.training.detector.teacher import Teacher

WARM_UP_FRACTION = 0.05  # of all steps, in which the learning rate rises
LAST_RATE = 0.01  # of the learning rate, at the end of its fall
WEIGHT_DECAY = 0.01
CLIP_NORM = 10.0  # of the whole gradient: a rare odd batch must not throw the network off
AVERAGE_OVER = 500  # steps: the weights that are measured and kept are an average over about so many last ones
MAX_AVERAGED_FRACTION = 0.1  # of all steps, in short runs

MIN_SCORE = 0.1  # as mask_detection.commands.evaluate counts
SIZES = (0, 32)  # pixels; average precision is measured for faces of at least this size


@dataclass(frozen=True)
class DetectorOptions:
    """How to train.

    Attributes:
        epochs: in all; 0 leaves the network as it is.
        steps: batches in an epoch; None: as many as show each training photo once.
        final_epochs: how many of the epochs, the last ones, see images of ``final_size``.
        size: width and height of the training images in pixels, a multiple of 32.
        final_size: likewise.
        batch_size: images in a batch.
        learning_rate: the highest, after the warm-up.
        seed: of the training images.
    """

    epochs: int
    steps: int | None
    final_epochs: int
    size: int
    final_size: int
    batch_size: int
    learning_rate: float
    seed: int

    def steps_for(self, n_photos: int) -> int:
        """Batches in an epoch over so many training photos."""
        return self.steps or -(-n_photos // self.batch_size)


def train_detector(
    model: keras.Model,
    training: ImageStore,
    weights: np.ndarray,
    validation: ImageStore,
    class_names: Sequence[str],
    class_weights: np.ndarray,
    options: DetectorOptions,
    run_folder: Path,
    teacher: Teacher | None = None,
) -> Curves:
    """Train a detector in place, and leave it with averaged weights.

    Args:
        model: from :func:`mask_detection.models.fcos.build_detector`.
        training: the photos to learn from.
        weights: (P,) how often each is drawn, relative to the others.
        validation: the photos to measure on.
        class_names: in the order of the model's outputs.
        class_weights: of a face of each class in the loss.
        options: how to train.
        run_folder: from :func:`open_run_folder`; an interrupted run in it is continued.
        teacher: a detector to learn from, too.

    Returns:
        Loss, learning rate and average precisions after each epoch; the latter alone where there is none to train.
    """
    from tqdm.keras import TqdmCallback

    if not options.epochs:
        figures = measure(compiled(model), validation, class_names, options.final_size)
        return {name: [value] for name, value in figures.items()}
    steps = options.steps_for(len(training))
    model.compile(optimizer=_optimizer(options, steps), loss=make_loss(class_weights.tolist()))
    model.optimizer.build(model.trainable_variables)  # so that its state can be restored
    checkpoint = PhaseCheckpoint(run_folder, "detector", monitor="loss")
    measuring = _measuring(model, validation, class_names, options, checkpoint)
    callbacks = [measuring, TqdmCallback(disable=None, leave=False)]
    for size, until in (
        (options.size, options.epochs - options.final_epochs),
        (options.final_size, options.epochs),
    ):
        checkpoint.restore_last(model)  # not only of a killed run: `fit` ends with the averaged weights in the model
        if (done := checkpoint.epochs_done) < until:
            first = done * steps * options.batch_size
            data = example_batches(training, weights, size, options.batch_size, options.seed, first, teacher)
            model.fit(
                data,
                initial_epoch=done,
                epochs=until,
                steps_per_epoch=steps,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return checkpoint.curves


def _measuring(
    model: keras.Model,
    validation: ImageStore,
    class_names: Sequence[str],
    options: DetectorOptions,
    checkpoint: PhaseCheckpoint,
) -> keras.callbacks.Callback:
    """What measures the averaged weights after each epoch, and puts figures and state on disk."""
    import keras

    predict = compiled(model)

    def finish_epoch(epoch: int, values: dict[str, float]) -> None:
        with averaged_weights(model):
            figures = measure(predict, validation, class_names, options.final_size)
        checkpoint.keep(model, {"loss": values["loss"], **figures})
        described = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        print(f"epoch {epoch + 1}/{options.epochs}: loss {values['loss']:.3f}, {described}")

    return keras.callbacks.LambdaCallback(on_epoch_end=finish_epoch)


def _optimizer(options: DetectorOptions, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """AdamW with a warm-up, a cosine's fall (Loshchilov and Hutter 2017), and a running average of the weights."""
    import keras

    steps = options.epochs * steps_per_epoch
    warm_up = round(steps * WARM_UP_FRACTION)
    rate = keras.optimizers.schedules.CosineDecay(
        options.learning_rate * LAST_RATE,
        steps - warm_up,
        alpha=LAST_RATE,
        warmup_target=options.learning_rate,
        warmup_steps=warm_up,
    )
    averaged = max(1.0, min(AVERAGE_OVER, steps * MAX_AVERAGED_FRACTION))
    return keras.optimizers.AdamW(
        rate, weight_decay=WEIGHT_DECAY, global_clipnorm=CLIP_NORM, use_ema=True, ema_momentum=1 - 1 / averaged
    )


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Give a model the running average of its weights for a while."""
    from keras import ops

    own = [ops.copy(variable.value) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)


def measure(
    predict: Callable[[np.ndarray], np.ndarray], photos: ImageStore, class_names: Sequence[str], input_size: int
) -> dict[str, float]:
    """Average precision of faces and the mean over the classes, of all sizes and of the larger ones.

    Args:
        predict: the detector as a function.
        photos: whose faces are known.
        class_names: in the order of the model's outputs.
        input_size: of a photo's longer side in the detector's input, in pixels.
    """
    pairs = [_examine(photos[i], predict, class_names, input_size) for i in range(len(photos))]
    by_class = [(classes, truth) for _, classes, truth in pairs]
    figures = {}
    for size in SIZES:
        suffix = f"_{size}px" if size else ""
        faces = match_images(((faces, truth) for faces, _, truth in pairs), ignored_labels=["?"], min_size=size)
        precisions = [
            match_images(by_class, name, ignored_labels=["", "?"], min_size=size).average_precision
            for name in class_names
        ]
        figures[f"face_ap{suffix}"] = faces.average_precision
        figures[f"map{suffix}"] = float(np.nanmean(precisions)) if np.isfinite(precisions).any() else float("nan")
    return figures


def _examine(
    photo: LabelledImage, predict: Callable[[np.ndarray], np.ndarray], class_names: Sequence[str], input_size: int
) -> tuple[ScoredBoxes, ScoredBoxes, GroundTruth]:
    """The detections in a photo, scored as faces and as classes, and the ground truth."""
    batch, scale = detector_input(photo.image, input_size, INPUT_MULTIPLE, square=True)
    boxes, scores, probabilities = decode(predict(batch)[0], batch.shape[1:3], MIN_SCORE)
    boxes, kept = keep_faces(boxes / scale, scores, photo.image.shape[:2], MIN_SCORE)
    names = np.array([*class_names, "?", ""])  # IGNORED and UNKNOWN_CLASS count from the end
    found = names[probabilities[kept].argmax(axis=1)] if len(kept) else np.empty(0, str)
    class_scores = probabilities[kept].max(axis=1, initial=0.0)
    truth = GroundTruth(photo.boxes, names[photo.labels])
    return (
        ScoredBoxes(boxes, found, scores[kept]),
        ScoredBoxes(boxes, found, scores[kept] * class_scores),
        truth,
    )
