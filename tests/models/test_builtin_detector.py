"""The built-in face detector: which file is taken, how it joins the classifier, and that it finds faces."""

from __future__ import annotations

import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

import detect_mask_image
import detect_mask_video
from mask_detection.commands import checks, cli, doctor, evaluate
from mask_detection.inference.detections import Detections
from mask_detection.inference.detector import MaskDetector
from mask_detection.io.images import read_image
from mask_detection.models.builtin_detector import (
    BuiltinFaceDetector,
    find_builtin_file,
    fine_to_coarse,
    write_detector,
)
from mask_detection.models.classifier import MaskClassifier
from mask_detection.models.face_detector import FaceDetector
from mask_detection.models.fcos import build_detector
from mask_detection.models.load import first_at_hand, load_face_detector
from mask_detection.utils.boxes import box_iou
from mask_detection.utils.defaults import BUILTIN_DETECTOR_FILE
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.outcomes import disk_with_room_for
from tests.helpers.paths import GROUP, ROOT

EXAMPLES = ROOT / "examples"
FACE_IN_PORTRAIT = np.array([[181, 124, 348, 331]])


@pytest.fixture(scope="session")
def shipped_detector() -> Path:
    if not BUILTIN_DETECTOR_FILE.is_file():
        pytest.skip("the built-in detector's file is not in this checkout")
    return BUILTIN_DETECTOR_FILE


@pytest.fixture(scope="session")
def detector(shipped_detector) -> BuiltinFaceDetector:
    return BuiltinFaceDetector(shipped_detector.parent)


def detect_with(image: np.ndarray, face_detector: FaceDetector, classifier: MaskClassifier | None = None) -> Detections:
    return MaskDetector(lambda: face_detector, (lambda: classifier) if classifier else None)(image)


def records_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


# --- what it finds ---


@pytest.mark.parametrize("name", ["with_mask.jpg", "without_mask.jpg", "group.jpg"])
@pytest.mark.parametrize(("folder", "size"), [(".", 640), ("light", 512)], ids=["shipped", "light"])
def test_it_finds_every_face_of_the_examples_and_tells_the_masks(shipped_detector, folder, size, name):
    detector = BuiltinFaceDetector(shipped_detector.parent / folder, detect_size=size)
    expected = json.loads((EXAMPLES / "expected.json").read_text("utf-8"))[name]

    detections = detect_with(read_image(EXAMPLES / name), detector)

    overlaps = box_iou(np.array([face["box"] for face in expected]), detections.boxes)
    assert (overlaps.max(axis=1) > 0.5).all()
    assert len(detections) == len(expected)
    for face, found in zip(expected, overlaps.argmax(axis=1), strict=True):
        assert detections.labels[found] == face["label"] or face["label"] not in detector.class_names


@pytest.mark.parametrize("face_width", [24, 60, 160, 400])
def test_it_finds_faces_far_and_near(detector, portrait, face_width):
    scale = face_width / np.diff(FACE_IN_PORTRAIT[0, [0, 2]])[0]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=method)
    frame = np.full((max(480, len(scaled)), max(640, scaled.shape[1]), 3), 90, np.uint8)
    frame[: len(scaled), : scaled.shape[1]] = scaled

    boxes, _ = detector.detect(frame)

    assert box_iou(FACE_IN_PORTRAIT * scale, boxes).max() > 0.5


@pytest.mark.parametrize("detect_size", [416, 640, 1600])
def test_a_face_that_fills_the_image_is_found_once(shipped_detector, portrait, detect_size):
    x1, y1, x2, y2 = FACE_IN_PORTRAIT[0]
    detector = BuiltinFaceDetector(shipped_detector.parent, detect_size=detect_size)
    boxes, _ = detector.detect(cv2.resize(portrait[y1:y2, x1:x2], (670, 828), interpolation=cv2.INTER_CUBIC))
    assert len(boxes) == 1
    assert box_iou(np.array([[0, 0, 670, 828]]), boxes).max() > 0.6


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (37, 41), (300, 400)])
def test_images_of_any_shape_without_faces_are_empty_columns(detector, shape):
    boxes, confidences, probabilities = detector.detect_with_classes(np.full((*shape, 3), 90, np.uint8))
    assert (boxes.shape, boxes.dtype) == ((0, 4), np.int32)
    assert (confidences.shape, confidences.dtype) == ((0,), np.float32)
    assert (probabilities.shape, probabilities.dtype) == ((0, 2), np.float32)


def test_boxes_stand_where_the_face_is_whatever_the_detect_size(shipped_detector, portrait):
    for size in (256, 416, 500, 1200):
        boxes, _ = BuiltinFaceDetector(shipped_detector.parent, detect_size=size).detect(portrait)
        assert box_iou(FACE_IN_PORTRAIT, boxes).max() > 0.5


