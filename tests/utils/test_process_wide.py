"""What all threads share is brought back by the last that leaves, in whatever order they leave."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager

import cv2
import pytest

from mask_detection.utils.process_wide import process_wide
from mask_detection.utils.tensorflow import silent_native_libraries
from mask_detection.utils.threads import overlapped


def overlap(make: Callable[[], AbstractContextManager[object]]) -> None:
    """Enter twice, in two threads, and leave first what was entered first."""
    is_inside, may_leave = threading.Event(), threading.Event()

    def second() -> None:
        with make():
            is_inside.set()
            assert may_leave.wait(30)

    thread = threading.Thread(target=second)
    with make():
        thread.start()
        assert is_inside.wait(30)
    may_leave.set()
    thread.join()


def test_a_change_is_made_once_and_undone_at_the_end():
    events = []

    @process_wide
    @contextmanager
    def change():
        events.append("made")
        yield
        events.append("undone")

    with change(), change():
        assert events == ["made"]
    overlap(change)
    assert events == ["made", "undone"] * 2
    with pytest.raises(ZeroDivisionError), change():
        raise ZeroDivisionError
    assert events == ["made", "undone"] * 3


def test_standard_error_is_back_after_two_threads_were_silent(capfd):
    stream, file = sys.stderr, os.fstat(2)
    overlap(silent_native_libraries)
    assert sys.stderr is stream
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (file.st_dev, file.st_ino)
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_opencv_has_its_threads_again_after_two_pools_have_worked():
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        overlap(lambda: overlapped(lambda: abs, iter(()), 2))
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
