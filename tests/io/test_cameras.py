"""Cameras that are unplugged, slow, missing or vague about their frame rate."""

from __future__ import annotations

import math
import threading
from datetime import datetime, timedelta
from itertools import islice

import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.io import capture
from mask_detection.io.sources import Frame, open_source
from mask_detection.utils import sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.sandbox import SandboxResult
from tests.helpers.stand_ins import Camera
from tests.helpers.videos import facts_of, lines_of

pytestmark = pytest.mark.usefixtures("short_pauses", "no_stale_frames")


def test_a_camera_is_logged_with_the_time_of_day(detect, camera, tmp_path):
    camera([True])
    log = tmp_path / "seen.jsonl"
    assert detect(0, "--log", log, "--max-frames", 5) == cli.EXIT_DONE
    lines = lines_of(log)
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert times == sorted(times)
    seconds = [line["time_s"] for line in lines]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


def test_a_camera_may_need_a_moment(camera, pauses):
    plugged_in = camera([False, False, False, True])
    with open_source("/dev/video0") as source:
        frame = next(iter(source))
    assert pauses == pytest.approx([0.1, 0.2, 0.4])
    assert plugged_in.n_opened == 1
    assert frame.gap_s == 0  # it had not begun


def test_a_camera_that_is_plugged_in_again_goes_on(camera, pauses):
    plugged_in = camera([True] * 3 + [False] * 5 + [True])
    with open_source("0") as source:
        frames = list(islice(source, 6))
    assert [frame.gap_s for frame in frames] == pytest.approx([0, 0, 0, 3.1, 3.1, 3.1])
    assert plugged_in.n_opened == 2


def test_a_picture_that_comes_after_the_time_out_is_none(camera, pauses):
    """FFmpeg's decoder gives some away after the stream has stalled; waiting for each of them would take minutes."""

    def read(self: Camera) -> tuple[bool, np.ndarray | None]:
        pauses.append(next(seconds))
        return Camera.read(self)

    seconds = iter([0.0, 0.0, 6.0, 0.0, 0.0])
    camera([True]).read = read
    with open_source("0") as source:
        frames = list(islice(source, 4))
    assert [frame.gap_s for frame in frames] == pytest.approx([0, 0, 6.1, 6.1])


def test_pauses_grow_and_end_in_time(camera, pauses):
    camera([True, False])
    with open_source("0", timeout_s=20.0) as source, pytest.raises(MaskDetectionError, match="within 20 s"):
        list(source)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 3.7])


def test_a_camera_that_is_unplugged_is_said(detect, camera, pauses, at_once, tmp_path, errors):
    camera([True] * 5 + [False])
    output = tmp_path / "annotated.avi"
    assert detect(0, "--output", output, "--timeout", 7) == cli.EXIT_SOME_FAILED
    assert errors() == [
        "error: camera 0: stopped giving frames after 5 and did not come back within 7 s; check its connection"
    ]
    assert facts_of(output).n_frames == 5


def test_a_camera_that_gives_nothing_leaves_the_old_output_alone(detect, camera, pauses, tmp_path, errors):
    camera([False])
    output = tmp_path / "annotated.avi"
    output.write_bytes(b"an older video")
    assert detect(0, "--output", output) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert "camera 0: gives no frame within 30 s" in error
    assert output.read_bytes() == b"an older video"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (["0 640 480", "1", "2 1280 720"], "these do: 0 (640 x 480), 2 (1280 x 720); "),
        (["1"], "nor does another; "),
        ([], "nor does another; "),
    ],
)
def test_a_camera_that_does_not_open_is_told_with_those_that_do(detect, monkeypatch, tmp_path, found, told, errors):
    monkeypatch.setattr(sandbox, "run", lambda *_, **__: SandboxResult(found))
    assert detect(83, "--log", tmp_path / "seen.csv") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: camera 83: does not open; {told}")


def test_a_number_that_no_camera_has_is_one_line(detect, monkeypatch, tmp_path, errors):
    monkeypatch.setattr(sandbox, "run", lambda *_, **__: SandboxResult([]))
    assert detect("9" * 5000, "--log", tmp_path / "seen.csv") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith("error: camera 999999999…: does not open; nor does another; ")


def test_a_machine_without_cameras_says_so_in_one_line(detect, tmp_path, errors):
    """With the true search."""
    assert detect("/dev/video83", "--output", tmp_path / "annotated.mp4") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith("error: camera /dev/video83: does not open; ")
    assert not list(tmp_path.iterdir())


def test_closing_ends_a_reader_in_another_thread(camera, monkeypatch):
    monkeypatch.setattr(capture, "FIRST_PAUSE_S", 3600.0)
    camera([True, False])
    source = open_source("0", timeout_s=math.inf)
    frames: list[Frame] = []
    reader = threading.Thread(target=lambda: frames.extend(source), daemon=True)
    reader.start()
    source.close()
    reader.join(timeout=60)
    assert not reader.is_alive()


# --- frame rates ---


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf, 90_000.0])
def test_a_senseless_frame_rate_is_30(detect, camera, tmp_path, rate):
    camera([True]).frame_rate = rate
    output = tmp_path / "annotated.avi"
    assert detect(0, "--output", output, "--max-frames", 2) == cli.EXIT_DONE
    assert facts_of(output).frame_rate == 30
