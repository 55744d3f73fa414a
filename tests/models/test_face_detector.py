"""Face detectors: what is kept of their proposals, which one is taken, and that they find faces."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from mask_detection.io.images import read_image
from mask_detection.models.face_detector import keep_faces
from mask_detection.models.load import load_face_detector
from mask_detection.utils import defaults
from mask_detection.utils.boxes import box_iou
from tests.helpers.paths import EXAMPLES

FRAME_SIZE = (480, 640)  # height, width
FACE_IN_PORTRAIT = (181, 124, 348, 331)
CAFFE_FILES = ("deploy.prototxt", "res10_300x300_ssd_iter_140000.caffemodel")


def kept(*proposals: tuple[tuple[float, ...], float], min_confidence: float = 0.5) -> list[tuple[list[int], float]]:
    """What `keep_faces` makes of boxes with their confidences, as plain lists."""
    boxes = np.array([box for box, _ in proposals], np.float32).reshape(-1, 4)
    confidences = np.array([confidence for _, confidence in proposals], np.float32)
    boxes, indices = keep_faces(boxes, confidences, FRAME_SIZE, min_confidence)
    assert boxes.dtype == np.int32
    assert boxes.shape == (len(indices), 4)
    return [(box.tolist(), round(float(confidences[i]), 3)) for box, i in zip(boxes, indices, strict=True)]


# --- what is kept ---


def test_nothing_proposed_is_nothing_kept():
    assert kept() == []


def test_doubtful_faces_are_dropped_and_the_surest_come_first():
    small, large, doubtful = (10, 10, 50, 60), (100, 100, 300, 350), (400, 10, 450, 60)
    assert kept((small, 0.7), (doubtful, 0.4), (large, 0.9)) == [([*large], 0.9), ([*small], 0.7)]
    assert len(kept((doubtful, 0.4), min_confidence=0.3)) == 1


def test_what_reaches_over_the_edge_is_clipped():
    assert kept(((-20, -10, 100, 100), 0.9)) == [([0, 0, 100, 100], 0.9)]
    assert kept(((600.4, 400.6, 660, 490), 0.9)) == [([600, 401, 640, 480], 0.9)]


@pytest.mark.parametrize(
    "ghost", [(-100, 0, -10, 90), (700, 100, 800, 200), (-80, 10, 40, 100), (100, 430, 200, 590), (630, 470, 700, 560)]
)
def test_ghosts_beside_the_image_are_dropped(ghost):
    assert kept((ghost, 0.99)) == []


@pytest.mark.parametrize(
    "senseless",
    [
        (50, 50, 50, 90),
        (50, 90, 90, 50),
        (90, 50, 50, 90),
        (50.1, 50.1, 50.4, 50.4),
        (np.nan, 1, 9, 9),
        (1, 1, np.inf, 9),
    ],
)
def test_boxes_without_an_area_are_dropped(senseless):
    assert kept((senseless, 0.99)) == []


def test_a_confidence_that_is_no_number_is_dropped():
    assert kept(((10, 10, 50, 50), np.nan)) == []


def test_a_face_found_twice_is_kept_once():
    face, again, neighbour = (100, 100, 200, 200), (105, 98, 204, 203), (190, 100, 290, 200)
    assert kept((again, 0.8), (face, 0.9), (neighbour, 0.7)) == [([*face], 0.9), ([*neighbour], 0.7)]


# --- which detector is taken ---


@pytest.fixture
def caffe_folder(shared, tmp_path) -> Path:
    """A folder of the test's own with the Caffe SSD's files."""
    for name in CAFFE_FILES:
        shutil.copyfile(shared / "face_detector" / name, tmp_path / name)
    return tmp_path


def lines_logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_haar_on_request_is_taken_without_advice(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "mask_detection"):
        load_face_detector("haar", tmp_path)
    assert lines_logged(caplog) == ["face detector: Haar cascade"]


@pytest.mark.parametrize("kind", ["auto", "caffe"])
def test_with_its_files_the_caffe_detector_is_taken(kind, caffe_folder, caplog):
    with caplog.at_level(logging.INFO, "mask_detection"):
        load_face_detector(kind, caffe_folder)
    (line,) = lines_logged(caplog)
    assert line.startswith("face detector: Caffe SSD")


def test_other_weights_than_the_official_are_taken_as_they_are(caffe_folder):
    (caffe_folder / CAFFE_FILES[1]).rename(caffe_folder / "my_own.caffemodel")
    assert load_face_detector("auto", caffe_folder).name.startswith("Caffe SSD")


def test_auto_never_touches_the_network(tmp_path, monkeypatch):
    def fetch(*_: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr("mask_detection.utils.downloads.fetch", fetch)
    load_face_detector("auto", tmp_path)
    if not any(defaults.FACE_FOLDER.glob("*.caffemodel")):
        load_face_detector("auto", defaults.FACE_FOLDER)


# --- that faces are found ---


def test_haar_finds_the_bare_face(portrait):
    boxes, confidences = load_face_detector("haar").detect(portrait)
    assert box_iou(boxes[:1], np.array([FACE_IN_PORTRAIT]))[0, 0] > 0.4
    assert 0.5 <= confidences[0] <= 1


@pytest.mark.parametrize("name", ["with_mask.jpg", "without_mask.jpg", "group.jpg"])
def test_the_caffe_detector_finds_every_face_of_the_examples_and_nothing_else(shared, name):
    truth = json.loads((EXAMPLES / "expected.json").read_text())[name]
    frame = read_image(EXAMPLES / name)

    boxes, confidences = load_face_detector("caffe", shared / "face_detector").detect(frame)

    overlaps = box_iou(np.array([face["box"] for face in truth]), boxes)
    assert overlaps.shape == (len(truth), len(truth))
    assert overlaps.max(axis=1).min() > 0.6
    assert np.all(np.diff(confidences) <= 0)


@pytest.mark.parametrize("kind", ["haar", "caffe"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (20, 20), (3000, 4), (300, 300)])
def test_images_without_a_face_give_empty_columns(kind, width, height, request):
    folder = request.getfixturevalue("shared") / "face_detector" if kind == "caffe" else defaults.FACE_FOLDER
    boxes, confidences = load_face_detector(kind, folder).detect(np.full((height, width, 3), 90, np.uint8))
    assert (boxes.shape, boxes.dtype) == ((0, 4), np.int32)
    assert (confidences.shape, confidences.dtype) == ((0,), np.float32)


@pytest.mark.parametrize("kind", ["haar", "caffe"])
def test_a_higher_threshold_keeps_fewer_faces(kind, request, portrait):
    folder = request.getfixturevalue("shared") / "face_detector" if kind == "caffe" else defaults.FACE_FOLDER
    counts = [len(load_face_detector(kind, folder, limit).detect(portrait)[0]) for limit in (0.1, 0.5, 1.0)]
    assert counts[0] >= counts[1] == 1
    assert counts[2] <= counts[1]
