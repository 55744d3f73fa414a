"""What fuzzing has found: damage that made libraries crash, loop or predict nonsense."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from mask_detection.data.dataset import scan
from mask_detection.data.splits import read_split
from mask_detection.io import hdf5
from mask_detection.models import opencv_detectors
from mask_detection.models.base import ModelInfo, Network
from mask_detection.models.classifier import to_classifier
from mask_detection.models.load import load_classifier, load_face_detector
from mask_detection.training.checkpoints import open_run_folder
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.sandbox import SandboxResult
from tests.helpers.paths import FIXTURES

pytestmark = pytest.mark.xdist_group("tensorflow")


def crash(*_: str) -> None:
    os.abort()


def hang(*_: str) -> None:
    while True:
        pass


def the_fault(path: Path) -> str:
    with pytest.raises(MaskDetectionError) as caught:
        load_classifier(path)
    return str(caught.value)


# --- models ---


def test_a_file_on_which_the_hdf5_library_crashes_is_refused(tmp_path):
    damaged = bytearray((FIXTURES / "classic_tf212.model").read_bytes())
    damaged[31643] = 127  # with HDF5 1.14, listing its groups ends in a segmentation fault
    path = tmp_path / "crash.h5"
    path.write_bytes(damaged)
    assert the_fault(path).startswith(f"{path}: is not a whole Keras model; get the file again")


def test_a_file_that_takes_too_long_to_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "copy_content", hang)
    monkeypatch.setattr(hdf5, "READING_S", 0.2)
    path = Path(shutil.copy(FIXTURES / "classic_tf212.model", tmp_path))
    assert "no answer within 0.2" in the_fault(path)


def test_an_array_larger_than_any_model_is_refused(tmp_path):
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("model_weights/bomb", (1 << 40,), np.float32, chunks=(1 << 20,), compression="gzip")
    with pytest.raises(MaskDetectionError, match=r"with bomb it has 4,398,046,5[0-9,]+ bytes"):
        hdf5.read_attributes(path)


@pytest.mark.parametrize(
    ("attribute", "fault"), [("class_names", "class names are damaged"), ("preprocessing", "wants")]
)
def test_attributes_of_another_type_are_refused(tiny_model, tmp_path, attribute, fault):
    path = Path(shutil.copy(tiny_model, tmp_path))
    with h5py.File(path, "r+") as file:
        file.attrs[attribute] = np.arange(3)
    assert fault in the_fault(path)


@pytest.mark.parametrize("prediction", [np.nan, np.inf])
def test_a_network_whose_predictions_are_no_numbers_is_refused(prediction):
    network = Network(lambda batch: np.full((len(batch), 2), prediction, np.float32), 2, ModelInfo(("a", "b"), 8))
    classifier = to_classifier(Path("damaged.tflite"), network)
    with pytest.raises(MaskDetectionError, match=r"damaged\.tflite: predicts what is no number"):
        classifier.classify([np.zeros((9, 9, 3), np.uint8)])


# --- face detectors ---


@pytest.mark.parametrize(
    ("detector", "names"),
    [("caffe", ("deploy.prototxt", "res10.caffemodel")), ("yunet", ("face_detection_yunet_2023mar.onnx",))],
)
@pytest.mark.parametrize(("stand_in", "how"), [(crash, "SIGABRT"), (hang, "no answer")])
def test_networks_on_which_opencv_crashes_are_refused(tmp_path, monkeypatch, detector, names, stand_in, how):
    monkeypatch.setattr(opencv_detectors, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(opencv_detectors, "try_loading", stand_in)
    monkeypatch.setattr(opencv_detectors, "TRY_OUT_S", 60.0 if stand_in is crash else 0.5)
    for name in names:
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(MaskDetectionError) as caught:
        load_face_detector(detector, tmp_path)
    assert str(tmp_path / names[0]) in str(caught.value)
    assert how in str(caught.value)


@pytest.mark.parametrize("is_known", [True, False])
def test_networks_that_are_known_or_were_tried_are_not_tried(tmp_path, monkeypatch, is_known):
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"damaged")
    monkeypatch.setattr(opencv_detectors, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(opencv_detectors.downloads, "is_known", lambda path: is_known)
    tries: list[object] = []
    monkeypatch.setattr(opencv_detectors.sandbox, "run", lambda *call, **_: tries.append(call) or SandboxResult([]))
    for _ in range(2):
        with pytest.raises(MaskDetectionError, match="is not a YuNet network or is damaged"):
            load_face_detector("yunet", tmp_path)
    assert len(tries) == (0 if is_known else 1)


def test_boxes_that_are_no_numbers_are_excluded():
    rows = np.array([[1, 2, 3], [np.nan, 2, 3], [1, np.inf, 3], [3e38, 2, 3]], np.float32)
    assert opencv_detectors._finite(rows)[:, 0].tolist() == [1, np.float32(3e38)]


def test_haar_finds_a_face_in_an_image_that_is_larger_than_it_works_on(portrait, monkeypatch):
    detector = opencv_detectors.HaarFaceDetector()
    [expected], _ = detector.detect(portrait)
    monkeypatch.setattr(opencv_detectors, "HAAR_MAX_SIDE", 300)
    [box], _ = detector.detect(portrait)
    np.testing.assert_allclose(box, expected, atol=30)


# --- training ---


@pytest.mark.parametrize(
    ("content", "fault"),
    [("[" * 100_000, "is not a split file"), ("[7]", "is not a split file"), (None, "names no test images")],
)
def test_a_damaged_split_file_is_refused(make_dataset, tmp_path, content, fault):
    samples = scan([make_dataset(tmp_path / "set", {"a": 3, "b": 3})])
    path = tmp_path / "split.json"
    path.write_text(content or json.dumps({"train": samples.names, "validation": samples.names, "test": []}))
    with pytest.raises(MaskDetectionError, match=fault):
        read_split(path, samples)


def test_a_run_whose_removal_was_killed_is_not_resumed(tmp_path, monkeypatch):
    class KilledError(BaseException):
        """Nothing in the script catches it, as nothing catches a kill."""

    def killed_after_one(path: Path) -> None:
        unlink(path)
        raise KilledError

    unlink, model = Path.unlink, tmp_path / "model.h5"
    with monkeypatch.context() as patch, pytest.raises(KilledError), open_run_folder(model, {"epochs": 3}) as folder:
        (folder / "head_0001.npz").touch()
        patch.setattr(Path, "unlink", killed_after_one)
    assert [path.name for path in folder.iterdir()] == ["head_0001.npz"]
    with (
        pytest.raises(MaskDetectionError, match="holds no interrupted run"),
        open_run_folder(model, {"epochs": 3}, resume=True),
    ):
        pass


def test_the_state_of_an_interrupted_run_is_deleted_by_request_only(tmp_path):
    model, identity = tmp_path / "model.h5", {"epochs": 3}
    with pytest.raises(KeyboardInterrupt), open_run_folder(model, identity) as folder:
        (folder / "head_0001.npz").touch()
        raise KeyboardInterrupt
    with pytest.raises(MaskDetectionError, match=r"add --resume .* or --restart"), open_run_folder(model, identity):
        pass
    with open_run_folder(model, identity, resume=True):
        assert (folder / "head_0001.npz").exists()
        with pytest.raises(MaskDetectionError, match="another run"), open_run_folder(model, identity, restart=True):
            pass
    assert not folder.exists()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), open_run_folder(model, identity, restart=True):
            assert [path.name for path in folder.iterdir()] == ["run.json"]
            (folder / "head_0001.npz").touch()
            raise KeyboardInterrupt
