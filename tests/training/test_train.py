"""Training through its script: what it leaves behind, what it says, and what it refuses before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import train_mask_detector
from mask_detection.commands import cli
from mask_detection.data.dataset import scan
from mask_detection.data.splits import split, without_leaks
from mask_detection.io.images import read_image
from mask_detection.models.mobilenet import build_model
from tests.helpers.tiny_backbone import tiny_mobilenet

pytestmark = pytest.mark.xdist_group("tensorflow")

SMALL = ["--epochs", "1", "--views", "1", "--image-size", "32"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the run writes."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def dataset(tmp_path: Path, make_dataset) -> Path:
    return make_dataset(tmp_path / "set", {"mask": 4, "none": 4})


@pytest.fixture
def train(folder: Path, tiny_backbone):
    """A function that trains a tiny network on a data set and returns the exit status."""

    def run(dataset: Path, *options: object) -> int:
        files = ["--dataset", dataset, "--model", folder / "model.h5", "--plot", folder / "plot.png"]
        arguments = [*files, *SMALL, *options]  # of an option given twice the last one counts
        return train_mask_detector.main([str(argument) for argument in arguments])

    return run


# --- a run that succeeds ---


def test_a_run_ends_well_and_leaves_only_whole_files(trained):
    assert trained.status == cli.EXIT_DONE
    assert {"model.h5", "plot.png"} <= {path.name for path in trained.folder.iterdir()}
    assert not [path for path in trained.folder.rglob("*") if "part" in path.name or path.is_dir()]


def test_the_report_is_printed(trained):
    for expected in ("with_mask", "without_mask", "precision", "recall", "accuracy", "took no part in training"):
        assert expected in trained.printed
    assert str(trained.model) in trained.printed
    assert str(trained.plot) in trained.printed


def test_the_plot_shows_something(trained):
    plot = read_image(trained.plot)
    assert min(plot.shape[:2]) >= 300
    assert len(np.unique(plot.reshape(-1, 3), axis=0)) > 20


def test_the_trained_model_detects(trained, photo, tmp_path):
    import detect_mask_image

    answers = tmp_path / "answers.jsonl"
    files = ["--image", str(photo), "--json", str(answers), "--model", str(trained.model)]
    assert detect_mask_image.main([*files, "--detector", "haar", "--no-display"]) == cli.EXIT_DONE
    (face,) = json.loads(answers.read_text())["faces"]
    assert face["label"] in {"with_mask", "without_mask"}
    assert 0.5 <= face["probability"] <= 1


def test_imagenet_weights_are_the_default_start(train, dataset, monkeypatch):
    weights = []
    monkeypatch.setattr(
        "keras.applications.MobileNetV2",
        lambda **options: weights.append(options["weights"]) or tiny_mobilenet(**options),
    )
    assert train(dataset) == cli.EXIT_DONE
    assert weights == [None, "imagenet"]


def test_imagenet_weights_serve_every_size_and_head(shared):
    """With the real network."""
    model = build_model(3, 96, head="flatten")
    (imagenet,) = (shared / "keras" / "models").glob("*no_top.h5")
    (kernel,) = model.get_layer("Conv1").get_weights()
    np.testing.assert_array_equal(kernel, first_kernel(imagenet))
    assert model.get_layer("flatten").output.shape == (None, 3 * 3 * 1280)
    assert model.output_shape == (None, 3)


def first_kernel(path: Path) -> np.ndarray:
    """The weights of the layer Conv1, (3, 3, 3, 32)."""
    kernels = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: kernels.append(item[()]) if "Conv1/kernel" in name else None)
    (kernel,) = kernels
    return kernel


# --- the split ---


def parts_of(dataset: Path, seed: int) -> dict[str, list[str]]:
    samples, groups, _ = without_leaks(scan([dataset]), ())
    made = split(samples, groups, validation_size=0.1, test_size=0.2, seed=seed)
    return {part: samples.names for part, samples in made.parts().items()}


def test_the_same_seed_gives_the_same_split_and_another_seed_another(make_dataset, tmp_path):
    dataset = make_dataset(tmp_path / "set", {"mask": 30, "none": 30})
    first, again, other = (parts_of(dataset, seed) for seed in (7, 7, 8))
    assert first == again
    assert first["test"] != other["test"]


def test_the_parts_hold_every_image_once_and_the_classes_in_proportion(make_dataset, tmp_path):
    dataset = make_dataset(tmp_path / "set", {"mask": 20, "none": 40})
    parts = parts_of(dataset, seed=1)
    names = [name for part in parts.values() for name in part]
    assert sorted(names) == sorted(path.relative_to(dataset).as_posix() for path in dataset.rglob("*.png"))
    counts = {part: [sum(name.startswith(c) for name in parts[part]) for c in ("mask", "none")] for part in parts}
    assert counts == {"train": [14, 28], "validation": [2, 4], "test": [4, 8]}


# --- what is refused ---


def test_a_model_that_is_no_h5_is_a_usage_error(train, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        train(tmp_path, "--model", tmp_path / "model.keras")
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert "does not end in .h5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--epochs", "0"), ("--image-size", "16"), ("--test-size", "1.5"), ("--batch-size", "-1"), ("--seed", "x")],
)
def test_senseless_options_are_usage_errors(train, tmp_path, option, value, capsys):
    with pytest.raises(SystemExit) as caught:
        train(tmp_path, option, value)
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert option in capsys.readouterr().err


# --- a run that fails on the way ---


@pytest.fixture
def old_model(folder: Path) -> Path:
    """What an earlier run left at the same place."""
    path = folder / "model.h5"
    path.write_bytes(b"the model of yesterday")
    return path


def test_a_start_model_of_another_kind_leaves_the_old_model_alone(train, dataset, old_model, tiny_model, errors):
    assert train(dataset, "--init", tiny_model) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert f"{tiny_model}: has no MobileNetV2 backbone" in error
    assert old_model.read_bytes() == b"the model of yesterday"


def test_ctrl_c_leaves_the_old_model_alone(train, dataset, old_model, monkeypatch):
    import keras

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", interrupt)
    assert train(dataset) == cli.EXIT_INTERRUPTED
    assert old_model.read_bytes() == b"the model of yesterday"
    assert not list(old_model.parent.glob("*.part*"))
