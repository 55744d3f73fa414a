"""``.tflite`` files as models, of this project and of other makers, whole and damaged."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mask_detection.models import tflite
from mask_detection.models.load import load_classifier
from mask_detection.utils.errors import MaskDetectionError

pytestmark = [
    pytest.mark.skipif(not tflite.is_available(), reason="ai-edge-litert is not made for this machine"),
    pytest.mark.xdist_group("tensorflow"),
]


@pytest.fixture
def crops(make_image) -> list[np.ndarray]:
    return [make_image(60, 80, hue=15 * i, seed=i) for i in range(12)]


@pytest.fixture
def tflite_file(tiny_model, tmp_path) -> Path:
    """The TFLite export of the small model."""
    return Path(shutil.copy(tiny_model.with_suffix(".tflite"), tmp_path))


def test_class_names_come_from_the_file_or_the_user(tflite_file):
    assert load_classifier(tflite_file).class_names == ("with_mask", "without_mask")
    assert load_classifier(tflite_file, ("bare", "masked")).class_names == ("bare", "masked")
    with pytest.raises(MaskDetectionError, match="has 2 outputs"):
        load_classifier(tflite_file, ("one", "two", "three"))


def test_a_network_of_another_maker_runs_too(tflite_file, crops):
    with zipfile.ZipFile(tflite_file) as archive:
        end = archive.getinfo("mask_detector.json").header_offset
    expected = load_classifier(tflite_file).classify(crops)
    tflite_file.write_bytes(tflite_file.read_bytes()[:end])
    np.testing.assert_array_equal(load_classifier(tflite_file, ("a", "b")).classify(crops), expected)


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
