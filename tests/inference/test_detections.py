"""The detections of one image: checked once, cut by masks and indices, turned into what other libraries take."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mask_detection import Detections, Face

NAMES = ("with_mask", "without_mask")


@pytest.fixture
def three_faces() -> Detections:
    """Two masked faces, the second of which is uncertain, and a bare one that is not tracked."""
    return Detections(
        boxes=np.array([[0, 0, 10, 20], [30, 5, 50, 25], [60, 0, 70, 10]], np.int32),
        face_confidences=np.array([0.9, 0.8, 0.7], np.float32),
        probabilities=np.array([[0.95, 0.05], [0.6, 0.4], [0.1, 0.9]], np.float32),
        class_names=NAMES,
        track_ids=np.array([3, 4, -1], np.int32),
    )


def no_faces() -> Detections:
    return Detections(np.empty((0, 4), np.int32), np.empty(0, np.float32), np.empty((0, 2), np.float32), NAMES)


def test_it_prints_as_a_count_by_class(three_faces):
    assert repr(three_faces) == "Detections(3 faces: 2 with_mask, 1 without_mask)"
    assert repr(three_faces[:1]) == "Detections(1 face: 1 with_mask)"
    assert repr(no_faces()) == "Detections(no faces)"


def test_an_iteration_gives_faces(three_faces):
    first, _, last = three_faces
    assert first == Face((0, 0, 10, 20), "with_mask", pytest.approx(0.95), False, pytest.approx(0.9), 3)
    assert (last.label, last.track) == ("without_mask", None)
    assert [face.uncertain for face in three_faces] == [False, True, False]
    assert three_faces[0] == first
    assert three_faces[-1] == last
    with pytest.raises(IndexError):
        three_faces[3]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (np.array([False, True, True]), [1, 2]),
        ([True, False, False], [0]),
        (np.array([2, 0]), [2, 0]),
        ([1], [1]),
        ([], []),
        (np.empty(0, int), []),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
    ],
    ids=str,
)
def test_a_mask_a_slice_or_indices_choose_faces(three_faces, index, expected):
    chosen = three_faces[index]
    assert isinstance(chosen, Detections)
    for name in ("boxes", "face_confidences", "probabilities", "track_ids"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(three_faces, name)[expected])
    assert len(chosen) == len(chosen.labels) == len(expected)


def test_uncertain_faces_are_chosen_by_their_mask(three_faces):
    assert [face.box for face in three_faces[three_faces.uncertain]] == [(30, 5, 50, 25)]


def test_a_mask_of_another_length_is_refused(three_faces):
    with pytest.raises(IndexError):
        three_faces[np.array([True, False])]


def test_detections_are_compared_by_identity(three_faces):
    """A comparison of their arrays has no single truth value."""
    assert three_faces == three_faces
    assert three_faces != three_faces[:]
    assert len({three_faces, three_faces[:]}) == 2


def test_records_are_plain_and_say_what_applies(three_faces):
    records = json.loads(json.dumps(three_faces.to_records()))
    assert records[1] == {
        "box": [30, 5, 50, 25],
        "label": "with_mask",
        "probability": 0.6,
        "face_confidence": 0.8,
        "uncertain": True,
        "track": 4,
        "probabilities": {"with_mask": 0.6, "without_mask": 0.4},
    }
    assert list(records[2]) == ["box", "label", "probability", "face_confidence", "probabilities"]
    assert no_faces().to_records() == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("boxes", np.zeros((3, 4))),
        ("face_confidences", np.zeros(2, np.float32)),
        ("probabilities", np.zeros((3, 3), np.float32)),
        ("track_ids", np.zeros(3)),
    ],
)
def test_columns_that_do_not_fit_are_refused(three_faces, column, value):
    columns = {name: getattr(three_faces, name) for name in ("boxes", "face_confidences", "probabilities", "track_ids")}
    with pytest.raises(ValueError, match=column):
        Detections(**{**columns, column: value}, class_names=NAMES)


@pytest.mark.parametrize("make", [lambda faces: faces, lambda faces: faces[[]]], ids=["some", "none"])
def test_supervision_takes_them(three_faces, make):
    sv = pytest.importorskip("supervision")
    faces = make(three_faces)
    converted = faces.to_supervision()
    assert isinstance(converted, sv.Detections)
    np.testing.assert_array_equal(converted.xyxy, faces.boxes)
    np.testing.assert_array_equal(converted.tracker_id, faces.track_ids)
    assert converted["class_name"].tolist() == faces.labels
    np.testing.assert_allclose(converted.confidence, faces.face_confidences * faces.label_probabilities)


@pytest.mark.parametrize("make", [lambda faces: faces, lambda faces: faces[[]]], ids=["some", "none"])
def test_pandas_takes_them(three_faces, make):
    pytest.importorskip("pandas")
    faces = make(three_faces)
    table = faces.to_pandas()
    assert table["label"].tolist() == faces.labels
    assert table[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == faces.boxes.tolist()
    assert list(table.columns)[-1] == "track"
