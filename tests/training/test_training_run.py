"""Longer runs of the training script: two phases, going on after a kill, what is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import train_mask_detector
from mask_detection.commands import cli
from mask_detection.models.keras_file import load_keras_model
from mask_detection.models.load import load_classifier
from mask_detection.training.checkpoints import PhaseCheckpoint
from mask_detection.training.classifier import labelled_accuracy
from tests.helpers.tiny_backbone import CHANNELS

pytestmark = pytest.mark.xdist_group("tensorflow")

Train = Callable[..., tuple[int, Path]]


@pytest.fixture
def dataset(tmp_path: Path, make_dataset) -> Path:
    return make_dataset(tmp_path / "set", {"a": 12, "b": 12, "c": 9})


@pytest.fixture
def train_network(tmp_path: Path, dataset: Path) -> Train:
    """A function that trains at a tiny size into a folder of its own, and returns status and folder."""

    def run(*options: object, name: str = "run") -> tuple[int, Path]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        arguments = ["--dataset", dataset, "--model", folder / "model.h5", "--image-size", 64]
        arguments += ["--epochs", 3, "--views", 2, "--learning-rate", 0.01, *options]
        return train_mask_detector.main([str(argument) for argument in arguments]), folder

    return run


@pytest.fixture
def train(train_network: Train, tiny_backbone) -> Train:
    """The same with a tiny backbone."""
    return train_network


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


class KilledError(BaseException):
    """Nothing in the script catches it, as nothing catches a kill."""


@contextmanager
def killed_after(phase: str, n_epochs: int) -> Iterator[None]:
    """Kill the run in the block when a phase has finished so many epochs."""
    keep = PhaseCheckpoint.keep

    def keep_and_die(self: PhaseCheckpoint, *arguments: object) -> None:
        keep(self, *arguments)
        if self.epochs_done == n_epochs and (self._folder / f"{phase}.json").exists():
            raise KilledError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(PhaseCheckpoint, "keep", keep_and_die)
        yield


def test_two_phases_leave_everything_behind(train, dataset):
    rare = ["--class-weight", "c=0.2", "--bias-for", "c"]
    status, folder = train("--fine-tune", 2, "--background", dataset / "c", *rare)

    assert status == cli.EXIT_DONE
    outputs = {"model.h5", "model.tflite", "plot.png", "report.json", "report_mistakes.png"}
    assert {path.name for path in folder.iterdir()} <= outputs
    report = report_of(folder)
    assert [len(report["curves"][phase]["val_loss"]) for phase in ("head", "fine_tune")] == [3, 2]
    assert sum(sum(counts.values()) for counts in report["images"].values()) == 33
    assert report["test"]["classes"].keys() == {"a", "b", "c"}
    n_validation = sum(report["images"]["validation"].values())
    n_validated_right = np.array(report["curves"]["head"]["val_accuracy"]) * n_validation
    np.testing.assert_allclose(n_validated_right, n_validated_right.round(), atol=1e-4)  # backgrounds are not counted
    assert report["bias"]["class"] == "c"
    assert report["bias"]["validation_f1"] >= report["bias"]["validation_f1_before"]
    with h5py.File(folder / "model.h5") as file:
        assert json.loads(file.attrs["bias"]) == report["bias"]
    n_right = sum(report["test"]["confusion_matrix"][i][i] for i in range(3))
    assert (n_right < sum(report["images"]["test"].values())) == (folder / "report_mistakes.png").exists()


def test_accuracy_is_that_of_the_images_that_have_a_class():
    background = [1 / 3] * 3
    metric = labelled_accuracy()
    metric.update_state([[1, 0, 0], background, [0, 1, 0]], [[0.8, 0.1, 0.1], [0.9, 0.1, 0], [0.5, 0.3, 0.2]])
    metric.update_state([background, [0, 0, 1]], [[0.1, 0.8, 0.1], [0, 0, 1]])
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_killed_fine_tuning_goes_on_and_changes_the_last_blocks_and_nothing_below(train_network, shipped_model):
    """With the real network."""
    import keras

    options = ("--init", shipped_model, "--epochs", 1, "--fine-tune", 2, "--views", 1)
    with killed_after("fine_tune", 1):
        train_network(*options)
    status, folder = train_network(*options, "--resume")
    before, after = (keras.models.load_model(path) for path in (shipped_model, folder / "model.h5"))

    def is_changed(layer: str) -> bool:
        pairs = zip(before.get_layer(layer).get_weights(), after.get_layer(layer).get_weights(), strict=True)
        return any(not np.array_equal(old, new) for old, new in pairs)

    assert status == cli.EXIT_DONE
    assert [len(report_of(folder)["curves"][phase]["val_loss"]) for phase in ("head", "fine_tune")] == [1, 2]
    assert is_changed("block_6_expand")
    assert is_changed("Conv_1")
    assert not is_changed("Conv1")
    assert not is_changed("block_5_project")
    assert not is_changed("Conv_1_bn")  # BatchNorm stays as it was


def test_the_flatten_head_on_small_images(train):
    import keras

    status, folder = train("--head", "flatten", "--image-size", 96, "--epochs", 1)

    model = keras.models.load_model(folder / "model.h5")
    assert status == cli.EXIT_DONE
    assert model.input_shape == (None, 96, 96, 3)
    assert model.get_layer("flatten").output.shape == (None, 3 * 3 * CHANNELS)
    assert model.layers[-2].name == "flatten"


def test_the_backbone_may_work_at_another_size_than_the_input(train):
    import keras

    status, folder = train("--backbone-size", 32, "--epochs", 1, "--bias-for", "c=-30")

    model = keras.models.load_model(folder / "model.h5")
    crops = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(2)]
    expected = model.predict(np.stack([crop[..., ::-1] for crop in crops]) / np.float32(127.5) - 1, verbose=0)
    assert status == cli.EXIT_DONE
    assert model.input_shape == (None, 64, 64, 3)
    assert model.get_layer("Conv1").output.shape == (None, 16, 16, CHANNELS)
    np.testing.assert_allclose(load_classifier(folder / "model.h5").classify(crops), expected, atol=0.01)
    assert expected[:, 2].max() < 1e-6  # the class with the bias


def test_a_killed_run_goes_on_where_it_was(train, errors):
    _, whole = train("--patience", 0, name="whole")
    expected = report_of(whole)["curves"]["head"]["val_loss"]

    with killed_after("head", 2):
        train("--patience", 0, name="killed")
    assert train("--patience", 0, name="killed")[0] == cli.EXIT_UNUSABLE
    assert errors()[-1].endswith("model.training: holds an interrupted run; add --resume to continue it or --restart")
    status, folder = train("--patience", 0, "--resume", name="killed")

    resumed = report_of(folder)["curves"]["head"]["val_loss"]
    assert status == cli.EXIT_DONE
    assert resumed[:2] == pytest.approx(expected[:2])
    assert len(resumed) == 3
    assert not (folder / "model.training").exists()


@pytest.mark.parametrize("option", ["--bias-for", "--class-weight"])
def test_a_class_that_there_is_not_is_refused_before_training(train, errors, option):
    status, folder = train(option, "d=0.1")

    assert status == cli.EXIT_UNUSABLE
    assert f"{option} d=0.1: the data set has no class d, only a, b, c" in errors()[-1]
    assert not list(folder.iterdir())


def test_there_must_be_something_to_resume(train, errors):
    status, _ = train("--resume")

    assert status == cli.EXIT_UNUSABLE
    assert "holds no interrupted run" in errors()[-1]


@pytest.mark.parametrize(("epochs", "patience", "n_epochs", "kept"), [(50, 2, 4, 1), (5, 0, 5, -1)])
def test_it_stops_early_with_the_best_weights_or_never_with_the_last(
    train, monkeypatch, epochs, patience, n_epochs, kept
):
    losses, weights = [0.5, 0.4, 0.6, 0.7, 0.8], []
    keep = PhaseCheckpoint.keep

    def keep_and_note(self: PhaseCheckpoint, model: Any, values: dict[str, float]) -> None:
        keep(self, model, {**values, "val_loss": losses[len(weights)]})
        weights.append(model.layers[-1].get_weights()[0])

    monkeypatch.setattr(PhaseCheckpoint, "keep", keep_and_note)
    _, folder = train("--epochs", epochs, "--patience", patience)

    assert report_of(folder)["curves"]["head"]["val_loss"] == losses[:n_epochs]
    model, _ = load_keras_model(folder / "model.h5")
    np.testing.assert_array_equal(model.layers[-1].get_weights()[0], weights[kept])
    assert not np.array_equal(weights[1], weights[-1])


def test_same_seed_same_split_and_the_split_file_repeats_it(train, tmp_path):
    file = tmp_path / "split.json"
    _, first = train("--split-file", file, "--epochs", 1, name="first")
    written = file.read_text()
    _, second = train("--split-file", file, "--epochs", 1, name="second")
    _, third = train("--epochs", 1, name="third")

    assert len({report_of(folder)["dataset_fingerprint"] for folder in (first, second, third)}) == 1
    assert file.read_text() == written