def test_coarser_passes_find_what_is_too_large_for_finer_ones():
    assert fine_to_coarse(416, 416) == [(416, 0, np.inf)]
    assert fine_to_coarse(640, 416) == [(640, 0, 280), (256, 96, np.inf)]
    passes = fine_to_coarse(8192, 416)
    for (size, _, largest), (coarser, smallest, _) in pairwise(passes):
        assert smallest / coarser < largest / size  # no face is too large for one and too small for the next


# --- which detector is taken ---


def test_it_looks_closer_at_photos_than_at_video(shipped_detector, tmp_path):
    assert load_face_detector("builtin", tmp_path).name == "built-in (640 px)"
    assert load_face_detector("builtin", tmp_path, for_video=True).name == "built-in (416 px)"
    assert load_face_detector("builtin", tmp_path, detect_size=500, for_video=True).name == "built-in (500 px)"


def test_without_other_files_auto_takes_it_from_the_project(shipped_detector, tmp_path, caplog):
    caplog.set_level("INFO")
    detector = load_face_detector("auto", tmp_path)
    assert isinstance(detector, BuiltinFaceDetector)
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize("file", ["deploy.prototxt", "face_detection_yunet_2026may.onnx"])
def test_other_detectors_files_go_first(tmp_path, file):
    (tmp_path / file).touch()
    assert first_at_hand(tmp_path) == ("caffe" if file.endswith("txt") else "yunet")


def test_a_folders_own_file_goes_before_the_projects(tmp_path):
    assert find_builtin_file(tmp_path) == BUILTIN_DETECTOR_FILE
    own = tmp_path / BUILTIN_DETECTOR_FILE.name
    own.touch()
    assert find_builtin_file(tmp_path) == own


def test_without_litert_auto_falls_back_and_names_the_remedy(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert load_face_detector("auto", tmp_path).name == "Haar cascade"
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert "pip install ai-edge-litert" in warning.message


def test_without_litert_asking_for_it_fails_in_one_line(shipped_detector, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MaskDetectionError, match="pip install ai-edge-litert") as refused:
        load_face_detector("builtin", tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped", "classifier"])
def test_a_damaged_file_is_named_in_one_line(shipped_detector, tmp_path, damage):
    data = shipped_detector.read_bytes()
    content = {
        "empty": b"",
        "text": b"no network " * 1000,
        "truncated": data[:100_000],
        "flipped": data[:200_000] + bytes([data[200_000] ^ 255]) + data[200_001:],
        "classifier": (ROOT / "mask_detector.tflite").read_bytes(),
    }
    file = tmp_path / BUILTIN_DETECTOR_FILE.name
    file.write_bytes(content[damage])

    with pytest.raises(MaskDetectionError, match=str(file)) as refused:
        load_face_detector("builtin", tmp_path)

    assert "\n" not in str(refused.value)


# --- its class scores and the classifier's ---


class TellingDetector(FaceDetector):
    """Finds one face and predicts its class."""

    name = "telling"

    def __init__(self, class_names: tuple[str, ...], probabilities: tuple[float, ...]) -> None:
        super().__init__()
        self.class_names = class_names
        self._probabilities = np.array([probabilities])

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[10.0, 10.0, 60.0, 60.0]]), np.array([0.9])

    def propose_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return *self.propose(frame), self._probabilities


def classifier_that_says(class_names: tuple[str, ...], probabilities: tuple[float, ...]) -> MaskClassifier:
    return MaskClassifier(lambda batch: np.tile(np.float32([probabilities]), (len(batch), 1)), class_names, 32)


FRAME = np.zeros((60, 60, 3), np.uint8)
MASKS = ("with_mask", "without_mask")


def test_two_words_on_the_same_classes_are_averaged():
    detections = detect_with(FRAME, TellingDetector(MASKS, (0.9, 0.1)), classifier_that_says(MASKS, (0.5, 0.5)))
    np.testing.assert_allclose(detections.probabilities, [[0.7, 0.3]], rtol=1e-6)


def test_the_classes_may_come_in_another_order():
    detector = TellingDetector(MASKS[::-1], (0.1, 0.9))
    detections = detect_with(FRAME, detector, classifier_that_says(MASKS, (0.5, 0.5)))
    np.testing.assert_allclose(detections.probabilities, [[0.7, 0.3]], rtol=1e-6)


@pytest.mark.parametrize(
    ("third", "joined"), [("mask_weared_incorrect", [0.28, 0.12, 0.6]), ("scarf", [0.2, 0.2, 0.6])]
)
def test_of_a_third_class_only_the_classifier_decides(third, joined):
    three = (*MASKS, third)
    detections = detect_with(FRAME, TellingDetector(MASKS, (0.9, 0.1)), classifier_that_says(three, (0.2, 0.2, 0.6)))
    assert detections.labels == [third]
    np.testing.assert_allclose(detections.probabilities, [joined], rtol=1e-6)


