"""Speed costs no accuracy: the scripts give what Keras' predict gives on one photo after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import detect_mask_image
from mask_detection.inference.joining import weigh_worn_wrong
from mask_detection.io.images import read_image
from mask_detection.models.load import load_face_detector
from mask_detection.models.preprocessing import classifier_input, crop_faces
from tests.helpers.paths import EXAMPLES

pytestmark = pytest.mark.xdist_group("tensorflow")

TOLERANCE = 0.01  # of a probability; the TFLite export's large weights are rounded to float16


def check(photos: Sequence[Path], kind: str, folder: Path, predict: Callable, records: Path) -> None:
    """Compare box by box, probability by probability."""
    arguments = ["--image", *photos, "--detector", kind, "--face", folder, "--json", records, "--no-display"]
    assert detect_mask_image.main([str(argument) for argument in arguments]) == 0
    detector = load_face_detector(kind, folder)
    n_faces = 0
    for photo, line in zip(photos, records.read_text().splitlines(), strict=True):
        frame = read_image(photo)
        boxes, _ = detector.detect(frame)
        faces = json.loads(line)["faces"]
        assert [face["box"] for face in faces] == boxes.tolist()
        if faces:
            class_names = list(faces[0]["probabilities"])
            given = predict(classifier_input(crop_faces(frame, boxes), 224))
            probabilities = weigh_worn_wrong(given, boxes, class_names)
            predicted = [class_names.index(face["label"]) for face in faces]
            expected = probabilities[range(len(faces)), predicted]
            assert [face["probability"] for face in faces] == pytest.approx(expected.tolist(), abs=TOLERANCE)
        n_faces += len(faces)
    assert n_faces


def test_examples(predict, tmp_path):
    check(sorted(EXAMPLES.glob("*.jpg")), "haar", tmp_path, predict, tmp_path / "records.jsonl")


@pytest.mark.parametrize("kind", ["caffe", "yunet"])
def test_street_photos(shared, predict, tmp_path, kind):
    photos = sorted((shared / "street" / "images").iterdir())[::100]
    check(photos, kind, shared / "face_detector", predict, tmp_path / "records.jsonl")
