"""Bad models through the scripts: each is refused in one line, and none gets code of its own to run."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import detect_mask_image
import detect_mask_video
from mask_detection.commands import cli
from mask_detection.models import tflite
from tests.helpers.outcomes import Outcome
from tests.helpers.paths import FIXTURES

pytestmark = pytest.mark.xdist_group("tensorflow")

needs_litert = pytest.mark.skipif(not tflite.is_available(), reason="LiteRT is not made for this machine")

LAMBDA_OF_KERAS_2 = FIXTURES / "lambda_tf215.h5"  # would leave a file in the working folder

NO_MODELS: dict[str, tuple[bytes | None, str]] = {
    "missing.h5": (None, "no such file; check the path"),
    "missing.tflite": (None, "no such file; check the path"),
    "empty.h5": (b"", "is empty (0 bytes), not a model; get the file again"),
    "empty.tflite": (b"", "is empty (0 bytes), not a model; get the file again"),
    "pointer.h5": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
        "is a Git-LFS pointer, not a model; run `git lfs pull` or get the file itself",
    ),
    "letter.h5": (
        b"these are the voyages\n" * 9,
        "is not an .h5 model; name a file that train_mask_detector.py wrote",
    ),
    "start.h5": (
        b"\x89HDF\r\n\x1a\n" + bytes(5000),
        "is not a whole Keras model; get the file again or train a new one",
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working folder, in which a mark would show."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def detect(run, photo, tmp_path) -> Callable[..., Outcome]:
    """A function that runs the photo script with a model."""

    def detect(model: Path, *options: str) -> Outcome:
        files = ["--image", photo, "--output", tmp_path / "out.png", "--json", tmp_path / "a.jsonl", "--model", model]
        return run(detect_mask_image.main, *files, "--detector", "haar", "--no-display", *options)

    return detect


@pytest.fixture
def assert_refused(detect, tmp_path) -> Callable[..., None]:
    """A function that runs the photo script with a model, and expects a line and nothing else."""

    def assert_refused(model: Path, fault: str, *options: str) -> None:
        status, printed = detect(model, *options)
        assert status == cli.EXIT_UNUSABLE
        (line,) = printed
        assert line.startswith(f"error: {model}: ")
        assert fault in line
        assert not [*tmp_path.glob("out*"), *tmp_path.glob("a.*"), *tmp_path.glob("*.part*")]

    return assert_refused


@pytest.fixture(scope="module")
def keras():
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    return keras


# --- what is no model ---


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model_is_one_line(assert_refused, tmp_path, name):
    content, fault = NO_MODELS[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, fault)


def test_the_video_script_says_the_same(run, video, tmp_path):
    files = ["--source", video, "--output", tmp_path / "out.avi", "--log", tmp_path / "seen.csv"]
    for name, (content, fault) in NO_MODELS.items():
        model = tmp_path / name
        if content is not None:
            model.write_bytes(content)
        status, printed = run(detect_mask_video.main, *files, "--model", model, "--detector", "haar", "--no-display")
        assert status == cli.EXIT_UNUSABLE
        (line,) = printed
        assert line.startswith(f"error: {model}: {fault}")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(NO_MODELS) - {"missing.h5", "missing.tflite"})


def test_folders_and_archives_are_told_apart(assert_refused, tmp_path):
    (tmp_path / "model").mkdir()
    assert_refused(tmp_path / "model", "is a folder, not an .h5 model")
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\x08\x01")
    assert_refused(tmp_path / "model", "is a SavedModel folder, not an .h5 model")
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("config.json", "{}")
    assert_refused(tmp_path / "model.keras", "is a .keras archive; load it in Keras and save it as .h5")


@needs_litert
def test_the_start_of_a_tflite_alone_is_refused(assert_refused, tmp_path):
    (tmp_path / "start.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(5000))
    assert_refused(tmp_path / "start.tflite", "LiteRT cannot load this model (")


@pytest.mark.parametrize("suffix", [".h5", pytest.param(".tflite", marks=needs_litert)])
def test_a_model_cut_off_at_any_tenth_is_refused(assert_refused, tiny_model, tmp_path, suffix):
    whole = tiny_model.with_suffix(suffix).read_bytes()
    for tenths in range(1, 10):
        model = tmp_path / f"{tenths}{suffix}"
        model.write_bytes(whole[: len(whole) * tenths // 10])
        assert_refused(model, "get the file again")


def test_an_hdf5_file_of_something_else_is_refused(assert_refused, tmp_path):
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["numbers"] = np.arange(5)
    assert_refused(tmp_path / "table.h5", "is not a whole Keras model")


# --- models of something else ---


@pytest.mark.parametrize(
    ("input_shape", "n_outputs", "maps"),
    [
        ((4,), 2, "(None, 4) to (None, 2)"),
        ((32, 32, 1), 2, "(None, 32, 32, 1) to (None, 2)"),
        ((32, 48, 3), 2, "(None, 32, 48, 3) to (None, 2)"),
        ((None, None, 3), 2, "(None, None, None, 3) to (None, 2)"),
        ((32, 32, 3), 1, "(None, 32, 32, 3) to (None, 1)"),
        ((32, 32, 3), 1000, "(None, 32, 32, 3) to (None, 1000)"),
    ],
    ids=["numbers", "grey", "not square", "any size", "one output", "1000 outputs"],
)
def test_another_kind_of_network_is_refused(assert_refused, keras, tmp_path, input_shape, n_outputs, maps):
    pooling = [keras.layers.GlobalAveragePooling2D()] if len(input_shape) == 3 else []
    layers = [keras.Input(input_shape), *pooling, keras.layers.Dense(n_outputs, activation="softmax")]
    keras.Sequential(layers).save(tmp_path / "other.h5")
    wanted = "a mask classifier maps (None, size, size, 3) to (None, classes) with 2 to 100 classes"
    assert_refused(tmp_path / "other.h5", f"maps {maps}; {wanted}")


def test_a_network_of_feature_maps_is_refused(assert_refused, keras, tmp_path):
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 1)]).save(tmp_path / "other.h5")
    assert_refused(tmp_path / "other.h5", "maps (None, 32, 32, 3) to (None, 32, 32, 2); a mask classifier")


def test_weights_alone_are_refused(assert_refused, keras, tmp_path):
    network = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    network.save_weights(tmp_path / "only.weights.h5")
    assert_refused(tmp_path / "only.weights.h5", "is not a whole Keras model")


def test_another_input_size_is_no_fault(detect, keras, tmp_path):
    from mask_detection.models.mobilenet import save_model

    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, activation="softmax")]
    save_model(keras.Sequential([keras.Input((48, 48, 3)), *layers]), tmp_path / "large.h5", ("a", "b"))
    assert detect(tmp_path / "large.h5") == Outcome(cli.EXIT_DONE, [])


# --- what the file says of itself ---


@pytest.fixture
def rewritten(tiny_model, tmp_path) -> Callable[..., Path]:
    """A function that copies the tiny model and changes one of its attributes."""

    def rewrite(attribute: str, value: Any) -> Path:
        path = Path(shutil.copy(tiny_model, tmp_path / "model.h5"))
        with h5py.File(path, "r+") as file:
            file.attrs[attribute] = value
        return path

    return rewrite


@pytest.mark.parametrize("names", ["one", "one,two,three", "same,same"])
def test_class_names_that_do_not_fit_are_refused(assert_refused, tiny_model, rewritten, names):
    fault = f"has 2 outputs, but the class names are {names}; give 2 different names with --classes"
    assert_refused(tiny_model, fault, "--classes", names)
    assert_refused(rewritten("class_names", json.dumps(names.split(","))), fault)


@pytest.mark.parametrize("value", ['["with_mask", ', "5", "null", 7.5, [1, 2], '["a", "\\u001b[2J"]', '["a", "\\n"]'])
def test_damaged_class_names_are_refused(assert_refused, rewritten, value):
    assert_refused(rewritten("class_names", value), "class names are damaged; get the file again")


@pytest.mark.parametrize("value", ["efficientnet", 5, [1, 2]])
def test_an_unknown_preprocessing_is_refused(assert_refused, rewritten, value):
    assert_refused(rewritten("preprocessing", value), "wants the preprocessing ")


# --- models that would run code ---


def test_a_lambda_marshalled_by_keras_2_is_refused_and_its_code_not_run(assert_refused, folder):
    assert_refused(LAMBDA_OF_KERAS_2, "holds a part of the kind Lambda, which could run code from the file")
    assert not list(folder.iterdir())


def test_a_lambda_of_keras_3_is_refused_too(assert_refused, keras, tmp_path):
    layers = [keras.layers.Lambda(lambda x: x), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential([keras.Input((32, 32, 3)), *layers]).save(tmp_path / "lambda.h5")
    assert_refused(tmp_path / "lambda.h5", "holds a part of the kind Lambda, which could run code from the file")


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ({"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}, "function"),
        ({"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "RAN"]}}, "Popen"),
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
def test_anything_planted_in_the_description_is_refused(assert_refused, tiny_model, rewritten, folder, planted, named):
    with h5py.File(tiny_model) as file:
        description = json.loads(file.attrs["model_config"])
    description["config"]["layers"][-1]["config"]["activation"] = planted
    assert_refused(rewritten("model_config", json.dumps(description)), f"of the kind {named}, which could run code")
    assert not list(folder.iterdir())
