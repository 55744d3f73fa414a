"""Streams that stall, stop, come back, change or are not up yet, and clips on a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.io import capture
from mask_detection.io.sources import Frame, open_source
from tests.helpers.images import textured
from tests.helpers.videos import FRAME_COUNT, GONE, N_SHOWN, Act, endless, facts_of, lines_of, shown, streaming

pytestmark = pytest.mark.usefixtures("short_pauses", "no_stale_frames")


def levels(frames: list[Frame]) -> list[int]:
    """Which of the pictures above they are; JPEG changes levels a little."""
    return [round(float(frame.image.mean()) / 5) for frame in frames]


@pytest.mark.parametrize(
    "acts",
    [
        [Act(shown()), Act(shown(100))],
        [Act(shown()), GONE, GONE, GONE, Act(shown(100))],
        [Act(shown(), stalls=True), Act(shown(100))],
        [Act(shown()), Act([]), Act(shown(100))],
    ],
    ids=["cut", "gone for a while", "stalled", "back without pictures"],
)
def test_a_stream_that_drops_is_opened_again(acts, monkeypatch, caplog):
    monkeypatch.setattr(capture, "READ_TIMEOUT_S", 0.5)
    with streaming(*acts) as server, open_source(server.address) as source:
        frames = list(islice(source, 2 * N_SHOWN))

    assert source.is_live
    assert levels(frames) == [*range(N_SHOWN), *range(20, 20 + N_SHOWN)]
    assert [frame.index for frame in frames] == list(range(2 * N_SHOWN))
    before, after = frames[:N_SHOWN], frames[N_SHOWN:]
    assert all("gap_s" not in frame.moment() for frame in before)
    (gap_s,) = {frame.moment()["gap_s"] for frame in after}
    assert gap_s == pytest.approx(after[0].time_s - before[-1].time_s, abs=0.2)
    dropped, back = (record.message for record in caplog.records)
    assert dropped == f"{server.address}: gives no more frames; trying again for 30 s"
    assert back.startswith(f"{server.address}: is back after ")


def test_gaps_add_up():
    with streaming(Act(shown()), Act(shown()), Act(shown())) as server, open_source(server.address) as source:
        frames = list(islice(source, 3 * N_SHOWN))
    first, second, third = (frames[i].gap_s for i in (0, N_SHOWN, 2 * N_SHOWN))
    assert 0 == first < second < third


def test_a_stream_that_is_gone_for_good_is_said_and_what_came_is_kept(detect, at_once, tmp_path, errors):
    output, log = tmp_path / "annotated.mkv", tmp_path / "seen.jsonl"
    with streaming(Act(shown())) as server:
        status = detect(server.address, "--output", output, "--log", log, "--timeout", 1)
    assert status == cli.EXIT_SOME_FAILED
    (error,) = errors()
    assert f"{server.address}: stopped giving frames after {N_SHOWN} and did not come back within 1 s" in error
    assert facts_of(output).n_frames == len(lines_of(log)) == N_SHOWN


def test_a_server_without_the_stream_is_said(detect, tmp_path, errors):
    with streaming() as server:
        assert detect(server.address, "--output", tmp_path / "annotated.mp4", "--timeout", 0.2) == cli.EXIT_UNUSABLE
    assert errors() == [f"error: {server.address}: does not open; check the address and that the stream runs"]
    assert not list(tmp_path.iterdir())


def test_a_stream_that_comes_back_in_another_size_keeps_the_videos(detect, at_once, tmp_path):
    output = tmp_path / "annotated.avi"
    bright, tall = shown(100), shown(100, size=(60, 120))
    with streaming(Act(bright), Act(endless(tall))) as server:
        assert detect(server.address, "--output", output, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE
    assert (facts_of(output).n_frames, facts_of(output).size) == (2 * N_SHOWN, (160, 120))
    last = list(frames_in(output))[-1]
    assert last[:, :45].max() < 20  # a black bar
    assert last[:, 55:105].min() > 100
    assert last[:, 115:].max() < 20


def frames_in(path: Path) -> Iterator[np.ndarray]:
    with open_source(str(path)) as source:
        yield from (frame.image for frame in source)


def test_the_log_tells_the_gap_and_the_time_of_day(detect, tmp_path):
    log = tmp_path / "seen.jsonl"
    with streaming(Act(shown()), Act(endless(shown()))) as server:
        assert detect(server.address, "--log", log, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE
    lines = lines_of(log)
    assert all("time" in line for line in lines)
    assert ["gap_s" in line for line in lines] == [False] * N_SHOWN + [True] * N_SHOWN


def test_a_csv_log_tells_the_gap(detect, tmp_path, small_portrait):
    log = tmp_path / "seen.csv"
    portraits = [small_portrait] * N_SHOWN
    with streaming(Act(portraits), Act(endless(portraits))) as server:
        assert detect(server.address, "--log", log, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE
    rows = log.read_text("utf-8").splitlines()
    columns = rows[0].split(",")
    gaps = [row.split(",")[columns.index("gap_s")] for row in rows[1:]]
    assert gaps[0] == ""
    assert float(gaps[-1]) > 0


def test_a_video_file_on_a_server_has_an_end(video, served):
    with open_source(served("clip.avi", video.read_bytes())) as source:
        assert not source.is_live
        assert source.frame_count == len(list(source)) == FRAME_COUNT


@pytest.fixture
def raw_clip() -> bytes:
    """A video that doesn't say how long it is: Motion JPEG without a container."""
    return b"".join(cv2.imencode(".jpg", textured(64, 48, hue=i, seed=i))[1].tobytes() for i in range(N_SHOWN))


