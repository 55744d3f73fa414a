"""The user sees how far a run is, hears of one that hangs, and never waits for it for ever."""

from __future__ import annotations

import logging
import time
from itertools import chain, repeat

import pytest

from mask_detection.distributed import progress
from mask_detection.distributed.progress import watched
from mask_detection.distributed.tracker import Counts
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.interrupts import one_interrupt


def three() -> Counts:
    """3 photos, one of them failed."""
    return Counts(3, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Looks a hundred times a second."""
    monkeypatch.setattr(progress, "POLL_S", 0.01)
    monkeypatch.setattr(progress, "_free", lambda: "0 of 2 CPUs are free")


def test_without_a_terminal_lines_say_how_far_it_is(monkeypatch, caplog):
    monkeypatch.setattr(progress, "LOG_S", 0.05)
    with caplog.at_level(logging.INFO), watched(three, n_photos=1000, n_before=500):
        time.sleep(0.3)
    assert "503 of 1,000 photos" in caplog.text
    assert "1 failed" in caplog.text


def test_what_was_counted_before_the_tracker_began_anew_counts(monkeypatch, caplog):
    monkeypatch.setattr(progress, "LOG_S", 0.05)
    counts = chain([Counts(3, 1), Counts(5, 1), Counts(2, 1)], repeat(Counts(4, 2)))
    with caplog.at_level(logging.INFO), watched(lambda: next(counts), 100):
        time.sleep(0.4)
    assert "9 of 100 photos" in caplog.messages[-1]
    assert "3 failed" in caplog.messages[-1]


def test_a_run_that_stands_still_is_named_and_then_ended(monkeypatch, caplog):
    monkeypatch.setattr(progress, "STALLED_S", 0.05)
    monkeypatch.setattr(progress, "GIVEN_UP_S", 0.4)
    began = time.monotonic()
    with (
        pytest.raises(MaskDetectionError, match=r"no photo was done .* 0 of 2 CPUs .* --resume"),
        one_interrupt(),
        watched(three, 10),
    ):
        time.sleep(60)
    assert time.monotonic() - began < 30
    assert "no photo was done for 0 minutes; 0 of 2 CPUs are free; see `ray status`" in caplog.text


def test_a_failure_becomes_one_line_with_its_reason():
    with pytest.raises(MaskDetectionError) as caught, watched(three, 10):
        raise RuntimeError("Traceback:\n  a.py\nOSError: No space left on device\n")
    assert "(OSError: No space left on device)" in str(caught.value)
    assert "add --resume" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ctrl_c_stays_ctrl_c():
    with pytest.raises(KeyboardInterrupt), watched(three, 10):
        raise KeyboardInterrupt
