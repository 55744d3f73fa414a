"""Training with Ray: the features of one machine, byte for byte, and so the same model."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import train_mask_detector
from mask_detection.commands import cli
from mask_detection.distributed import features as module
from mask_detection.models.mobilenet import FINE_TUNE_INPUT, build_model
from mask_detection.training import features
from mask_detection.training.augmentation import street_copy
from mask_detection.training.features import FeatureJob
from mask_detection.utils.errors import MaskDetectionError

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("one_ray")]
N_IMAGES = 40  # which is no multiple of what a task takes


@pytest.fixture(autouse=True)
def _small_tasks(monkeypatch):
    monkeypatch.setattr(module, "IMAGES_PER_TASK", features.BATCH_SIZE)


@pytest.fixture(scope="session")
def frozen(shipped_model: Path):
    import keras

    model = build_model(2, 64, "classic", shipped_model)
    return keras.Model(model.input, model.get_layer(FINE_TUNE_INPUT).output)


@pytest.fixture
def images(tmp_path: Path, make_dataset) -> list[Path]:
    return sorted(make_dataset(tmp_path / "set", {"a": N_IMAGES}).rglob("*.png"))


@pytest.fixture
def _one_worker(monkeypatch):
    """Each starts TensorFlow, which takes seconds."""
    monkeypatch.setattr(module.cluster, "core_count", lambda: 1)


def test_features_are_those_of_one_machine(frozen, images, tmp_path):
    job = FeatureJob("copy 1", images, street_copy, seed=3)
    here, there = tmp_path / "here", tmp_path / "there"
    features.write_features(here, frozen, job)
    module.write_features(there, frozen, job, address=None)
    assert here.stat().st_size == N_IMAGES * np.prod(frozen.output_shape[1:]) * 2
    assert there.read_bytes() == here.read_bytes()


@pytest.mark.usefixtures("_one_worker")
def test_an_image_that_no_worker_finds_leaves_no_file(frozen, images, tmp_path):
    images[-1].unlink()
    with pytest.raises(MaskDetectionError, match=f"{images[-1].name}.*--resume"):
        module.write_features(tmp_path / "features", frozen, FeatureJob("copy 1", images), address=None)
    assert not [*tmp_path.glob("features*")]


@pytest.mark.usefixtures("_one_worker", "tiny_backbone")
def test_the_script_trains_the_same_model(tmp_path, make_dataset):
    dataset = make_dataset(tmp_path / "set", {"a": 12, "b": 12})
    values = []
    for name, *options in [("here",), ("there", "--cluster")]:
        (tmp_path / name).mkdir()
        model = tmp_path / name / "model.h5"
        arguments = ["--dataset", dataset, "--model", model, "--image-size", 64]
        arguments += ["--epochs", 2, "--views", 1, "--learning-rate", 0.01, *options]
        assert train_mask_detector.main([str(argument) for argument in arguments]) == cli.EXIT_DONE
        with h5py.File(model) as file:
            values.append({key: file["model_weights"][key][()] for key in weights_in(file["model_weights"])})
    here, there = values
    assert here.keys() == there.keys()
    assert all(np.array_equal(here[key], there[key]) for key in here)


def weights_in(group: h5py.Group) -> list[str]:
    """The addresses of all arrays below a group."""
    found: list[str] = []
    group.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found
