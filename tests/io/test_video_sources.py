"""Folders of frames, and how long a source is waited for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.io.sources import open_source
from tests.helpers.videos import facts_of, lines_of

pytestmark = pytest.mark.usefixtures("short_pauses", "no_stale_frames")


@pytest.fixture
def frame_folder(tmp_path: Path, small_portrait: np.ndarray) -> Path:
    """Frames 1, 2, 9, 10 and 11: the portrait in different sizes."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, size in {11: 110, 2: 200, 10: 100, 1: 240, 9: 90}.items():
        cv2.imwrite(str(folder / f"shot {number}.png"), cv2.resize(small_portrait, (size, 240)))
    (folder / "notes.txt").write_text("taken by hand")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_a_folder_of_frames_is_read_by_number(frame_folder):
    with open_source(str(frame_folder)) as source:
        frames = list(source)
    assert [frame.image.shape[1] for frame in frames] == [240, 200, 90, 100, 110]
    assert [frame.index for frame in frames] == list(range(5))
    assert (source.is_live, source.frame_rate, source.frame_count) == (False, 30, 5)


def test_frames_of_different_sizes_make_a_video_of_the_first_ones(detect, frame_folder, tmp_path):
    output = tmp_path / "annotated.mp4"
    assert detect(frame_folder, "--output", output) == cli.EXIT_DONE
    assert (facts_of(output).n_frames, facts_of(output).size) == (5, (240, 240))


def test_a_damaged_frame_is_left_out_and_said(detect, frame_folder, tmp_path, errors):
    (frame_folder / "shot 9.png").write_bytes(b"no picture")
    log = tmp_path / "seen.jsonl"
    assert detect(frame_folder, "--log", log) == cli.EXIT_SOME_FAILED
    assert [line["frame"] for line in lines_of(log)] == [0, 1, 3, 4]
    damaged, total = errors()
    assert f"{frame_folder / 'shot 9.png'}: is not an image" in damaged
    assert total == f"error: {frame_folder}: 1 of 5 frames cannot be read; repair or remove them"


def test_a_folder_without_frames_is_said(detect, tmp_path, errors):
    assert detect(tmp_path, "--output", tmp_path / "annotated.mp4") == cli.EXIT_UNUSABLE
    assert errors() == [f"error: {tmp_path}: no images are there; give a video file, or a folder of frames"]


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon"])
def test_a_senseless_timeout_is_a_usage_error(detect, seconds, capsys):
    with pytest.raises(SystemExit) as caught:
        detect(0, "--log", "-", f"--timeout={seconds}")
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert "--timeout" in capsys.readouterr().err
