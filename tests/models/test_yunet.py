"""YuNet: faces of every size, its file, and what is reported when that is missing or damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.io.images import read_image
from mask_detection.models import load
from mask_detection.models.load import load_face_detector
from mask_detection.models.opencv_detectors import find_yunet_file
from mask_detection.utils import downloads
from mask_detection.utils.boxes import box_iou
from tests.helpers.paths import EXAMPLES, SHARED

FACE_IN_PORTRAIT = np.array([[181, 124, 348, 331]])


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """The real network, alone in a folder."""
    found = sorted((SHARED / "face_detector").glob("*yunet*.onnx"))
    if not found:
        pytest.skip("the YuNet network in ../shared is not on this machine")
    return Path(shutil.copy(found[0], tmp_path_factory.mktemp("yunet")))


@pytest.fixture(scope="module")
def yunet(network):
    return load_face_detector("yunet", network.parent)


@pytest.mark.parametrize("name", ["group.jpg", "with_mask.jpg", "without_mask.jpg"])
def test_it_finds_every_face_of_the_examples(yunet, name):
    expected = np.array([face["box"] for face in json.loads((EXAMPLES / "expected.json").read_text())[name]])
    boxes, _ = yunet.detect(read_image(EXAMPLES / name))
    assert (box_iou(expected, boxes).max(axis=1) > 0.5).all()


@pytest.mark.parametrize("face_width", [14, 40, 160, 700, 2500])
def test_it_finds_faces_far_and_near(yunet, portrait, face_width):
    scale = face_width / np.diff(FACE_IN_PORTRAIT[0, [0, 2]])[0]
    scaled = cv2.resize(
        portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    frame = np.full((max(480, len(scaled)), max(640, scaled.shape[1]), 3), 90, np.uint8)
    frame[: len(scaled), : scaled.shape[1]] = scaled

    boxes, _ = yunet.detect(frame)

    assert box_iou(FACE_IN_PORTRAIT * scale, boxes).max() > 0.5


def test_a_face_that_fills_the_image_is_not_lost(yunet, portrait):
    x1, y1, x2, y2 = FACE_IN_PORTRAIT[0]
    close_up = cv2.resize(portrait[y1:y2, x1:x2], (1340, 1656), interpolation=cv2.INTER_CUBIC)

    boxes, _ = yunet.detect(close_up)

    assert len(boxes) == 1
    assert box_iou(np.array([[0, 0, 1340, 1656]]), boxes).max() > 0.6


def test_no_faces_are_empty_columns(yunet):
    boxes, confidences = yunet.detect(np.full((300, 400, 3), 90, np.uint8))
    assert (boxes.shape, boxes.dtype) == ((0, 4), np.int32)
    assert (confidences.shape, confidences.dtype) == ((0,), np.float32)


def test_auto_takes_it_where_only_its_file_lies(network, caplog):
    caplog.set_level("INFO")
    detector = load_face_detector("auto", network.parent, detect_size=640)
    assert detector.name == "YuNet (640 px)"
    assert "YuNet" in caplog.text


def test_a_larger_detect_size_finds_smaller_faces(network, portrait):
    frame = np.full((960, 960, 3), 90, np.uint8)
    frame[:30, :26] = cv2.resize(portrait, (26, 30), interpolation=cv2.INTER_AREA)  # the face is 8 px wide

    found = [
        len(load_face_detector("yunet", network.parent, detect_size=size).detect(frame)[0]) for size in (320, 1920)
    ]

    assert found == [0, 1]


def test_of_several_networks_the_newest_is_taken(tmp_path):
    for date in ("2022mar", "2026may", "2026feb", "2023mar", "unknown"):
        (tmp_path / f"face_detection_yunet_{date}.onnx").touch()
    assert find_yunet_file(tmp_path).name == "face_detection_yunet_2026may.onnx"


def test_on_first_use_it_is_fetched_into_the_default_folder(network, tmp_path, monkeypatch):
    fetched = []

    def fetch(remote_file: downloads.RemoteFile, folder: Path) -> Path:
        fetched.append(remote_file.name)
        return Path(shutil.copy(network, folder / remote_file.name))

    monkeypatch.setattr(load, "FACE_FOLDER", tmp_path)
    monkeypatch.setattr(downloads, "fetch", fetch)
    for _ in range(2):
        load_face_detector("yunet", tmp_path)

    assert fetched == ["face_detection_yunet_2023mar.onnx"]
