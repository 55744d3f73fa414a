"""HDF5 files whose numbers lie in other files, or that announce more than any model has, through the scripts."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import detect_mask_image
from mask_detection.commands import cli
from mask_detection.io import hdf5
from mask_detection.models.load import load_classifier
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.outcomes import disk_with_room_for
from tests.helpers.paths import FIXTURES

SECRET = np.arange(2, dtype=np.float32) + 7


def the_fault(path: Path) -> str:
    with pytest.raises(MaskDetectionError) as caught:
        load_classifier(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    """A whole model, without a TFLite export beside it."""
    return Path(shutil.copy(tiny_model, tmp_path / "model.h5"))


@pytest.fixture
def bias(model) -> str:
    """The name of an array of two numbers in the model."""
    found: list[str] = []
    with h5py.File(model) as file:
        file.visititems(lambda name, item: found.append(name) if getattr(item, "shape", None) == (2,) else None)
    return found[0]


@pytest.fixture
def secret(tmp_path) -> Path:
    """Somebody's file of numbers, as HDF5 and as bare bytes in ``secret.bin``."""
    SECRET.tofile(tmp_path / "secret.bin")
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = SECRET
    return path


# --- numbers that lie elsewhere ---


def in_an_external_file(file: h5py.File, name: str, secret: Path) -> None:
    file.create_dataset(name, (2,), np.float32, external=[(str(secret.with_suffix(".bin")), 0, 8)])


def in_a_virtual_dataset(file: h5py.File, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((2,), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "numbers", (2,))
    file.create_virtual_dataset(name, layout)


def behind_an_external_link(file: h5py.File, name: str, secret: Path) -> None:
    file[name] = h5py.ExternalLink(str(secret), "/numbers")


def behind_a_soft_link_to_an_external_one(file: h5py.File, name: str, secret: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/numbers")
    file[name] = h5py.SoftLink("/elsewhere")


PLACES = [
    in_an_external_file,
    in_a_virtual_dataset,
    behind_an_external_link,
    behind_a_soft_link_to_an_external_one,
]


@pytest.mark.parametrize("put", PLACES)
def test_weights_are_never_read_from_another_file(model, bias, secret, put):
    with h5py.File(model, "r+") as file:
        del file[bias]
        put(file, bias, secret)
        if put is not behind_a_soft_link_to_an_external_one:
            np.testing.assert_array_equal(file[bias][()], SECRET)  # HDF5 itself would
    fault = the_fault(model)
    assert "from another file" in fault or "perhaps to another file" in fault


def test_all_weights_behind_one_link_are_refused(model, tiny_model):
    with h5py.File(model, "r+") as file:
        del file["model_weights"]
        file["model_weights"] = h5py.ExternalLink(str(tiny_model), "/model_weights")
    assert "model_weights is a link, perhaps to another file" in the_fault(model)


def test_the_script_says_so_in_one_line(run, photo, model, bias, secret):
    with h5py.File(model, "r+") as file:
        del file[bias]
        in_an_external_file(file, bias, secret)
    outcome = run(detect_mask_image.main, "--image", photo, "--json", "-", "--model", model, "--detector", "haar")
    assert outcome.status == cli.EXIT_UNUSABLE
    (line,) = outcome.printed
    assert line.startswith(f"error: {model}: is not a whole Keras model; get the file again or train a new one (")


@pytest.mark.parametrize("put", PLACES)
def test_weights_to_start_a_training_from_are_never_read_from_another_file(tmp_path, secret, put):
    from mask_detection.training.detector.start import start_weights

    init = tmp_path / "mine.weights.h5"
    with h5py.File(init, "w") as file:
        put(file, "layers/conv/vars/0", secret)
    with pytest.raises(MaskDetectionError, match="another file"):
        start_weights(init, ("with_mask", "without_mask"))


def test_groups_that_hold_themselves_come_to_an_end(model):
    with h5py.File(model, "r+") as file:
        file["model_weights/circle"] = file["model_weights"]
    assert "is not a whole Keras model" in the_fault(model)


# --- more than fits ---


def test_many_empty_arrays_are_refused_by_their_sum(model):
    with h5py.File(model, "r+") as file:
        for number in range(40):
            file.create_dataset(f"model_weights/{number}", (499_000_000,), np.float32, chunks=(1 << 20,))
    assert model.stat().st_size < 1_000_000
    assert "bytes)" in the_fault(model)


def test_texts_that_many_attributes_share_are_counted_each(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_MODEL_BYTES", 1_000_000)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        for number in range(20):
            file.attrs[str(number)] = "x" * 60_000
    with pytest.raises(ValueError, match=r"it has 1,0[0-9,]+ bytes"):
        hdf5.copy_content(str(tmp_path / "old.h5"), str(tmp_path / "new.h5"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits memory")
def test_a_file_that_takes_much_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "READING_MEMORY", 50_000_000)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["model_weights/large"] = np.zeros(25_000_000, np.float32)
    with pytest.raises(MaskDetectionError, match="MemoryError"):
        hdf5.read_attributes(tmp_path / "old.h5")


def test_a_full_temporary_folder_names_the_model(model):
    with disk_with_room_for(4096):
        fault = the_fault(model)
    assert (
        f"the temporary folder {tempfile.gettempdir()} has no room for a copy (File too large); make room there"
        in fault
    )


def test_where_there_is_no_temporary_folder_the_model_is_named(model, monkeypatch):
    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    assert "name another folder with TMPDIR" in the_fault(model)


# --- what Keras writes is still read ---


@pytest.mark.parametrize("name", ["tiny.h5", "classic_tf212.model", "classic_tf215.model"])
def test_what_keras_writes_is_copied_whole(name, tmp_path):
    source, copy = FIXTURES / name, tmp_path / "copy.h5"
    hdf5.copy_content(str(source), str(copy))
    with h5py.File(source) as old, h5py.File(copy) as new:
        assert sorted(old.attrs) == sorted(new.attrs)
        names: list[str] = []
        old["model_weights"].visit(names.append)
        for entry in names:
            assert sorted(old["model_weights"][entry].attrs) == sorted(new["model_weights"][entry].attrs)
            if isinstance(old["model_weights"][entry], h5py.Dataset):
                np.testing.assert_array_equal(old["model_weights"][entry][()], new["model_weights"][entry][()])
