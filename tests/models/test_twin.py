"""The .tflite twin of a model: it answers alike, is made when it has to be, and does without TensorFlow."""

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

from mask_detection.commands import cli, export
from mask_detection.io.images import read_image
from mask_detection.models import litert, tflite, twin
from mask_detection.models.base import ModelInfo
from mask_detection.models.classifier import load_classifier
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import EXAMPLES, ROOT

CLOSE = 0.01  # how much the answers of one model may differ between the ways to run it

needs_litert = pytest.mark.skipif(not litert.is_available(), reason="ai-edge-litert is not made for this machine")


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
def said(caplog):
    """A function that loads a model and returns what was logged meanwhile."""

    def load(path: Path) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "mask_detection"):
            load_classifier(path)
        return [record.getMessage() for record in caplog.records]

    return load


def record_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("mask_detector.json"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip_a_bit(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


# --- it answers alike ---


@needs_litert
def test_all_ways_answer_alike(trained, tmp_path, monkeypatch):
    assert export.main(["--model", str(trained.model), "--output", str(tmp_path)]) == cli.EXIT_DONE
    crops = [read_image(path) for path in sorted(trained.dataset.rglob("*.png"))]
    through_twin = load_classifier(trained.model).classify(crops)
    from_files = [load_classifier(tmp_path / name).classify(crops) for name in ("model.tflite", "model_fp32.tflite")]
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    through_keras = load_classifier(trained.model).classify(crops)

    np.testing.assert_allclose(through_twin, through_keras, atol=CLOSE)
    for answers in from_files:
        np.testing.assert_allclose(answers, through_keras, atol=CLOSE)
    assert np.ptp(through_keras[:, 0]) > CLOSE  # otherwise all of this would say little


@needs_litert
def test_the_shipped_model_answers_alike(shipped_model, portrait, make_image, monkeypatch):
    grey = np.full_like(portrait, 127)
    crops = [cv2.addWeighted(portrait, share, grey, 1 - share, 0) for share in np.linspace(0, 1, 6)]
    crops += [make_image(96, 96, hue=15 * i, seed=i) for i in range(12)]  # of no face: there it is least sure
    through_twin = load_classifier(shipped_model).classify(crops)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    np.testing.assert_allclose(through_twin, load_classifier(shipped_model).classify(crops), atol=CLOSE)


@needs_litert
def test_the_shipped_model_has_its_twin(shipped_model):
    assert record_of(shipped_model.with_suffix(".tflite"))["source_sha256"] == sha256(shipped_model)


# --- it is written, found, and made again ---


def test_training_writes_the_twin(trained):
    path = trained.model.with_suffix(".tflite")
    record = record_of(path)
    assert record["class_names"] == ["with_mask", "without_mask"]
    assert (record["input_size"], record["preprocessing"], record["weights"]) == (96, "mobilenet_v2", "fp16")
    assert record["source_sha256"] == sha256(trained.model)
    assert path.stat().st_size < 0.6 * trained.model.stat().st_size


@needs_litert
def test_a_missing_twin_is_made_once(model, said):
    (line,) = said(model)
    assert line == f"{model}: made its faster twin {model.with_suffix('.tflite')}"
    assert said(model) == []


@needs_litert
def test_a_stale_twin_is_made_again(model, said, trained):
    place = shutil.copy(trained.model.with_suffix(".tflite"), model.with_suffix(".tflite"))
    assert len(said(model)) == 1
    assert record_of(place)["source_sha256"] == sha256(model)
    assert load_classifier(model).input_size == 32


@needs_litert
def test_a_damaged_twin_is_made_again(model, said):
    said(model)
    place = model.with_suffix(".tflite")
    whole = place.read_bytes()
    flip_a_bit(place, 1000)
    assert len(said(model)) == 1
    assert place.read_bytes() == whole


@needs_litert
@pytest.mark.parametrize("content", [b"a recipe for pancakes", None], ids=["text", "int8"])
def test_a_file_that_is_no_twin_is_left_alone(model, said, cache_folder, content):
    place = model.with_suffix(".tflite")
    network = content or tflite.pack(b"of a model in another format", ModelInfo(None, 32), "int8", sha256(model))
    place.write_bytes(network)
    (line,) = said(model)
    assert str(cache_folder) in line
    assert place.read_bytes() == network
    assert said(model) == []
    _empty(cache_folder)


@needs_litert
def test_where_the_folder_denies_writing_the_twin_goes_to_the_cache(model, said, cache_folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != model.parent)  # root may write anywhere
    (line,) = said(model)
    assert str(cache_folder) in line
    assert [path.name for path in model.parent.iterdir()] == [model.name]
    assert said(model) == []
    _empty(cache_folder)


@needs_litert
def test_where_nothing_can_be_written_it_works_all_the_same(model, said, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert said(model) == [f"{model}: its twin can be kept nowhere"]


@needs_litert
def test_a_model_that_cannot_be_converted_runs_in_tensorflow(model, said, crops, monkeypatch):
    def fail(*_):
        raise MaskDetectionError("TensorFlow cannot convert the model to .tflite (strange)")

    monkeypatch.setattr(twin, "convert", fail)
    (line,) = said(model)
    assert "detection starts slower" in line
    assert load_classifier(model).classify(crops).shape == (12, 2)


def test_training_outlives_a_twin_that_cannot_be_written(model, monkeypatch, caplog):
    from train_mask_detector import write_twin

    def fail(*_):
        raise MaskDetectionError("TensorFlow cannot convert the model to .tflite (strange)")

    monkeypatch.setattr(twin, "write_twin", fail)
    write_twin(model, type("Model", (), {"input_shape": (None, 32, 32, 3)}), ("a", "b"))
    assert "its .tflite twin was not written" in caplog.text


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
        files = ["--image", photo, "--json", tmp_path / "answers.jsonl", "--model", model]
        command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *files, "--detector", "haar", "--no-display"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    return run


@needs_litert
@pytest.mark.parametrize("suffix", [".h5", ".tflite"])
def test_detection_with_a_twin_needs_no_tensorflow(trained, suffix, detect_without_tensorflow, tmp_path):
    done = detect_without_tensorflow(trained.model.with_suffix(suffix))
    assert done.returncode == cli.EXIT_DONE, done.stderr
    assert json.loads((tmp_path / "answers.jsonl").read_text())["faces"]


@needs_litert
def test_without_twin_and_tensorflow_the_remedy_is_named(model, detect_without_tensorflow):
    done = detect_without_tensorflow(model)
    assert done.returncode == cli.EXIT_UNUSABLE
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: {model}: there is no {model.stem}.tflite of this model beside it")
    assert "requirements.txt" in line


def test_without_litert_the_model_runs_in_tensorflow(model, crops, said, no_litert):
    assert said(model) == []
    assert load_classifier(model).classify(crops).shape == (12, 2)
    assert not model.with_suffix(".tflite").exists()


# --- .tflite files as models ---


@pytest.fixture
def tflite_file(model) -> Path:
    """The twin of the small model."""
    load_classifier(model)
    return model.with_suffix(".tflite")


@needs_litert
def test_class_names_come_from_the_file_or_the_user(tflite_file):
    assert load_classifier(tflite_file).class_names == ("with_mask", "without_mask")
    assert load_classifier(tflite_file, ("bare", "masked")).class_names == ("bare", "masked")
    with pytest.raises(MaskDetectionError, match="has 2 outputs"):
        load_classifier(tflite_file, ("one", "two", "three"))


@needs_litert
def test_a_network_of_another_maker_runs_too(tflite_file, crops):
    with zipfile.ZipFile(tflite_file) as archive:
        end = archive.getinfo("mask_detector.json").header_offset
    expected = load_classifier(tflite_file).classify(crops)
    tflite_file.write_bytes(tflite_file.read_bytes()[:end])
    np.testing.assert_array_equal(load_classifier(tflite_file, ("a", "b")).classify(crops), expected)


@needs_litert
def test_a_damaged_file_is_refused_in_one_line(tflite_file):
    whole = tflite_file.read_bytes()
    damages = [whole[:size] for size in range(8, len(whole), len(whole) // 9)]
    damages += [whole[:8] + bytes(5000), whole[:1000] + b"?" + whole[1001:]]
    for damaged in damages:
        tflite_file.write_bytes(damaged)
        with pytest.raises(MaskDetectionError) as caught:
            load_classifier(tflite_file)
        assert str(caught.value).startswith(f"{tflite_file}: ")
        assert "\n" not in str(caught.value)


@needs_litert
def test_a_network_that_is_no_image_classifier_is_refused(tmp_path):
    from mask_detection.models.convert import convert
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    path = tmp_path / "grey.tflite"
    layers = [keras.layers.Flatten(), keras.layers.Dense(2)]
    path.write_bytes(convert(keras.Sequential([keras.Input((8, 8, 1)), *layers]), "fp32"))
    with pytest.raises(MaskDetectionError, match=r"maps float32 \(1, 8, 8, 1\) to float32 \(1, 2\)"):
        load_classifier(path)


# --- export ---


@pytest.fixture
def example_faces(tmp_path: Path) -> Path:
    """The faces of the example images as class folders, each also mirrored."""
    from mask_detection.models.preprocessing import crop_faces

    examples = EXAMPLES
    for name, faces in json.loads((examples / "expected.json").read_text()).items():
        crops = crop_faces(read_image(examples / name), np.array([face["box"] for face in faces]))
        for number, (face, crop) in enumerate(zip(faces, crops, strict=True)):
            folder = tmp_path / "faces" / face["label"]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}_{number}.png"), crop)
            cv2.imwrite(str(folder / f"{name}_{number}_mirrored.png"), cv2.flip(crop, 1))
    return tmp_path / "faces"


@needs_litert
def test_export_writes_three_kinds_and_says_how_accurate_they_are(shipped_model, example_faces, tmp_path, capsys):
    files = ["--model", shipped_model, "--output", tmp_path / "out"]
    arguments = [*files, "--calibrate", example_faces, "--dataset", example_faces]
    assert export.main([str(argument) for argument in arguments]) == cli.EXIT_DONE

    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == ["h5", "fp16", "fp32", "int8"]
    accuracies = {weights: float(line.split("accuracy")[1].split("%")[0]) for weights, line in lines.items()}
    assert accuracies["h5"] == accuracies["fp16"] == accuracies["fp32"] == 100
    assert accuracies["int8"] > 90
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    names = [f"mask_detector{kind}.tflite" for kind in ("_int8", "", "_fp32")]
    assert sorted(names, key=sizes.__getitem__) == names
    assert record_of(tmp_path / "out" / "mask_detector_int8.tflite")["weights"] == "int8"


@needs_litert
def test_export_without_calibration_leaves_int8_out(model, tmp_path, capsys):
    assert export.main(["--model", str(model), "--output", str(tmp_path / "out")]) == cli.EXIT_DONE
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny.tflite", "tiny_fp32.tflite"]
    assert "accuracy" not in capsys.readouterr().out


@needs_litert
def test_detection_takes_the_int8_model(trained, photo, tmp_path):
    import detect_mask_image

    files = ["--model", str(trained.model), "--output", str(tmp_path)]
    assert export.main([*files, "--calibrate", str(trained.dataset)]) == cli.EXIT_DONE
    arguments = ["--image", str(photo), "--json", str(tmp_path / "a.jsonl"), "--detector", "haar", "--no-display"]
    model = str(tmp_path / "model_int8.tflite")
    assert detect_mask_image.main([*arguments, "--model", model]) == cli.EXIT_DONE
    (face,) = json.loads((tmp_path / "a.jsonl").read_text())["faces"]
    assert 0.5 <= face["probability"] <= 1


@pytest.mark.parametrize(
    ("model_name", "fault"), [("missing.h5", "no such file"), ("photo.png", "is not an .h5 model")]
)
def test_export_names_what_is_no_model(tmp_path, make_image, errors, model_name, fault):
    cv2.imwrite(str(tmp_path / "photo.png"), make_image())
    assert export.main(["--model", str(tmp_path / model_name)]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert fault in line
