"""What is known of a run: counts, tracks and their events, the last hours, alarms, sources that are down."""

from __future__ import annotations

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest

from mask_detection.inference.tracking import MAX_GAP
from mask_detection.io.capture import SourceState
from mask_detection.serving.history import INTERVAL_S, N_INTERVALS, History
from mask_detection.serving.names import safe_names, shown_name
from mask_detection.serving.state import RESERVED, UNCERTAIN, LiveState
from mask_detection.serving.tracks import TrackEvents
from tests.helpers.live import BARE, CLASSES, MASKED, UNSURE, Clock, StandInSource, alarm_event, faces, frame_of

# --- names ---


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("door", "door"),
        ("rtsp://camera.local/1", "rtsp_camera_local_1"),
        ("home/+/#", "home"),
        ("Ärger", "rger"),
        ("../..", "source"),
        ("<script>alert(1)</script>", "script_alert_1_script"),
        ("a" * 300, "a" * 48),
    ],
)
def test_a_safe_name(text, name):
    assert safe_names([text]) == {text: name}


def test_two_texts_never_share_a_name_and_keep_theirs_from_run_to_run():
    names = safe_names(["front door", "front/door", "+", "#"])
    assert len({*names.values()}) == 4
    assert names["front door"] == "front_door"
    assert safe_names(["front door", "front/door"])["front/door"] == names["front/door"]


def test_a_class_cannot_take_the_name_of_another_topic():
    names = safe_names(["events", "with_mask"], RESERVED)
    assert names["events"] not in RESERVED
    assert names["with_mask"] == "with_mask"


def test_a_name_that_utf8_cannot_write_is_shown_all_the_same():
    assert shown_name("a\udcffb\n") == "a?b\\n"


# --- events of tracks ---


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events(clock: Clock) -> TrackEvents:
    return TrackEvents("door", clock)


def kinds(found: list[dict]) -> list[str]:
    return [event["type"] for event in found]


def test_a_track_begins_changes_and_ends(events):
    (new,) = events.update(frame_of("door", 0.0), faces((3, MASKED)))
    assert new["type"] == "new"
    assert new["before"] == new["after"]
    expected = {"camera": "door", "track": 3, "label": "with_mask", "uncertain": False, "score": 0.99, "end_time": None}
    assert expected.items() <= new["after"].items()
    assert new["after"]["area"] == 40 * 50
    (update,) = events.update(frame_of("door", 1.0), faces((3, BARE)))
    assert (update["type"], update["before"]["label"], update["after"]["label"]) == (
        "update",
        "with_mask",
        "without_mask",
    )
    assert update["after"]["top_score"] == 0.98  # of this label
    (end,) = events.update(frame_of("door", 1.1 + MAX_GAP), faces())
    assert end["type"] == "end"
    assert end["after"]["end_time"] == update["after"]["frame_time"]
    assert {event["after"]["id"] for event in (new, update, end)} == {new["after"]["id"]}


def test_a_track_has_one_event_a_second_at_most_and_the_last_change_is_not_lost(events):
    labels = [(MASKED, BARE)[i % 2] for i in range(75)] + [UNSURE] * 50  # each frame's differs; 25 frames a second
    found = [
        (i / 25, event)
        for i, label in enumerate(labels)
        for event in events.update(frame_of("door", i / 25), faces((1, label)))
    ]
    times = [time_s for time_s, _ in found]
    assert len(times) >= 4
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))
    assert found[-1][1]["after"]["uncertain"] is True


def test_nothing_new_is_no_event(events):
    events.update(frame_of("door", 0.0), faces((1, MASKED)))
    assert not [events.update(frame_of("door", t), faces((1, MASKED))) for t in range(1, 5)][-1]


def test_a_face_that_moves_far_is_an_update(events):
    events.update(frame_of("door", 0.0), faces((1, MASKED)))
    assert kinds(events.update(frame_of("door", 2.0), faces((1, MASKED), box=(90, 20, 130, 70)))) == ["update"]


def test_a_short_gap_ends_no_track_and_all_end_with_the_source(events):
    events.update(frame_of("door", 0.0), faces((1, MASKED), (2, BARE)))
    assert events.update(frame_of("door", MAX_GAP), faces((1, MASKED))) == []
    assert kinds(events.end_all()) == ["end", "end"]
    assert events.end_all() == []


# --- the last hours ---


def test_a_track_counts_once_with_its_latest_label_where_it_began():
    history, start = History(), 1_700_000_100 // INTERVAL_S * INTERVAL_S
    history.see(1, "with_mask", start + 1)
    history.see(1, "without_mask", start + INTERVAL_S + 1)
    history.see(2, "with_mask", start + INTERVAL_S + 1)
    intervals = dict(history.intervals(start + INTERVAL_S + 2))
    assert intervals[start] == {"without_mask": 1}
    assert intervals[start + INTERVAL_S] == {"with_mask": 1}
    assert len(intervals) == N_INTERVALS