def test_without_a_classifier_the_detectors_word_counts():
    detections = detect_with(FRAME, TellingDetector(MASKS, (0.9, 0.1)))
    assert detections.class_names == MASKS
    np.testing.assert_allclose(detections.probabilities, [[0.9, 0.1]], rtol=1e-6)


# --- by the real commands ---


@pytest.fixture
def no_classifier(monkeypatch):
    """Loading a classifier fails the test."""
    monkeypatch.setattr("mask_detection.models.load.load_network", lambda path: pytest.fail(f"{path} was loaded"))


def test_photos_by_its_own_word(shipped_detector, no_classifier, tmp_path):
    output = tmp_path / "records.jsonl"
    photos = [str(EXAMPLES / name) for name in ("with_mask.jpg", "without_mask.jpg")]
    assert detect_mask_image.main(
        ["--image", *photos, "--face", str(tmp_path), "--one-stage", "--json", str(output), "--no-display"]
    ) == cli.EXIT_DONE  # fmt: skip
    assert [face["label"] for record in records_of(output) for face in record["faces"]] == list(MASKS)


def test_video_by_its_own_word(shipped_detector, no_classifier, video, tmp_path):
    output = tmp_path / "records.jsonl"
    arguments = ["--source", video, "--face", tmp_path, "--one-stage", "--log", output, "--max-frames", "3"]
    assert detect_mask_video.main([*map(str, arguments), "--no-display"]) == cli.EXIT_DONE
    assert [len(record["faces"]) for record in records_of(output)] == [1, 1, 1]


def test_photos_with_the_shipped_classifier(shipped_detector, shipped_model, tmp_path):
    output = tmp_path / "records.jsonl"
    arguments = ["--image", GROUP, "--detector", "builtin", "--model", shipped_model, "--json", output]
    assert detect_mask_image.main([*map(str, arguments), "--no-display"]) == cli.EXIT_DONE
    (record,) = records_of(output)
    expected = json.loads((EXAMPLES / "expected.json").read_text("utf-8"))["group.jpg"]
    found = sorted(record["faces"], key=lambda face: face["box"][0])
    assert [face["label"] for face in found] == [face["label"] for face in expected]


@pytest.mark.parametrize("others", [("--detector", "haar"), ("--classes", "a,b")])
def test_its_own_word_goes_with_no_other_detector_and_no_other_names(photo, others, errors):
    arguments = ["--image", str(photo), "--json", "-", "--no-display", "--model", "builtin", *others]
    assert detect_mask_image.main(arguments) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert "--one-stage" in line


def test_evaluation_of_its_own_word(shipped_detector, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("with_mask", "without_mask"):
        shutil.copy(EXAMPLES / f"{name}.jpg", photos)
        x1, y1, x2, y2 = FACE_IN_PORTRAIT[0] / [512, 600, 512, 600]
        number = MASKS.index(name)
        (photos / f"{name}.txt").write_text(f"{number} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n")
    (photos / "classes.txt").write_text("\n".join(MASKS))
    output = tmp_path / "figures.json"
    arguments = [
        "--images",
        photos,
        "--annotations",
        photos,
        "--face",
        tmp_path,
        "--model",
        "builtin",
        "--json",
        output,
    ]
    assert evaluate.main(list(map(str, arguments))) == cli.EXIT_DONE
    figures = json.loads(output.read_text("utf-8"))
    assert figures["classes"] == list(MASKS)
    assert figures["by_size"][0]["map"] == 1
    assert figures["by_size"][0]["balanced_accuracy"] == 1


def test_evaluation_of_face_crops_takes_a_classifier(tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--dataset", str(tmp_path), "--model", "builtin"])
    assert "needs whole photos" in capsys.readouterr().err


def test_the_doctor_knows_it(shipped_detector, tmp_path, monkeypatch, capsys):
    for slow in ("cameras", "tensorflow"):
        monkeypatch.setattr(checks, slow, lambda: iter([checks.Finding("not checked", "")]))
    doctor.main(["--face", str(tmp_path), "--model", "builtin"])
    printed = capsys.readouterr().out
    assert "loads: built-in (" in printed
    assert "takes builtin" in printed
    assert "one-stage mode" in printed


# --- writing one ---


@pytest.mark.xdist_group("tensorflow")
def test_a_full_disk_leaves_the_old_weights_alone(tmp_path):
    old = tmp_path / "mine.weights.h5"
    old.write_bytes(b"the weights of yesterday")
    with disk_with_room_for(100_000), pytest.raises(MaskDetectionError, match=r"mine\.weights\.h5: cannot be written"):
        write_detector(tmp_path / "mine.tflite", build_detector(2), ("a", "b"), 96, [])
    assert old.read_bytes() == b"the weights of yesterday"
    assert list(tmp_path.iterdir()) == [old]
