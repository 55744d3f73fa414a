"""Runs over frames: which are looked at, and whose faces they get."""

from __future__ import annotations

from mask_detection.inference.detections import Detections
from mask_detection.inference.pipeline import tracked_frames
from mask_detection.io.readers import Readers
from tests.helpers.stand_in_sources import PATIENCE_S, Brightness, Numbered


def frame_seen(detections: Detections) -> int:
    return int(detections.boxes[0, 0])


def test_a_file_loses_no_frame():
    with Readers([Numbered(n_frames=100)]) as readers, tracked_frames(readers, Brightness()) as tracked:
        pairs = [(frame.index, frame_seen(detections)) for frame, detections in tracked]
    assert pairs == [(index, index) for index in range(100)]


def test_a_live_source_never_lags():
    source = Numbered(n_frames=200, is_live=True)
    with Readers([source]) as readers, tracked_frames(readers, Brightness()) as tracked:
        first, _ = next(tracked)
        source.go_on.set()
        assert source.all_came.wait(PATIENCE_S)  # while the first was used
        rest = [frame.index for frame, _ in tracked]
    assert first.index == 0
    assert rest == sorted(set(rest))
    assert rest[-1] == 199
    assert len(rest) < 20  # the others came while those were worked on


def test_boxes_are_held_between_the_frames_of_a_source_that_are_looked_at():
    detector = Brightness()
    sources = [Numbered("a", 20), Numbered("b", 30)]
    with Readers(sources) as readers, tracked_frames(readers, detector, every=3) as tracked:
        seen = [(frame.source, frame.index, frame_seen(detections)) for frame, detections in tracked]
    for name, n_frames in (("a", 20), ("b", 30)):
        assert [at[1:] for at in seen if at[0] == name] == [(index, index - index % 3) for index in range(n_frames)]
    assert sorted(detector.seen) == sorted([*range(0, 20, 3), *range(0, 30, 3)])


def test_each_source_has_tracks_of_its_own():
    sources = [Numbered("a", 8), Numbered("b", 8)]
    with Readers(sources) as readers, tracked_frames(readers, Brightness()) as tracked:
        first = {frame.source: detections.tracks for frame, detections in tracked if frame.index == 0}
    assert first == {"a": [1], "b": [1]}
