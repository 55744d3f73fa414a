"""Bad face detector folders through the script: one line that names the file, never another detector in its stead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import detect_mask_image
from mask_detection.commands import cli
from tests.helpers.outcomes import Outcome

PROTOTXT, CAFFEMODEL = "deploy.prototxt", "res10_300x300_ssd_iter_140000.caffemodel"
YUNET = "face_detection_yunet_2026may.onnx"
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 232589\n"

FETCH = "run `python -m mask_detection download"
DAMAGED_CAFFE = f"does not fit deploy.prototxt or is damaged; delete both and {FETCH} caffe`"
DAMAGED_YUNET = f"is not a YuNet network or is damaged; delete it and {FETCH} yunet`"

Files = dict[str, bytes]


@pytest.fixture
def detect(run, photo, tiny_model, tmp_path) -> Callable[..., Outcome]:
    """A function that runs the photo script with a face detector folder of the given files."""

    def detect(files: Files, *options: object) -> Outcome:
        (tmp_path / "faces").mkdir(exist_ok=True)
        for name, content in files.items():
            (tmp_path / "faces" / name).write_bytes(content)
        arguments = ["--image", photo, "--output", tmp_path / "out.png", "--model", tiny_model, "--no-display"]
        return run(detect_mask_image.main, *arguments, "--face", tmp_path / "faces", *options)

    return detect


@pytest.fixture
def assert_refused(detect, tmp_path) -> Callable[..., None]:
    """A function that expects the line ``error: FOLDER/NAME: FAULT`` for such a folder, whether chosen or found."""

    def assert_refused(files: Files, kind: str, name: str, fault: str) -> None:
        line = f"error: {tmp_path / 'faces' / name}: {fault}"
        for chosen in ("auto", kind):
            assert detect(files, "--detector", chosen) == Outcome(cli.EXIT_UNUSABLE, [line])
        assert not (tmp_path / "out.png").exists()

    return assert_refused


@pytest.fixture(scope="module")
def caffe(shared) -> Files:
    return {name: (shared / "face_detector" / name).read_bytes() for name in (PROTOTXT, CAFFEMODEL)}


@pytest.fixture(scope="module")
def yunet(shared) -> Files:
    return {YUNET: (shared / "face_detector" / YUNET).read_bytes()}


@pytest.mark.parametrize("kind", ["auto", "caffe", "yunet", "haar"])
def test_a_folder_that_is_not_there_is_named(detect, tmp_path, kind):
    fault = f"error: {tmp_path / 'none'}: there is no such folder; name the one with the face detector's files"
    assert detect({}, "--face", tmp_path / "none", "--detector", kind) == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_an_empty_folder_lacks_what_was_asked_for(detect, tmp_path):
    faults = {
        "caffe": f"holds 0 *.prototxt files (the network's description) and one is needed; {FETCH} caffe`",
        "yunet": f"holds no face_detection_yunet_*.onnx; {FETCH} yunet`",
    }
    for kind, fault in faults.items():
        line = f"error: {tmp_path / 'faces'}: {fault}"
        assert detect({}, "--detector", kind) == Outcome(cli.EXIT_UNUSABLE, [line])


@pytest.mark.parametrize(
    ("present", "lacking"),
    [
        (PROTOTXT, "holds 0 *.caffemodel files (the network's weights)"),
        (CAFFEMODEL, "holds 0 *.prototxt files (the network's description)"),
    ],
)
def test_one_of_the_two_caffe_files_is_missing(assert_refused, present, lacking):
    assert_refused({present: b"name: 'net'"}, "caffe", "", f"{lacking} and one is needed; {FETCH} caffe`")


def test_two_sets_of_caffe_weights_are_one_too_many(assert_refused, caffe):
    fault = f"holds 2 *.caffemodel files (the network's weights) and one is needed; {FETCH} caffe`"
    assert_refused({**caffe, "other.caffemodel": b""}, "caffe", "", fault)


def test_swapped_caffe_files_are_refused(assert_refused, caffe):
    swapped = {PROTOTXT: caffe[CAFFEMODEL], CAFFEMODEL: caffe[PROTOTXT]}
    assert_refused(swapped, "caffe", CAFFEMODEL, DAMAGED_CAFFE)


@pytest.mark.parametrize("tenths", [1, 5, 9])
@pytest.mark.parametrize("name", [PROTOTXT, CAFFEMODEL])
def test_truncated_caffe_files_are_refused(assert_refused, caffe, name, tenths):
    cut = caffe[name][: len(caffe[name]) * tenths // 10]
    assert_refused({**caffe, name: cut}, "caffe", CAFFEMODEL, DAMAGED_CAFFE)


@pytest.mark.parametrize("name", [PROTOTXT, CAFFEMODEL])
@pytest.mark.parametrize("content", [b"Not Found", np.random.default_rng(0).bytes(9999)], ids=["text", "noise"])
def test_other_content_in_caffe_files_is_refused(assert_refused, caffe, name, content):
    assert_refused({**caffe, name: content}, "caffe", CAFFEMODEL, DAMAGED_CAFFE)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (LFS_POINTER, "is a Git-LFS pointer, not a network; run `git lfs pull` or get the file itself"),
        (b"", "is empty (0 bytes), not a network; get the file again"),
    ],
    ids=["lfs pointer", "empty"],
)
def test_pointers_and_empty_files_are_named(assert_refused, content, fault, tmp_path):
    whole = {PROTOTXT: b"name: 'net'", CAFFEMODEL: b"weights"}
    assert_refused({**whole, PROTOTXT: content}, "caffe", PROTOTXT, fault)
    assert_refused({**whole, CAFFEMODEL: content}, "caffe", CAFFEMODEL, fault)
    for name in whole:
        (tmp_path / "faces" / name).unlink()
    assert_refused({YUNET: content}, "yunet", YUNET, fault)


@pytest.mark.parametrize("tenths", [1, 5, 9])
def test_a_truncated_yunet_is_refused(assert_refused, yunet, tenths):
    assert_refused({YUNET: yunet[YUNET][: len(yunet[YUNET]) * tenths // 10]}, "yunet", YUNET, DAMAGED_YUNET)


def test_another_network_in_place_of_yunet_is_refused(assert_refused, caffe):
    for content in (caffe[CAFFEMODEL], b"no network " * 1000):
        assert_refused({YUNET: content}, "yunet", YUNET, DAMAGED_YUNET)
