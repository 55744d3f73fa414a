"""Model files from anywhere: classic ones load, those of this project say all about themselves, others are refused."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mask_detection.classifier import load_classifier
from mask_detection.errors import MaskDetectionError
from mask_detection.model_file import load_keras_model

FIXTURES = Path(__file__).parent / "fixtures"
CLASSIC_MODELS = ("classic_tf212.model", "classic_tf215.model")


@pytest.fixture(scope="module")
def keras():
    from mask_detection.backend import start_tensorflow

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


def the_fault(path: Path, class_names: tuple[str, ...] | None = None) -> str:
    with pytest.raises(MaskDetectionError) as caught:
        load_classifier(path, class_names)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# --- models of the classic script, written by Keras 2 ---


@pytest.mark.parametrize("name", CLASSIC_MODELS)
def test_a_classic_model_answers_as_where_it_was_written(name):
    expected = json.loads((FIXTURES / "classic_expected.json").read_text())
    images = np.linspace(-1, 1, 3 * 32 * 32 * 3, dtype=np.float32).reshape(3, 32, 32, 3)

    model, info = load_keras_model(FIXTURES / name)

    np.testing.assert_allclose(model.predict_on_batch(images), expected[name], atol=1e-4)
    assert (info.class_names, info.input_size) == (None, 32)


@pytest.fixture(params=CLASSIC_MODELS)
def classic_model(request, tmp_path) -> Path:
    """A copy, beside which its twin may be made."""
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


@pytest.mark.parametrize("names", [("one",), ("one", "two", "three"), ("same", "same")])
def test_a_wrong_number_of_class_names_is_refused(tiny_model, names):
    fault = the_fault(tiny_model, names)
    assert "has 2 outputs" in fault
    assert ",".join(names) in fault


def test_more_than_two_outputs_without_names_need_them(keras, save_keras):
    path = save_keras((32, 32, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax"))
    assert "give 3 different names with --classes" in the_fault(path)
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
    assert plain.output_shape == (None, 2)
    assert json.loads(attributes["class_names"]) == ["with_mask", "without_mask"]
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
    """A model that only averages each colour tells what it was shown: blue, the first of BGR, comes last."""
    averages = keras.layers.GlobalAveragePooling2D()
    classifier = load_classifier(save_keras((32, 32, 3), averages), ("red", "green", "blue"))
    crop = np.full((50, 40, 3), (255, 102, 0), np.uint8)
    np.testing.assert_allclose(classifier.classify([crop]), [[-1, -0.2, 1]], atol=1e-4)


# --- models that would run code ---


@pytest.fixture
def quiet_folder(tmp_path, monkeypatch) -> Path:
    """A working folder of the test's own, in which a mark would show."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_lambda_is_refused_and_its_code_not_run(quiet_folder):
    assert "Lambda, which could run code" in the_fault(FIXTURES / "lambda_tf215.h5")
    assert not list(quiet_folder.iterdir())


def test_a_lambda_of_keras_3_is_refused_too(keras, save_keras):
    path = save_keras((32, 32, 3), keras.layers.Lambda(lambda x: x), keras.layers.GlobalAveragePooling2D())
    assert "Lambda, which could run code" in the_fault(path)


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ({"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}, "function"),
        ({"module": "subprocess", "class_name": "Popen", "config": {"args": ["id"]}}, "Popen"),
        (
            {"module": "keras.src.utils", "class_name": "Dense", "config": {}, "fn": {"class_name": "get_file"}},
            "get_file",
        ),
        ({"module": "builtins", "class_name": "function", "config": "eval"}, "function"),
        ({"module": "elsewhere", "class_name": "Dense", "config": {}}, "Dense"),
        ({"module": "keras_of_mine", "class_name": "Dense", "config": {}}, "Dense"),
        ({"class_name": ["no", "name"]}, "['no', 'name']"),
    ],
)
def test_anything_planted_in_the_description_is_refused(tiny_model, quiet_folder, planted, named):
    path = Path(shutil.copy(tiny_model, quiet_folder / "planted.h5"))
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][-1]["config"]["activation"] = planted
        file.attrs["model_config"] = json.dumps(description)
    assert f"of the kind {named}, which could run code" in the_fault(path)


# --- what is no model, or not one of masks ---


def test_a_missing_model_is_named(tmp_path):
    assert "no such file" in the_fault(tmp_path / "missing.h5")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty (0 bytes)"),
        (b"these are the voyages\n" * 9, "is not an .h5 model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "is a Git-LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(5000), "is not a whole Keras model"),
    ],
    ids=["empty", "text", "lfs pointer", "hdf5 start only"],
)
def test_what_is_no_model_is_named(tmp_path, content, fault):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    assert fault in the_fault(path)


def test_folders_and_archives_are_told_apart(tmp_path):
    assert "is a folder" in the_fault(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert "is a SavedModel folder" in the_fault(tmp_path)
    archive = tmp_path / "model.keras"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("config.json", "{}")
    assert "is a .keras archive" in the_fault(archive)


def test_a_truncated_model_is_refused_wherever_it_ends(trained, tmp_path):
    whole = trained.model.read_bytes()
    path = tmp_path / "cut.h5"
    for tenths in range(1, 10):
        path.write_bytes(whole[: len(whole) * tenths // 10])
        assert "get the file again" in the_fault(path)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "table.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(5)
    assert "is not a whole Keras model" in the_fault(path)


@pytest.mark.parametrize("input_shape", [(32, 32, 1), (32, 48, 3), (4,), (None, None, 3)])
def test_no_classifier_of_square_colour_images_is_refused(keras, save_keras, input_shape):
    pooling = [keras.layers.GlobalAveragePooling2D()] if len(input_shape) == 3 else []
    path = save_keras(input_shape, *pooling, keras.layers.Dense(2, activation="softmax"))
    assert "a mask classifier maps (None, size, size, 3) to (None, classes)" in the_fault(path)


@pytest.mark.parametrize("n_outputs", [1, 101])
def test_one_output_or_too_many_are_refused(keras, save_keras, n_outputs):
    pooling = keras.layers.GlobalAveragePooling2D()
    path = save_keras((32, 32, 3), pooling, keras.layers.Dense(n_outputs, activation="sigmoid"))
    assert f"to (None, {n_outputs})" in the_fault(path)


def test_an_unknown_preprocessing_is_refused(tiny_model, tmp_path):
    path = Path(shutil.copy(tiny_model, tmp_path))
    with h5py.File(path, "r+") as file:
        file.attrs["preprocessing"] = "efficientnet"
    assert "wants the preprocessing efficientnet" in the_fault(path)


def test_damaged_class_names_are_refused(tiny_model, tmp_path):
    path = Path(shutil.copy(tiny_model, tmp_path))
    with h5py.File(path, "r+") as file:
        file.attrs["class_names"] = '["with_mask", '
    assert "class names are damaged" in the_fault(path)