@pytest.mark.parametrize("behaviour", ["", "close/"], ids=["of known length", "until the connection closes"])
def test_a_clip_that_does_not_say_how_long_it_is_plays_once(behaviour, raw_clip, served, detect, tmp_path):
    address, log = served(f"{behaviour}clip.mjpeg", raw_clip), tmp_path / "seen.jsonl"
    assert detect(address, "--log", log, "--timeout", 5) == cli.EXIT_DONE
    assert [line["frame"] for line in lines_of(log)] == list(range(N_SHOWN))


def test_a_clip_on_a_server_that_wants_a_password_plays_once(raw_clip, served):
    address = served("guarded/clip.mjpeg", raw_clip)
    with open_source(address.replace("//", "//admin:p%40ss@")) as source:
        assert not source.is_live
        assert len(list(source)) == N_SHOWN


def test_a_camera_in_the_dark_is_no_clip(monkeypatch):
    monkeypatch.setattr("mask_detection.io.sources.CAMERA_FORMAT", "matroska")  # which this is not: it may be a clip
    dark, asked_for_its_length = Act([np.zeros((48, 64, 3), np.uint8)] * N_SHOWN), Act([])
    with (
        streaming(GONE, dark, asked_for_its_length, GONE, dark) as server,
        open_source(server.address, timeout_s=5) as source,
    ):
        assert source.is_live
        assert len(list(islice(source, 2 * N_SHOWN))) == 2 * N_SHOWN


def test_capital_letters_in_an_address_do_not_matter(video, served):
    with open_source(served("clip.avi", video.read_bytes()).replace("http", "HTTP")) as source:
        assert len(list(source)) == FRAME_COUNT


@pytest.mark.parametrize("acts", [[GONE] * 6, [GONE] * 12], ids=["soon", "later"])
def test_a_stream_that_is_not_up_yet_is_waited_for(acts, caplog):
    with streaming(*acts, Act(shown())) as server, open_source(server.address, timeout_s=20) as source:
        assert levels(list(islice(source, N_SHOWN))) == list(range(N_SHOWN))
    assert [record.message for record in caplog.records] == [f"{server.address}: does not open; trying again for 20 s"]


def test_a_server_that_is_started_later_is_waited_for(detect, tmp_path):
    with streaming() as server:
        port = server.server_port
    log, servers = tmp_path / "seen.jsonl", ExitStack()

    def start() -> None:
        servers.enter_context(streaming(Act(endless(shown())), port=port))

    starter = threading.Timer(1.0, start)
    starter.start()
    try:
        address = f"http://127.0.0.1:{port}/stream"
        assert detect(address, "--log", log, "--max-frames", 5, "--timeout", 20) == cli.EXIT_DONE
    finally:
        starter.join()
        servers.close()
    assert len(lines_of(log)) == 5