def test_the_hours_before_are_forgotten():
    history = History()
    for i in range(N_INTERVALS + 10):
        history.see(i, "with_mask", i * INTERVAL_S)
        history.end(i)
    intervals = history.intervals((N_INTERVALS + 9) * INTERVAL_S)
    assert [sum(counts.values()) for _, counts in intervals] == [1] * N_INTERVALS
    assert intervals[0][0] == 10 * INTERVAL_S


# --- the state ---


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.alarms: list = []
        self.rows: list = []

    def on_event(self, key, event):
        self.events.append((key, event["type"]))

    def on_alarm(self, alarm):
        self.alarms.append(alarm)

    def on_statistics(self, key, row):
        self.rows.append((key, row))


def test_faces_in_view_are_counted_by_source_and_certainty(clock):
    state = LiveState([StandInSource("door"), StandInSource("yard")], CLASSES, clock=clock)
    for i in range(11):
        clock.now += 0.1
        state.write(frame_of("door", i / 10), faces((1, MASKED), (2, BARE), (3, UNSURE), (4, BARE)))
    door, yard = state.views()
    assert door.faces == {"with_mask": 1, "without_mask": 2, UNCERTAIN: 1}
    assert (door.n_frames, door.frames_per_second) == (11, 10.0)
    assert dict(door.intervals[-1][1]) == {"with_mask": 1, "without_mask": 2, UNCERTAIN: 1}
    assert sum(yard.faces.values()) == yard.n_frames == yard.frames_per_second == 0
    clock.now += 60
    assert state.views()[0].frames_per_second == 0


def test_a_source_that_drops_has_no_faces_and_its_tracks_end(clock):
    source, heard = StandInSource("front door"), Heard()
    state = LiveState([source], CLASSES, clock=clock)
    state.listeners.append(heard)
    state.write(frame_of("front door"), faces((1, MASKED)))
    source.state = SourceState(False, clock.now, "gives no frame")
    assert state.views()[0].faces["with_mask"] == 1  # frames that it gave may still be on their way
    clock.now += 2
    (view,) = state.views()
    assert view.faces["with_mask"] == 0
    assert view.tracks["with_mask"] == 1
    assert view.state.reason == "gives no frame"
    assert heard.events == [("front_door", "new"), ("front_door", "end")]


@pytest.mark.parametrize("keeps_crops", [True, False])
def test_alarms_are_kept_with_a_crop_only_where_that_is_asked_for(keeps_crops):
    state, heard = LiveState([StandInSource("door")], CLASSES, keeps_crops), Heard()
    state.listeners.append(heard)
    state.write(frame_of("door"), faces((1, BARE)))
    state.add_alarm(alarm_event("door"))
    (alarm,) = state.alarms()
    assert heard.alarms == [alarm]
    assert (alarm.crop is not None) == keeps_crops
    assert state.views()[0].n_alarms == 1


def test_a_crop_shows_the_face_alone_and_what_conceals_faces_holds_for_it():
    def blackened(image, boxes):
        assert boxes.shape == (1, 4)
        return np.zeros_like(image)

    for conceal, level in ((None, 200), (blackened, 0)):
        state = LiveState([StandInSource("door")], CLASSES, True, conceal)
        state.write(frame_of("door", level=200), faces((1, BARE)))
        state.add_alarm(alarm_event("door"))
        crop = cv2.imdecode(np.frombuffer(state.alarms()[0].crop, np.uint8), cv2.IMREAD_COLOR)
        assert max(crop.shape[:2]) < 120
        assert abs(int(crop.mean()) - level) < 5


def test_an_alarm_of_a_crowd_has_no_crop():
    state = LiveState([StandInSource("door")], CLASSES, True)
    state.write(frame_of("door"), faces((1, BARE), (2, BARE)))
    event = alarm_event("door", tracks=[1, 2], count=2)
    del event["box"]
    state.add_alarm(event)
    assert state.alarms()[0].crop is None


def test_only_the_last_alarms_are_kept_newest_first():
    state = LiveState([StandInSource("door")], CLASSES)
    for _ in range(50):
        state.add_alarm(alarm_event("door"))
    assert [alarm.number for alarm in state.alarms()] == [*range(50, 30, -1)]


def test_statistics_go_on_and_are_kept():
    state, heard = LiveState([StandInSource("front door")], CLASSES), Heard()
    state.listeners.append(heard)
    row = {"source": "front door", "start": time.time(), "with_mask": 3}
    state.add_statistics(row)
    assert heard.rows == [("front_door", row)]
    assert state.views()[0].statistics == row
