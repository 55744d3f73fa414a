"""The TFLite export of a model: it predicts alike, is made when it has to be, and does without TensorFlow."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.io.images import read_image
from mask_detection.models import convert, tflite
from mask_detection.models.base import ModelInfo
from mask_detection.models.load import load_classifier
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import FIXTURES, ROOT

pytestmark = pytest.mark.xdist_group("tensorflow")

CLOSE = 0.01  # how much the predictions of one model may differ between the ways to run it

needs_litert = pytest.mark.skipif(not tflite.is_available(), reason="ai-edge-litert is not made for this machine")


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    """A small model alone in its folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    return Path(shutil.copy(tiny_model, folder))


@pytest.fixture
def crops(make_image) -> list[np.ndarray]:
    return [make_image(60, 80, hue=15 * i, seed=i) for i in range(12)]


@pytest.fixture
def no_litert(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)


@pytest.fixture
def logged(caplog):
    """A function that loads a model and returns what was logged meanwhile."""

    def load(path: Path) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "mask_detection"):
            load_classifier(path)
        ours = (record for record in caplog.records if record.name.startswith("mask_detection"))
        return [record.getMessage() for record in ours]

    return load


def metadata_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("mask_detector.json"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip_a_bit(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


# --- it predicts alike ---


@needs_litert
def test_a_trained_model_predicts_alike(trained, monkeypatch):
    crops = [read_image(path) for path in sorted(trained.dataset.rglob("*.png"))]
    through_export = load_classifier(trained.model).classify(crops)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    through_keras = load_classifier(trained.model).classify(crops)

    np.testing.assert_allclose(through_export, through_keras, atol=CLOSE)
    assert np.ptp(through_keras[:, 0]) > CLOSE  # otherwise this would show little


@needs_litert
def test_the_shipped_model_predicts_alike(shipped_model, portrait, make_image, monkeypatch):
    grey = np.full_like(portrait, 127)
    crops = [cv2.addWeighted(portrait, fraction, grey, 1 - fraction, 0) for fraction in np.linspace(0, 1, 6)]
    crops += [make_image(96, 96, hue=15 * i, seed=i) for i in range(12)]  # of no face: there it is least confident
    through_export = load_classifier(shipped_model).classify(crops)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    np.testing.assert_allclose(through_export, load_classifier(shipped_model).classify(crops), atol=CLOSE)


@needs_litert
@pytest.mark.parametrize("path", [ROOT / "mask_detector.h5", FIXTURES / "tiny.h5"], ids=lambda path: path.stem)
def test_a_model_that_is_kept_here_has_its_export(path):
    assert metadata_of(path.with_suffix(".tflite"))["source_sha256"] == sha256(path)


# --- it is written, found, and made again ---


def test_training_writes_the_export(trained):
    path = trained.model.with_suffix(".tflite")
    metadata = metadata_of(path)
    assert metadata["class_names"] == ["with_mask", "without_mask"]
    assert (metadata["input_size"], metadata["preprocessing"], metadata["weights"]) == (96, "mobilenet_v2", "fp16")
    assert metadata["source_sha256"] == sha256(trained.model)
    assert path.stat().st_size < 0.6 * trained.model.stat().st_size


@needs_litert
def test_a_missing_export_is_made_once(model, logged):
    (line,) = logged(model)
    assert line == f"{model}: wrote its faster TFLite export {model.with_suffix('.tflite')}"
    assert logged(model) == []


@needs_litert
def test_a_stale_export_is_made_again(model, logged, trained):
    place = shutil.copy(trained.model.with_suffix(".tflite"), model.with_suffix(".tflite"))
    assert len(logged(model)) == 1
    assert metadata_of(place)["source_sha256"] == sha256(model)
    assert load_classifier(model).input_size == 32


@needs_litert
def test_a_damaged_export_is_made_again(model, logged):
    logged(model)
    place = model.with_suffix(".tflite")
    whole = place.read_bytes()
    flip_a_bit(place, 1000)
    assert len(logged(model)) == 1
    assert place.read_bytes() == whole


@needs_litert
@pytest.mark.parametrize("content", [b"a recipe for pancakes", None], ids=["text", "int8"])
def test_a_file_that_is_no_export_is_left_alone(model, logged, cache_folder, content):
    place = model.with_suffix(".tflite")
    network = content or tflite.pack(b"of a model in another format", ModelInfo(None, 32), "int8", sha256(model))
    place.write_bytes(network)
    (line,) = logged(model)
    assert str(cache_folder) in line
    assert place.read_bytes() == network
    assert logged(model) == []
    _empty(cache_folder)


@needs_litert
def test_where_the_folder_denies_writing_the_export_goes_to_the_cache(model, logged, cache_folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != model.parent)  # root may write anywhere
    (line,) = logged(model)
    assert str(cache_folder) in line
    assert [path.name for path in model.parent.iterdir()] == [model.name]
    assert logged(model) == []
    _empty(cache_folder)


@needs_litert
def test_where_nothing_can_be_written_it_works_all_the_same(model, logged, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert logged(model) == [f"{model}: its TFLite export can be stored nowhere"]


@needs_litert
def test_a_model_that_cannot_be_converted_runs_in_tensorflow(model, logged, crops, monkeypatch):
    def fail(*_):
        raise MaskDetectionError("TensorFlow cannot convert the model to .tflite (strange)")

    monkeypatch.setattr(convert, "convert", fail)
    (line,) = logged(model)
    assert "detection starts slower" in line
    assert load_classifier(model).classify(crops).shape == (12, 2)


def test_training_outlives_an_export_that_cannot_be_written(model, monkeypatch, caplog):
    from mask_detection.training.run import export

    def fail(*_):
        raise MaskDetectionError("TensorFlow cannot convert the model to .tflite (strange)")

    monkeypatch.setattr(convert, "write_export", fail)
    export(model, type("Model", (), {"input_shape": (None, 32, 32, 3)}), ("a", "b"))
    assert "its TFLite export was not written" in caplog.text


def _empty(folder: Path) -> None:
    for file in folder.glob("*.tflite"):
        file.unlink()


# --- without TensorFlow, without LiteRT ---

WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = sys.modules["h5py"] = None
import detect_mask_image
sys.exit(detect_mask_image.main(sys.argv[1:]))
"""


@pytest.fixture
def detect_without_tensorflow(photo, tmp_path):
    """A function that runs the script where TensorFlow, Keras and h5py cannot be imported."""

    def run(model: Path) -> subprocess.CompletedProcess:
        files = ["--image", photo, "--json", tmp_path / "predictions.jsonl", "--model", model]
        command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *files, "--detector", "haar", "--no-display"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    return run


@needs_litert
@pytest.mark.parametrize("suffix", [".h5", ".tflite"])
def test_detection_with_an_export_needs_no_tensorflow(trained, suffix, detect_without_tensorflow, tmp_path):
    done = detect_without_tensorflow(trained.model.with_suffix(suffix))
    assert done.returncode == cli.EXIT_DONE, done.stderr
    assert json.loads((tmp_path / "predictions.jsonl").read_text())["faces"]


@needs_litert
def test_without_export_and_tensorflow_the_remedy_is_named(model, detect_without_tensorflow):
    done = detect_without_tensorflow(model)
    assert done.returncode == cli.EXIT_UNUSABLE
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: {model}: there is no {model.stem}.tflite of this model beside it")
    assert "requirements.txt" in line


def test_without_litert_the_model_runs_in_tensorflow(model, crops, logged, no_litert):
    assert logged(model) == []
    assert load_classifier(model).classify(crops).shape == (12, 2)
    assert not model.with_suffix(".tflite").exists()
