"""When the frames of a file are: by its timestamps where the frame rate varies, by number and rate where it doesn't."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.io.clock import FileClock
from mask_detection.io.sources import open_source
from tests.helpers.matroska import write_timed_video
from tests.helpers.videos import CODECS, facts_of, lines_of, write_video

BURSTS_MS = [*range(0, 60, 2), *range(700, 1000, 10)]
TIMES_MS = {
    "bursts": BURSTS_MS,
    "a slide show": [0, 500, 3000, 3040, 3080, 9000],
    "a camera in the dark": [int(ms) for ms in np.cumsum(np.random.default_rng(1).integers(10, 300, 80))],
}


def shades(n: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 3 * i % 256, np.uint8) for i in range(n)]


def timed(path: Path, times_ms: Sequence[int], **options: int) -> Path:
    return write_timed_video(path, shades(len(times_ms)), times_ms, **options)


def played(path: Path) -> list[float]:
    """When its frames are, in seconds."""
    with open_source(str(path)) as source:
        return [frame.time_s for frame in source]


@pytest.mark.parametrize("name", TIMES_MS)
@pytest.mark.parametrize("last_ms", [0, 40, 900])
def test_frames_come_at_the_files_own_times_and_the_file_is_whole(tmp_path, name, last_ms):
    times_ms = np.array(TIMES_MS[name])
    seconds = played(timed(tmp_path / "varies.mkv", TIMES_MS[name], last_ms=last_ms))
    assert seconds == pytest.approx((times_ms - times_ms[0]) / 1000, abs=0.002)
    assert all(one <= other for one, other in pairwise(seconds))


def test_a_file_of_varying_rate_that_breaks_off_is_reported(detect, tmp_path, errors):
    content = timed(tmp_path / "varies.mkv", TIMES_MS["a camera in the dark"]).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(content[: len(content) // 2])
    assert detect(path, "--log", tmp_path / "seen.jsonl") == cli.EXIT_SOME_FAILED
    (error,) = errors()
    last_s = lines_of(tmp_path / "seen.jsonl")[-1]["time_s"]
    assert error.startswith(f"error: {path}: breaks off after {last_s:.1f} of 12.")


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("rate", [5.0, 25.0, 30000 / 1001, 60.0])
def test_a_constant_rate_is_exact(tmp_path, suffix, rate):
    path = write_video(tmp_path / f"even{suffix}", shades(100), rate)
    with open_source(str(path)) as source:
        assert [frame.time_s for frame in source] == [i / source.frame_rate for i in range(100)]
        assert source.frame_rate == source.recording_rate == pytest.approx(rate, rel=1e-3)


def test_a_stream_of_images_without_timestamps_has_the_usual_rate(tmp_path):
    path = tmp_path / "shades.mjpeg"
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in shades(20)))
    with open_source(str(path)) as source:
        assert [frame.time_s for frame in source] == [i / source.frame_rate for i in range(20)]


@pytest.mark.parametrize("name", TIMES_MS)
def test_summary_log_and_recording_keep_the_true_time(detect, tmp_path, name):
    times_ms = TIMES_MS[name]
    duration_s = (times_ms[-1] - times_ms[0]) / 1000
    output, log, summary = (tmp_path / part for part in ("out.avi", "seen.jsonl", "summary.json"))
    source = timed(tmp_path / "varies.mkv", times_ms)
    assert detect(source, "--output", output, "--log", log, "--summary", summary) == cli.EXIT_DONE
    assert len(lines_of(log)) == len(times_ms)
    assert lines_of(log)[-1]["time_s"] == pytest.approx(duration_s, abs=0.002)
    assert json.loads(summary.read_text("utf-8"))["duration_s"] == pytest.approx(duration_s, abs=0.002)
    recorded = facts_of(output)
    assert recorded.n_frames / recorded.frame_rate == pytest.approx(duration_s, abs=2 / recorded.frame_rate + 0.01)


@pytest.mark.parametrize("name", ["a slide show", "a camera in the dark"])
def test_a_recording_shows_nearly_all_frames(detect, tmp_path, name):
    n_frames = len(TIMES_MS[name])
    detect(timed(tmp_path / "varies.mkv", TIMES_MS[name]), "--output", tmp_path / "out.avi", "--no-overlay")
    with open_source(str(tmp_path / "out.avi")) as source:
        levels = {round(float(frame.image.mean()) / 3) for frame in source}
    assert len(levels) >= 0.9 * n_frames


@pytest.mark.parametrize(
    ("stamps_s", "times_s"),
    [
        ([0, 0.1, 0.2, 0.3], [0, 0.1, 0.2, 0.3]),
        ([7, 7.1, 7.2, 7.3], [0, 0.1, 0.2, 0.3]),
        ([0, 0, 0, 0], [0, 0.1, 0.2, 0.3]),
        ([0, 0.1004, 0.2004, 0.2996], [0, 0.1, 0.2, 0.3]),
        ([0, 0.5, 0, 0.7], [0, 0.5, 0.6, 0.7]),
        ([0, 0.1, 0.1, 0.3], [0, 0.1, 0.2, 0.3]),
        ([0, 0.2, 0.1, 0.3], [0, 0.2, 0.3, 0.3]),
        ([90, 91, 3, 4], [0, 1, 1.1, 2.1]),
        ([0, 0.1, 1e9, 1e9 + 0.5], [0, 0.1, 0.2, 0.7]),
    ],
    ids=["even", "later", "none", "rounded", "one missing", "one twice", "disorder", "set back", "leap"],
)
def test_odd_timestamps_give_times_that_never_go_back(stamps_s, times_s):
    clock = FileClock(10.0)
    assert [clock.time_of(i, stamp_s) for i, stamp_s in enumerate(stamps_s)] == pytest.approx(times_s, abs=1e-6)


def test_the_times_of_real_videos_stay(shared):
    for path in sorted((shared / "video").glob("*.mp4")):
        assert played(path) == [i / 25 for i in range(len(played(path)))]
