"""Faces tracked through synthetic videos: numbers that stay, predictions that are steady and yet in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mask_detection.inference.detections import CERTAIN_FROM, Detections
from mask_detection.inference.tracking import CLASSIFY_EVERY, MAX_GAP, Tracker, match_greedily

NAMES = ("with_mask", "without_mask")
MASKED, BARE = (0.98, 0.02), (0.02, 0.98)
HERE, THERE = (100, 100, 160, 180), (300, 100, 360, 180)


def seen(*faces: tuple[Sequence[int], Sequence[float]], class_names: tuple[str, ...] = NAMES) -> Detections:
    boxes = np.array([box for box, _ in faces], np.int32).reshape(-1, 4)
    probabilities = np.array([row for _, row in faces], np.float32).reshape(len(faces), len(class_names))
    return Detections(boxes, np.ones(len(faces), np.float32), probabilities, class_names)


def moved(box: Sequence[int], by: int) -> tuple[int, ...]:
    return (box[0] + by, box[1], box[2] + by, box[3])


def labels_of(predictions: Sequence[Sequence[float]], frame_rate: float, tracker: Tracker | None = None) -> list[str]:
    """The labels of one still face whose predictions are those."""
    tracker = tracker or Tracker()
    return [
        tracker.update(seen((HERE, prediction)), i / frame_rate).labels[0] for i, prediction in enumerate(predictions)
    ]


def tracks_of(frames: Sequence[Sequence[Sequence[int]]], frame_rate: float = 25.0) -> list[list[int | None]]:
    """The numbers of the faces, given as boxes, in each frame."""
    tracker = Tracker()
    return [
        tracker.update(seen(*((box, BARE) for box in boxes)), i / frame_rate).tracks for i, boxes in enumerate(frames)
    ]


# --- numbers ---


def test_moving_faces_keep_their_numbers_in_whatever_order_they_are_found():
    pairs = [(moved(HERE, 3 * i), moved(THERE, 2 * i)) for i in range(60)]
    assert tracks_of(pairs) == [[1, 2]] * 60
    assert tracks_of([pair[:: 1 if i % 2 else -1] for i, pair in enumerate(pairs)]) == [[1, 2], [2, 1]] * 30


def test_a_small_face_with_a_box_that_jitters_keeps_its_number():
    rng = np.random.default_rng(1)
    boxes = np.array([50, 50, 66, 70]) + rng.integers(-2, 3, (200, 4))
    assert tracks_of([[box] for box in boxes]) == [[1]] * 200


def test_a_new_face_is_there_at_once_with_a_new_number():
    assert tracks_of([[HERE], [HERE, THERE], [THERE]]) == [[1], [1, 2], [2]]


def test_a_face_that_was_missed_for_a_while_is_the_same_and_after_longer_a_new_one():
    short, long = int(MAX_GAP * 25) - 1, int(MAX_GAP * 25) + 1
    assert tracks_of([[HERE], *[[]] * short, [HERE]])[-1] == [1]
    assert tracks_of([[HERE], *[[]] * long, [HERE]])[-1] == [2]


def test_gaps_are_measured_in_seconds_however_many_frames_were_dropped():
    tracker = Tracker()
    times = [0.0, 0.04, 1.9, 1.9, 1.94, 30.0]  # the clock of a camera may be too coarse to tell two frames apart
    assert [tracker.update(seen((HERE, BARE)), time_s).tracks for time_s in times] == [[1]] * 5 + [[2]]


def test_of_two_faces_on_one_place_the_nearer_one_is_it():
    assert tracks_of([[HERE], [moved(HERE, 30), moved(HERE, 5)], [moved(HERE, 5)]]) == [[1], [2, 1], [1]]


def test_without_faces_the_columns_are_the_same():
    followed = Tracker().update(seen(), 0.0)
    assert followed.track_ids is not None
    assert (followed.track_ids.shape, followed.track_ids.dtype) == ((0,), np.int32)
    assert (followed.probabilities.shape, followed.probabilities.dtype) == ((0, 2), np.float32)
    assert followed.to_records() == []


def test_pairs_are_made_by_the_largest_overlap():
    overlaps = np.array([[0.5, 0.6], [0.1, 0.9], [0.4, 0.3]])
    assert match_greedily(overlaps, 0.2) == {1: 1, 0: 0}
    assert match_greedily(np.empty((0, 3)), 0.2) == match_greedily(np.empty((3, 0)), 0.2) == {}


# --- steady predictions ---


@pytest.mark.parametrize("frame_rate", [5, 25, 60])
def test_one_odd_answer_changes_no_label(frame_rate):
    predictions = [BARE] * 10 + [MASKED] + [BARE] * 10
    assert labels_of(predictions, frame_rate) == ["without_mask"] * 21


def test_guesses_change_no_label():
    """A face that turned away, of which the classifier knows nothing."""
    assert labels_of([MASKED] * 10 + [(0.45, 0.55), (0.55, 0.45), (0.4, 0.6)] * 2, 25) == ["with_mask"] * 16


@pytest.mark.parametrize("seconds_before", [0.2, 60.0])
@pytest.mark.parametrize("frame_rate", [10, 25, 30])
def test_a_mask_put_on_shows_within_five_frames(seconds_before, frame_rate):
    before = round(seconds_before * frame_rate)
    labels = labels_of([BARE] * before + [(0.3, 0.7), (0.8, 0.2)] + [MASKED] * 10, frame_rate)
    changed = labels.index("with_mask")
    assert changed <= before + 1 + 5  # the classifier itself changes its prediction at before + 1
    assert set(labels[changed:]) == {"with_mask"}


def test_where_each_fifth_frame_is_searched_a_mask_shows_at_the_next_but_one():
    labels = labels_of([BARE] * 20 + [MASKED] * 3, 25 / 5)
    assert labels[20:] == ["without_mask", "with_mask", "with_mask"]


def test_held_faces_keep_their_tracks_and_count_once():
    tracker, found = Tracker(), []
    for i in range(35):
        if i % 5 == 0:
            detections = seen((HERE, BARE if i < 20 else MASKED))
        followed = tracker.update(detections, i / 25)
        assert followed.tracks == [1]
        found += followed.labels
    assert found == ["without_mask"] * 25 + ["with_mask"] * 10


def test_what_is_always_uncertain_stays_so():
    """Places that are no face get such predictions: being seen often must not make them confident."""
    tracker = Tracker()
    for i in range(100):
        followed = tracker.update(seen((HERE, (0.7, 0.3))), i / 25)
    assert followed.uncertain.tolist() == [True]
    assert followed.label_probabilities[0] == pytest.approx(0.7, abs=1e-3)
    assert CERTAIN_FROM > 0.7


def test_three_classes_are_smoothed_alike():
    tracker, names = Tracker(), (*NAMES, "mask_weared_incorrect")
    for i in range(12):
        row = np.full(3, 0.05)
        row[0 if i < 8 else 2] = 0.9
        followed = tracker.update(seen((HERE, row), (THERE, row), class_names=names), i / 25)
        np.testing.assert_allclose(followed.probabilities.sum(axis=1), 1, atol=1e-6)
        if i == 7:
            assert followed.labels == ["with_mask"] * 2
    assert followed.labels == ["mask_weared_incorrect"] * 2


# --- what is classified ---

GUESS = (0.6, 0.4)


class Classifier:
    """Gives a face in a frame the prediction that is set, and counts which frames it was asked about."""

    def __init__(self, predictions: Sequence[Sequence[float]]) -> None:
        self.predictions, self.asked = predictions, []

    def labels(
        self, frame_rate: float = 25.0, boxes: Sequence[Sequence[int]] = (), scores: Sequence[Sequence[float]] = ()
    ) -> list[str]:
        """The labels of the one face whose boxes and whose scores, by the face detector, are those."""
        tracker, labels = Tracker(), []
        for i in range(len(self.predictions)):
            box = boxes[i] if boxes else HERE
            found = seen((box, scores[i] if scores else ()), class_names=NAMES if scores else ())

            def classify(faces: Detections, i: int = i) -> Detections:
                self.asked += [i] * len(faces)
                return seen(*((box, self.predictions[i]) for box in faces.boxes))

            labels += tracker.update(found, i / frame_rate, classify).labels
        return labels


@pytest.mark.parametrize(("frame_rate", "step"), [(60, 3), (25, 3), (8, 3), (5, 2), (2, 1)])
def test_a_face_that_is_known_is_classified_in_each_third_frame_and_each_0_4_seconds(frame_rate, step):
    classifier = Classifier([BARE] * 40)
    assert classifier.labels(frame_rate) == ["without_mask"] * 40
    assert classifier.asked[:3] == [0, 1, 2]  # it is new
    assert classifier.asked[2:] == list(range(2, 40, step))


def test_an_uncertain_face_is_classified_in_every_frame():
    classifier = Classifier([GUESS] * 20)
    classifier.labels()
    assert classifier.asked == list(range(20))


def test_a_face_that_comes_nearer_is_classified_at_once():
    near = (HERE[0] - 20, HERE[1] - 20, HERE[2] + 20, HERE[3] + 20)
    classifier = Classifier([BARE] * 20)
    classifier.labels(boxes=[HERE] * 12 + [near] * 8)
    assert 12 in classifier.asked
    assert len(classifier.asked) < 12


def test_what_the_face_detector_sees_change_is_classified_at_once():
    classifier = Classifier([BARE] * 12 + [MASKED] * 8)
    labels = classifier.labels(scores=[(0.2, 0.8)] * 12 + [(0.7, 0.3)] * 8)
    assert 12 in classifier.asked
    assert labels.index("with_mask") <= 14


@pytest.mark.parametrize("frame_rate", [10, 25, 60])
@pytest.mark.parametrize("change", range(20, 26))
def test_a_mask_put_on_between_two_predictions_shows_as_soon_as_if_all_were_classified(frame_rate, change):
    predictions = [BARE] * change + [MASKED] * 30
    in_every_frame = labels_of(predictions, frame_rate).index("with_mask")
    waited = CLASSIFY_EVERY - 1
    assert Classifier(predictions).labels(frame_rate).index("with_mask") <= in_every_frame + waited


def test_no_frame_without_faces_is_classified_and_a_face_that_comes_back_is():
    tracker, asked = Tracker(), []
    for i in range(60):
        found = seen(*([(HERE, ())] if i < 20 or i >= 50 else []), class_names=())

        def classify(faces: Detections, i: int = i) -> Detections:
            asked.extend([i] * len(faces))
            return seen(*((box, BARE) for box in faces.boxes))

        tracked = tracker.update(found, i / 25, classify)
        assert tracked.class_names == NAMES
        assert tracked.tracks == [1] * len(found)
    assert 50 in asked
    assert not any(20 <= i < 50 for i in asked)


# --- the column ---


def test_only_followed_faces_have_a_track_in_their_record():
    single = seen((HERE, BARE), (THERE, MASKED))
    followed = Detections(**{**vars(single), "track_ids": np.array([7, -1], np.int32)})
    assert [record.get("track") for record in single.to_records()] == [None, None]
    assert [record.get("track") for record in followed.to_records()] == [7, None]
    assert followed.tracks == [7, None]


@pytest.mark.parametrize("track_ids", [np.array([1, 2], np.int64), np.array([1], np.int32)])
def test_a_column_that_does_not_fit_is_refused(track_ids):
    with pytest.raises(ValueError, match="track_ids"):
        Detections(**{**vars(seen((HERE, BARE), (THERE, MASKED))), "track_ids": track_ids})
