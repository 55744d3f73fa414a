"""Model files from anywhere: classic ones load, those of this project say all about themselves."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mask_detection.models.keras_file import load_keras_model
from mask_detection.models.load import load_classifier
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import FIXTURES

pytestmark = pytest.mark.xdist_group("tensorflow")

CLASSIC_MODELS = ("classic_tf212.model", "classic_tf215.model")


@pytest.fixture(scope="module")
def keras():
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    return keras


@pytest.fixture
def save_keras(keras, tmp_path) -> Callable[..., Path]:
    """A function that saves a model of the given input shape and layers as plain Keras does."""

    def save(input_shape: tuple[int, ...], *layers, name: str = "model.h5") -> Path:
        path = tmp_path / name
        keras.Sequential([keras.Input(input_shape), *layers]).save(path)
        return path

    return save


# --- models of the classic script, written by Keras 2 ---


@pytest.mark.parametrize("name", CLASSIC_MODELS)
def test_a_classic_model_predicts_as_where_it_was_written(name):
    expected = json.loads((FIXTURES / "classic_expected.json").read_text())
    images = np.linspace(-1, 1, 3 * 32 * 32 * 3, dtype=np.float32).reshape(3, 32, 32, 3)

    model, info = load_keras_model(FIXTURES / name)

    np.testing.assert_allclose(model.predict_on_batch(images), expected[name], atol=1e-4)
    assert (info.class_names, info.input_size) == (None, 32)


@pytest.fixture(params=CLASSIC_MODELS)
def classic_model(request, tmp_path) -> Path:
    """A copy, beside which its TFLite export may be made."""
    return Path(shutil.copy(FIXTURES / request.param, tmp_path))


def test_without_class_names_the_classic_order_is_taken_and_said(classic_model, caplog):
    with caplog.at_level(logging.WARNING, "mask_detection"):
        classifier = load_classifier(classic_model)
    assert classifier.class_names == ("with_mask", "without_mask")
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"{classic_model}: ")
    assert "taken as with_mask,without_mask" in line
    assert "--classes" in line


def test_given_class_names_count_and_nothing_is_said_of_them(classic_model, caplog):
    with caplog.at_level(logging.WARNING, "mask_detection"):
        assert load_classifier(classic_model, ("off", "on")).class_names == ("off", "on")
    assert not caplog.records


def test_given_class_names_override_those_of_the_file(tiny_model):
    assert load_classifier(tiny_model).class_names == ("with_mask", "without_mask")
    assert load_classifier(tiny_model, ("bare", "masked")).class_names == ("bare", "masked")


def test_more_than_two_outputs_without_names_need_them(keras, save_keras):
    path = save_keras((32, 32, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax"))
    with pytest.raises(MaskDetectionError, match="give 3 different names with --classes"):
        load_classifier(path)
    assert load_classifier(path, ("a", "b", "c")).class_names == ("a", "b", "c")


# --- models of this project ---


@pytest.mark.parametrize("model", ["shipped_model", "trained"])
def test_a_model_says_what_it_needs_and_plain_keras_loads_it(model, request, keras):
    made = request.getfixturevalue(model)
    path = made if isinstance(made, Path) else made.model
    with h5py.File(path) as file:
        attributes = dict(file.attrs)

    plain = keras.models.load_model(path)

    size = int(attributes["input_size"])
    assert plain.input_shape == (None, size, size, 3)
    class_names = json.loads(attributes["class_names"])
    assert class_names[-2:] == ["with_mask", "without_mask"]
    assert class_names[:-2] == (["mask_weared_incorrect"] if model == "shipped_model" else [])
    assert plain.output_shape == (None, len(class_names))
    assert attributes["preprocessing"] == "mobilenet_v2"
    assert load_classifier(path).input_size == size


def test_crops_of_any_size_give_probabilities_and_each_its_own(tiny_model, make_image):
    classifier = load_classifier(tiny_model)
    sizes = [(1, 1), (5, 300), (32, 32), (640, 480)] * 20  # more than one batch
    crops = [make_image(*size, hue=2 * i, seed=i) for i, size in enumerate(sizes)]

    together = classifier.classify(crops)

    assert together.shape == (80, 2)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([classifier.classify([crop]) for crop in crops])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_crops_give_no_probabilities(tiny_model):
    empty = load_classifier(tiny_model).classify([])
    assert (empty.shape, empty.dtype) == ((0, 2), np.float32)


def test_the_network_sees_rgb_from_minus_one_to_one(keras, save_keras):
    """A model that only averages each colour shows what it was given: blue, the first of BGR, comes last."""
    averages = keras.layers.GlobalAveragePooling2D()
    classifier = load_classifier(save_keras((32, 32, 3), averages), ("red", "green", "blue"))
    crop = np.full((50, 40, 3), (255, 102, 0), np.uint8)
    np.testing.assert_allclose(classifier.classify([crop]), [[-1, -0.2, 1]], atol=1e-4)
