"""Progress counts a block once, however often it is done; a photo at which workers die is found and left out."""

from __future__ import annotations

from mask_detection.distributed.tracker import Begun, Counts, Tracker


def test_a_block_that_is_done_again_counts_once():
    tracker = Tracker()
    for block, n_photos, n_failed in (("a", 3, 1), ("b", 2, 0), ("a", 4, 2)):
        assert tracker.begin(block).fatal == frozenset()
        tracker.report(block, n_photos, n_failed, is_done=True)
    assert tracker.counts() == Counts(6, 2)


def test_a_photo_at_which_two_workers_died_is_fatal():
    tracker = Tracker()
    assert tracker.begin("a") == Begun(False, frozenset())  # dies, nobody knows where
    for _ in range(2):
        assert tracker.begin("a") == Begun(True, frozenset())
        tracker.announce("a", "a")
        tracker.announce("a", "x")  # dies
    assert tracker.begin("a") == Begun(True, frozenset({"x"}))
    for _ in range(2):
        tracker.announce("a", "y")  # dies
        begun = tracker.begin("a")
    assert begun.fatal == {"x", "y"}


def test_workers_that_died_at_different_photos_died_of_something_else():
    tracker = Tracker()
    for photo in "vwxyz":
        assert tracker.begin("a").fatal == frozenset()
        tracker.announce("a", photo)
