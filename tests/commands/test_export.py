"""``python -m mask_detection export``: its files, their accuracy, and what it says of what is no model."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import cli, export
from mask_detection.io.images import read_image
from mask_detection.models import tflite
from tests.helpers.paths import EXAMPLES

pytestmark = pytest.mark.xdist_group("tensorflow")

needs_litert = pytest.mark.skipif(not tflite.is_available(), reason="ai-edge-litert is not made for this machine")


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    """A small model alone in its folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    return Path(shutil.copy(tiny_model, folder))


@pytest.fixture
def example_faces(tmp_path: Path) -> Path:
    """The faces of the example images as class folders, each also mirrored."""
    from mask_detection.models.preprocessing import crop_faces

    for name, faces in json.loads((EXAMPLES / "expected.json").read_text()).items():
        crops = crop_faces(read_image(EXAMPLES / name), np.array([face["box"] for face in faces]))
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
    with zipfile.ZipFile(tmp_path / "out" / "mask_detector_int8.tflite") as archive:
        assert json.loads(archive.read("mask_detector.json"))["weights"] == "int8"


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
