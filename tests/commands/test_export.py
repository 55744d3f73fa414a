"""``python -m mask_detection export``: its files, their accuracy, and what it says of what is no model."""

from __future__ import annotations

import json
import shutil
import zipfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

import detect_mask_image
from mask_detection.commands import cli, export
from mask_detection.io.images import read_image
from mask_detection.models import tflite
from mask_detection.models.load import load_classifier
from mask_detection.models.preprocessing import classifier_input, crop_faces
from tests.helpers.paths import EXAMPLES

pytestmark = pytest.mark.xdist_group("tensorflow")

needs_litert = pytest.mark.skipif(not tflite.is_available(), reason="ai-edge-litert is not made for this machine")


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    """A small model alone in its folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    return Path(shutil.copy(tiny_model, folder))


@pytest.fixture(scope="module")
def example_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faces of the example images as class folders, each also mirrored and darker."""
    place = tmp_path_factory.mktemp("faces")
    for name, faces in json.loads((EXAMPLES / "expected.json").read_text()).items():
        crops = crop_faces(read_image(EXAMPLES / name), np.array([face["box"] for face in faces]))
        for number, (face, crop) in enumerate(zip(faces, crops, strict=True)):
            folder = place / face["label"]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}_{number}.png"), crop)
            cv2.imwrite(str(folder / f"{name}_{number}_mirrored.png"), cv2.flip(crop, 1))
            cv2.imwrite(str(folder / f"{name}_{number}_darker.png"), cv2.convertScaleAbs(crop, alpha=0.8))
    return place


class Exported(NamedTuple):
    """What an export left behind."""

    status: int
    folder: Path
    printed: str


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, shipped_model: Path, example_faces: Path) -> Exported:
    """The shipped model, as all three kinds."""
    folder = tmp_path_factory.mktemp("exported")
    arguments = ["--model", shipped_model, "--output", folder, "--calibrate", example_faces, "--dataset", example_faces]
    with redirect_stdout(StringIO()) as printed:
        status = export.main([str(argument) for argument in arguments])
    return Exported(status, folder, printed.getvalue())


@needs_litert
def test_export_writes_three_kinds_and_prints_how_accurate_they_are(exported):
    assert exported.status == cli.EXIT_DONE
    lines = {line.split()[0]: line for line in exported.printed.splitlines()}
    assert list(lines) == ["h5", "fp16", "fp32", "int8"]
    accuracies = {weights: float(line.split("accuracy")[1].split("%")[0]) for weights, line in lines.items()}
    assert accuracies["h5"] == accuracies["fp16"] == accuracies["fp32"] == 100
    assert accuracies["int8"] > 90
    sizes = {path.name: path.stat().st_size for path in exported.folder.iterdir()}
    names = [f"mask_detector{kind}.tflite" for kind in ("_int8", "", "_fp32")]
    assert sorted(names, key=sizes.__getitem__) == names
    with zipfile.ZipFile(exported.folder / "mask_detector_int8.tflite") as archive:
        assert json.loads(archive.read("mask_detector.json"))["weights"] == "int8"


@needs_litert
def test_what_is_exported_predicts_like_the_model(exported, example_faces, predict):
    crops = [read_image(path) for path in sorted(example_faces.rglob("*.png"))]
    expected = predict(classifier_input(crops, 224))
    assert np.ptp(expected[:, 0]) > 0.9
    for name in ("mask_detector.tflite", "mask_detector_fp32.tflite"):
        np.testing.assert_allclose(load_classifier(exported.folder / name).classify(crops), expected, atol=0.01)


@needs_litert
def test_detection_takes_the_int8_model(exported, photo, tmp_path):
    arguments = ["--image", photo, "--json", tmp_path / "a.jsonl", "--detector", "haar", "--no-display"]
    model = exported.folder / "mask_detector_int8.tflite"
    assert detect_mask_image.main([str(argument) for argument in (*arguments, "--model", model)]) == cli.EXIT_DONE
    (face,) = json.loads((tmp_path / "a.jsonl").read_text())["faces"]
    assert 0.5 <= face["probability"] <= 1


@needs_litert
def test_export_without_calibration_leaves_int8_out(model, tmp_path, capsys):
    assert export.main(["--model", str(model), "--output", str(tmp_path / "out")]) == cli.EXIT_DONE
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny.tflite", "tiny_fp32.tflite"]
    assert "accuracy" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model_name", "fault"), [("missing.h5", "no such file"), ("photo.png", "is not an .h5 model")]
)
def test_export_names_what_is_no_model(tmp_path, make_image, errors, model_name, fault):
    cv2.imwrite(str(tmp_path / "photo.png"), make_image())
    assert export.main(["--model", str(tmp_path / model_name)]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert fault in line
