"""Training the face detector's loop with a network of a few weights: continuing after a kill, averaged weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.data.annotations import Annotation
from mask_detection.training.checkpoints import Curves, PhaseCheckpoint
from mask_detection.training.detector import trainer
from mask_detection.training.detector.dataset import ImageStore
from mask_detection.training.detector.trainer import DetectorOptions, averaged_weights, train_detector

pytestmark = pytest.mark.xdist_group("tensorflow")

CLASS_NAMES = ("with_mask", "without_mask")
OPTIONS = DetectorOptions(
    epochs=3, steps=2, final_epochs=1, size=64, final_size=96, batch_size=2, learning_rate=0.1, seed=1
)


@pytest.fixture
def photos(tmp_path: Path, small_portrait: np.ndarray) -> ImageStore:
    """One portrait, with its face."""
    cv2.imwrite(str(tmp_path / "portrait.png"), small_portrait)
    annotation = Annotation(tmp_path / "portrait.png", np.array([[90, 60, 170, 160]], np.float32), ("without_mask",))
    ImageStore.write(tmp_path / "photos.uint8", [annotation], CLASS_NAMES, "storing")
    return ImageStore(tmp_path / "photos.uint8")


def tiny_detector():
    """A cell sees the mean colour of its square, and nothing more."""
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    levels = [
        keras.layers.Reshape((-1, 7))(keras.layers.Conv2D(7, 1)(keras.layers.AveragePooling2D(stride)(image)))
        for stride in (8, 16, 32)
    ]
    return keras.Model(image, keras.layers.Concatenate(axis=1)(levels))


def train(photos: ImageStore, run_folder: Path) -> tuple[Curves, list[np.ndarray]]:
    """Curves and weights of a run, or of what is left to do of it."""
    run_folder.mkdir(exist_ok=True)
    model = tiny_detector()
    curves = train_detector(model, photos, np.ones(1), photos, CLASS_NAMES, np.ones(2), OPTIONS, run_folder)
    return curves, model.get_weights()


class KilledError(BaseException):
    """Nothing in the package catches it, as nothing catches a kill."""


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "MAX_AVERAGED_FRACTION", 1.0)  # so that the average is not the last step's weights
    whole_curves, whole_weights = train(photos, tmp_path / "whole")
    keep = PhaseCheckpoint.keep

    def killed(self, model, values):
        keep(self, model, values)
        raise KilledError

    for _ in range(2):  # among the small images, and before the large ones
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(PhaseCheckpoint, "keep", killed)
            train(photos, tmp_path / "killed")
    curves, weights = train(photos, tmp_path / "killed")

    assert curves["loss"] == pytest.approx(whole_curves["loss"], rel=1e-4)
    for resumed, uninterrupted in zip(weights, whole_weights, strict=True):
        np.testing.assert_allclose(resumed, uninterrupted, rtol=1e-4, atol=1e-6)


def test_the_average_is_lent_and_taken_back(photos):
    import keras

    model = tiny_detector()
    model.compile(optimizer=keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5), loss="mse")
    images = np.full((1, 32, 32, 3), 0.5, np.float32)
    model.fit(images, np.ones((1, 21, 7)), verbose=0)
    own = model.get_weights()
    model.optimizer._model_variables_moving_average[0].assign_add(np.ones(own[0].shape))

    with averaged_weights(model):
        lent = model.get_weights()

    np.testing.assert_allclose(lent[0], own[0] + 1, rtol=1e-6)
    for before, after in zip(own, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
