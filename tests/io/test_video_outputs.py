"""What a run leaves behind, however it ends: videos that play, logs that parse, older files that nothing has harmed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.io.writers import VideoFile, open_video_file
from tests.helpers.paths import ROOT
from tests.helpers.videos import FRAME_COUNT, FRAME_SIZE, Act, facts_of, lines_of, streaming

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking them")


# --- sizes ---


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_odd_sizes_lose_nothing(detect, small_portrait, tmp_path, suffix):
    """The codecs would cut off the last row and column."""
    frame = np.ascontiguousarray(small_portrait[:93, :121])
    frames, output = tmp_path / "frames", tmp_path / f"annotated{suffix}"
    frames.mkdir()
    for i in range(3):
        cv2.imwrite(str(frames / f"{i}.png"), frame)
    assert detect(frames, "--output", output) == cli.EXIT_DONE
    assert facts_of(output).size == (122, 94)
    written = cv2.VideoCapture(str(output)).read()[1][:93, :121].astype(int)
    assert np.abs(written - frame).mean() < 10


# --- a folder of frames ---


def test_a_folder_of_frames_goes_with_the_log(detect, video, tmp_path):
    output, log = tmp_path / "new" / "frames", tmp_path / "seen.jsonl"
    assert detect(video, "--output", output, "--log", log, "--max-frames", 4) == cli.EXIT_DONE
    names = sorted(path.name for path in output.iterdir())
    assert names == [f"{line['frame']:06}.jpg" for line in lines_of(log)] == [f"{i:06}.jpg" for i in range(4)]
    assert {cv2.imread(str(output / name)).shape for name in names} == {(FRAME_SIZE, FRAME_SIZE, 3)}


def test_frames_of_an_older_video_are_not_mixed_with_new_ones(detect, video, tmp_path, errors):
    output = tmp_path / "frames"
    assert detect(video, "--output", output, "--max-frames", 2) == cli.EXIT_DONE
    assert detect(video, "--output", output, "--max-frames", 1) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: {output}: holds frames already")
    assert len(list(output.iterdir())) == 2


def test_a_folder_is_never_written_into_itself(detect, tmp_path, small_portrait, errors):
    cv2.imwrite(str(tmp_path / "1.png"), small_portrait)
    assert detect(tmp_path, "--output", tmp_path) == cli.EXIT_UNUSABLE
    assert errors() == [f"error: {tmp_path}: is an input and would be lost; name another output"]


def test_a_file_in_the_way_of_a_folder_is_named(detect, video, tmp_path, errors):
    (tmp_path / "frames").write_text("a file")
    assert detect(video, "--output", tmp_path / "frames") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: {tmp_path / 'frames'}: cannot be made a folder")


# --- the end comes from outside ---


def start(source: str, *arguments: object, model: Path) -> subprocess.Popen[str]:
    """Start the script in a process of its own, its log on our end of a pipe."""
    stages = ["--detector", "haar", "--model", model, "--no-display", "--log", "-"]
    command = [sys.executable, "detect_mask_video.py", "--source", source, *stages, *arguments]
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )


def heed_ctrl_c() -> None:
    """Undo what a shell does to commands that it starts in the background, and they pass on: to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@posix_only
