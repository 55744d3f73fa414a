"""Longer runs of the training script: two phases, going on after a kill, what is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import train_mask_detector
from mask_detection.commands import cli


@pytest.fixture
def dataset(tmp_path: Path, make_dataset) -> Path:
    return make_dataset(tmp_path / "set", {"a": 12, "b": 12, "c": 9})


@pytest.fixture
def train(tmp_path: Path, dataset: Path, shipped_model: Path):
    """A function that trains at a tiny size into a folder of its own, and returns status and folder."""

    def run(*options: object, name: str = "run") -> tuple[int, Path]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        arguments = ["--dataset", dataset, "--model", folder / "model.h5", "--init", shipped_model, "--image-size", 64]
        arguments += ["--epochs", 3, "--views", 2, "--learning-rate", 0.01, *options]
        return train_mask_detector.main([str(argument) for argument in arguments]), folder

    return run


def test_two_phases_leave_everything_behind(train, dataset):
    status, folder = train("--fine-tune", 2, "--background", dataset / "c")

    assert status == cli.EXIT_DONE
    outputs = {"model.h5", "model.tflite", "plot.png", "report.json", "report_mistakes.png"}
    assert {path.name for path in folder.iterdir()} <= outputs
    report = json.loads((folder / "report.json").read_text())
    assert [len(report["curves"][phase]["val_loss"]) for phase in ("head", "fine_tune")] == [3, 2]
    assert sum(sum(counts.values()) for counts in report["images"].values()) == 33
    assert report["test"]["classes"].keys() == {"a", "b", "c"}
    n_validation = sum(report["images"]["validation"].values())
    n_validated_right = np.array(report["curves"]["head"]["val_accuracy"]) * n_validation
    np.testing.assert_allclose(n_validated_right, n_validated_right.round(), atol=1e-4)  # backgrounds are not counted
    n_right = sum(report["test"]["confusion_matrix"][i][i] for i in range(3))
    assert (n_right < sum(report["images"]["test"].values())) == (folder / "report_mistakes.png").exists()


def test_accuracy_is_that_of_the_images_that_have_a_class():
    from mask_detection.training.classifier import labelled_accuracy

    background = [1 / 3] * 3
    metric = labelled_accuracy()
    metric.update_state([[1, 0, 0], background, [0, 1, 0]], [[0.8, 0.1, 0.1], [0.9, 0.1, 0], [0.5, 0.3, 0.2]])
    metric.update_state([background, [0, 0, 1]], [[0.1, 0.8, 0.1], [0, 0, 1]])
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_fine_tuning_changes_the_last_blocks_and_nothing_below(train, shipped_model):
    import keras

    _, folder = train("--fine-tune", 1, "--epochs", 1)
    before, after = (keras.models.load_model(path) for path in (shipped_model, folder / "model.h5"))

    def is_changed(layer: str) -> bool:
        pairs = zip(before.get_layer(layer).get_weights(), after.get_layer(layer).get_weights(), strict=True)
        return any(not np.array_equal(old, new) for old, new in pairs)

    assert is_changed("block_6_expand")
    assert is_changed("Conv_1")
    assert not is_changed("Conv1")
    assert not is_changed("block_5_project")
    assert not is_changed("Conv_1_bn")  # BatchNorm stays as it was


def test_the_flatten_head_on_small_images(train):
    status, folder = train("--head", "flatten", "--image-size", 96)

    import keras

    model = keras.models.load_model(folder / "model.h5")
    assert status == cli.EXIT_DONE
    assert model.input_shape == (None, 96, 96, 3)
    assert model.get_layer("flatten").output.shape == (None, 3 * 3 * 1280)


def test_the_backbone_may_work_at_another_size_than_the_input(train):
    import keras

    from mask_detection.models.load import load_classifier

    status, folder = train("--backbone-size", 32, "--epochs", 1)

    model = keras.models.load_model(folder / "model.h5")
    crops = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(2)]
    expected = model.predict(np.stack([crop[..., ::-1] for crop in crops]) / np.float32(127.5) - 1, verbose=0)
    assert status == cli.EXIT_DONE
    assert model.input_shape == (None, 64, 64, 3)
    assert model.get_layer("Conv1").output.shape == (None, 16, 16, 32)
    np.testing.assert_allclose(load_classifier(folder / "model.h5").classify(crops), expected, atol=0.01)


def test_a_killed_run_goes_on_where_it_was(train, monkeypatch):
    _, whole = train("--patience", 0, name="whole")
    expected = json.loads((whole / "report.json").read_text())

    class KilledError(BaseException):
        """Nothing in the script catches it, as nothing catches a kill."""

    from mask_detection.training.checkpoints import PhaseCheckpoint

    keep = PhaseCheckpoint.keep

    def killed_after_two_epochs(self, model, values):
        keep(self, model, values)
        if self.epochs_done == 2:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(PhaseCheckpoint, "keep", killed_after_two_epochs)
        train("--patience", 0, name="killed")
    status, folder = train("--patience", 0, "--resume", name="killed")

    resumed = json.loads((folder / "report.json").read_text())
    assert status == cli.EXIT_DONE
    assert resumed["curves"]["head"]["val_loss"][:2] == pytest.approx(expected["curves"]["head"]["val_loss"][:2])
    assert len(resumed["curves"]["head"]["val_loss"]) == 3
    assert not (folder / "model.training").exists()


def test_there_must_be_something_to_resume(train, errors):
    status, _ = train("--resume")

    assert status == cli.EXIT_UNUSABLE
    assert "holds no interrupted run" in errors()[-1]


def test_it_stops_early_and_keeps_the_best_weights(train, monkeypatch):
    losses = iter([0.5, 0.4, 0.6, 0.7, 0.8, 0.9])
    from mask_detection.training.checkpoints import PhaseCheckpoint

    keep = PhaseCheckpoint.keep
    monkeypatch.setattr(
        PhaseCheckpoint, "keep", lambda self, model, values: keep(self, model, {**values, "val_loss": next(losses)})
    )

    _, folder = train("--epochs", 50, "--patience", 2)

    curves = json.loads((folder / "report.json").read_text())["curves"]["head"]
    assert curves["val_loss"] == [0.5, 0.4, 0.6, 0.7]


def test_same_seed_same_split_and_the_split_file_repeats_it(train, tmp_path):
    file = tmp_path / "split.json"
    _, first = train("--split-file", file, name="first")
    written = file.read_text()
    _, second = train("--split-file", file, name="second")
    _, third = train(name="third")

    fingerprints = {
        json.loads((run / "report.json").read_text())["dataset_fingerprint"] for run in (first, second, third)
    }
    assert len(fingerprints) == 1
    assert file.read_text() == written
