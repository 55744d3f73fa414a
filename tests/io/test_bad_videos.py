"""Bad and odd videos through the script: one line for each bad one, and whole outputs as far as it could be played."""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

import detect_mask_video
from mask_detection.commands import cli
from tests.helpers.images import textured
from tests.helpers.outcomes import Outcome
from tests.helpers.videos import CODECS, write_video

FRAME_RATE = 5.0
FRAME_COUNT = 120
WIDTH, HEIGHT = 64, 48

NO_VIDEO = "is not a video that OpenCV can read; convert it to .mp4, for instance with ffmpeg"
BAD: dict[str, tuple[bytes | None, str]] = {
    "missing.mp4": (None, "no such video file; check the path, or give a camera's index such as 0"),
    "empty.mp4": (b"", "is empty (0 bytes); get the video again"),
    "noise.mp4": (bytes(range(256)) * 100, NO_VIDEO),
    "letter.txt": (b"Dear Sir or Madam,\n" * 50, NO_VIDEO),
    "letter.mp4": (b"Dear Sir or Madam,\n" * 50, NO_VIDEO),
    "list.m3u8": (b"#EXTM3U\n#EXTINF:1,\nother.ts\n", "is a playlist, which names other files; give one of them"),
    "list.mp4": (b"ffconcat version 1.0\nfile o.mp4\n", "is a playlist, which names other files; give one of them"),
    "pointer.mp4": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", NO_VIDEO),
}


@pytest.fixture
def detect(run, all_is_face, tiny_model, tmp_path) -> Callable[[object], Outcome]:
    """A function that annotates a video into ``out.avi`` and logs it into ``seen.jsonl``."""

    def detect(source: object) -> Outcome:
        files = ["--source", source, "--output", tmp_path / "out.avi", "--log", tmp_path / "seen.jsonl"]
        return run(detect_mask_video.main, *files, "--model", tiny_model, "--no-display")

    return detect


def colourful(path: Path, n_frames: int) -> Path:
    return write_video(path, (textured(WIDTH, HEIGHT, hue=i, seed=i) for i in range(n_frames)), FRAME_RATE)


def sizes_of_frames(path: Path) -> list[tuple[int, int]]:
    """Width and height of each frame that a player shows."""
    capture, sizes = cv2.VideoCapture(str(path)), []
    while True:
        arrived, frame = capture.read()
        if not arrived:
            return sizes
        sizes.append(frame.shape[1::-1])


def frames_logged(folder: Path) -> list[int]:
    return [json.loads(line)["frame"] for line in (folder / "seen.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_is_one_line_and_leaves_nothing(detect, tmp_path, name):
    content, fault = BAD[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert detect(path) == Outcome(cli.EXIT_UNUSABLE, [f"error: {path}: {fault}"])
    assert [*tmp_path.iterdir()] == ([] if content is None else [path])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such pipes")
@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_pipe_or_device_is_no_video(detect, tmp_path, form):
    pipe, link = tmp_path / "pipe.mp4", tmp_path / "endless.mp4"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for path in (pipe, link, Path("/dev/zero")):
        fault = f"error: {path}: is a pipe or device and no video file; save the video as a file first"
        assert detect(form.format(path)) == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_a_file_may_be_given_as_an_address_or_be_called_like_one(detect, tmp_path, monkeypatch):
    path = colourful(tmp_path / "two frames.avi", 2)
    assert detect(path.as_uri()) == Outcome(cli.EXIT_DONE, [])
    path.rename(tmp_path / "concat:12.avi")
    monkeypatch.chdir(tmp_path)
    assert detect(Path("concat:12.avi")) == Outcome(cli.EXIT_DONE, [])


def test_a_folder_without_frames_is_no_video(detect, tmp_path):
    fault = "no images are there; give a video file, or a folder of frames"
    assert detect(tmp_path) == Outcome(cli.EXIT_UNUSABLE, [f"error: {tmp_path}: {fault}"])


def test_a_sound_without_images_is_no_video(detect, tmp_path):
    path = tmp_path / "song.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))
    assert detect(path) == Outcome(cli.EXIT_UNUSABLE, [f"error: {path}: {NO_VIDEO}"])


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video_cut_off_at_any_tenth_is_done_as_far_as_it_goes(detect, tmp_path, suffix):
    whole = colourful(tmp_path / f"whole{suffix}", FRAME_COUNT).read_bytes()
    path, output = tmp_path / f"cut{suffix}", tmp_path / "out.avi"
    for tenths in range(1, 10):
        path.write_bytes(whole[: len(whole) * tenths // 10])

        status, printed = detect(path)

        (line,) = printed
        assert line.startswith(f"error: {path}: ")
        if status == cli.EXIT_SOME_FAILED:
            n_frames = len(sizes_of_frames(output))
            assert n_frames == pytest.approx(FRAME_COUNT * tenths / 10, abs=FRAME_COUNT / 10)
            assert f"breaks off after {n_frames} of {FRAME_COUNT} frames" in line
            assert frames_logged(tmp_path) == [*range(n_frames)]
            output.unlink()
        else:
            assert status == cli.EXIT_UNUSABLE
            assert not output.exists()


@pytest.mark.parametrize("suffix", CODECS)
def test_one_frame_is_a_video(detect, tmp_path, suffix):
    assert detect(colourful(tmp_path / f"one{suffix}", 1)) == Outcome(cli.EXIT_DONE, [])
    assert sizes_of_frames(tmp_path / "out.avi") == [(WIDTH, HEIGHT)]
    assert frames_logged(tmp_path) == [0]


def test_a_file_whose_frames_change_size_keeps_the_first_size(detect, tmp_path):
    path = tmp_path / "changing.mjpeg"
    images = [textured(*size, hue=20, seed=1) for size in [(64, 48)] * 5 + [(32, 32)] * 5 + [(100, 80)] * 5]
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in images))
    assert detect(path) == Outcome(cli.EXIT_DONE, [])
    assert sizes_of_frames(tmp_path / "out.avi") == [(64, 48)] * 15