@pytest.mark.parametrize(
    ("endings", "suffix"),
    [
        ([signal.SIGTERM], ".mp4"),
        ([signal.SIGTERM], ""),
        ([signal.SIGINT], ".mkv"),
        ([getattr(signal, "SIGHUP", 0)], ".mp4"),
        ([signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", 0)] * 20, ".mp4"),
    ],
)
def test_stopped_in_the_middle_all_that_was_done_is_there(tiny_model, small_portrait, tmp_path, endings, suffix):
    output = tmp_path / f"annotated{suffix}"
    with streaming(Act(cycle([small_portrait]))) as server:
        process = start(server.address, "--output", output, model=tiny_model)
        for _ in range(10):
            process.stdout.readline()
        for ending in endings:
            process.send_signal(ending)
            time.sleep(0.02 if len(endings) > 1 else 0)
        rest, said = process.communicate(timeout=60)
    assert process.returncode == cli.EXIT_INTERRUPTED
    assert said.splitlines() == ["face detector: Haar cascade", "interrupted"]
    n_logged = 10 + len([json.loads(line) for line in rest.splitlines()])
    n_written = facts_of(output).n_frames if suffix else len(list(output.glob("*.jpg")))
    assert n_written >= n_logged - 1  # the last frame may be in the log only
    assert suffix or n_written <= n_logged  # a video shows frames again to keep its pace
    assert list(tmp_path.iterdir()) == [output]


@posix_only
def test_a_signal_while_the_video_is_finished_comes_afterwards(detect, video, tmp_path, monkeypatch):
    plays_to_its_end = VideoFile._plays_to_its_end

    def disturbed(self: VideoFile) -> bool:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.raise_signal(number)
        return plays_to_its_end(self)

    monkeypatch.setattr(VideoFile, "_plays_to_its_end", disturbed)
    output = tmp_path / "annotated.mp4"
    assert detect(video, "--output", output) == cli.EXIT_INTERRUPTED
    assert facts_of(output).n_frames == FRAME_COUNT
    assert list(tmp_path.iterdir()) == [output]


@posix_only
def test_killed_outright_a_matroska_video_plays_and_the_log_parses(tiny_model, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (10, 240, 320, 3), np.uint8)  # fills the writer's buffer soon
    with streaming(Act(cycle(noise))) as server:
        process = start(server.address, "--output", tmp_path / "annotated.mkv", "--detect-size", 60, model=tiny_model)
        first = [process.stdout.readline() for _ in range(30)]
        process.kill()
        rest, _ = process.communicate(timeout=60)
    numbers = [json.loads(line)["frame"] for line in first]
    assert numbers == sorted(set(numbers))
    assert all(json.loads(line) for line in rest.splitlines()[:-1])
    (part,) = tmp_path.iterdir()
    assert re.fullmatch(r"annotated\.[0-9a-f]{8}\.part\.mkv", part.name)
    assert facts_of(part).n_frames >= 10


@posix_only
def test_when_the_reader_of_the_log_leaves_the_video_is_finished(tiny_model, small_portrait, tmp_path):
    """As in ``detect_mask_video.py … --log - | head``."""
    output = tmp_path / "annotated.mp4"
    with streaming(Act(cycle([small_portrait]))) as server:
        process = start(server.address, "--output", output, model=tiny_model)
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == cli.EXIT_SOME_FAILED
    assert facts_of(output).n_frames >= 1


@posix_only
def test_a_full_disk_leaves_the_old_video_alone(tiny_model, video, tmp_path):
    output = tmp_path / "annotated.mp4"
    output.write_bytes(b"an older video")
    script = (
        "import resource, sys, detect_mask_video\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "sys.exit(detect_mask_video.main(sys.argv[1:]))\n"
    )
    stages = ["--detector", "haar", "--model", tiny_model, "--no-display"]
    arguments = [str(part) for part in ("--source", video, "--output", output, *stages)]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == cli.EXIT_UNUSABLE
    assert f"error: {output}: cannot be written (the video is not whole, perhaps the disk is full)" in done.stderr
    assert output.read_bytes() == b"an older video"
    assert list(tmp_path.iterdir()) == [output]


def test_a_recording_keeps_the_pace_of_a_source_that_drops_frames(tmp_path):
    output = tmp_path / "slow.avi"
    with open_video_file(output, frame_rate=10) as video:
        for time_s, level in [(2.0, 0), (2.1, 50), (2.5, 100), (2.51, 150), (2.6, 200)]:
            video.write(np.full((120, 160, 3), level, np.uint8), time_s)
    capture = cv2.VideoCapture(str(output))
    shown = [round(capture.read()[1].mean() / 50) for _ in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))]
    assert shown == [0, 1, 1, 1, 1, 2, 3, 4]
