"""What a whole video's summary says of frames, tracks and times, through the script."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.inference import summary
from mask_detection.inference.detections import Detections
from mask_detection.inference.summary import VideoSummary
from mask_detection.io.sources import Frame

NAMES = ("with_mask", "without_mask")


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_times_with_and_without_mask(play_cards, tmp_path, capsys):
    file = tmp_path / "summary.json"
    assert play_cards("B" * 20 + "M" * 31, "--summary", file) == cli.EXIT_DONE

    record = read(file)
    assert record["source"] == str(tmp_path / "cards.avi")
    assert (record["frames"], record["duration_s"], record["n_tracks"]) == (51, 5.0, 1)
    assert sum(record["faces"].values()) == 51
    (track,) = record["tracks"]
    assert (track["track"], track["first_s"], track["last_s"]) == (1, 0.0, 5.0)
    assert track["seconds"]["without_mask"] == pytest.approx(2.0, abs=0.21)  # the change takes smoothing a frame or two
    assert track["seconds"]["with_mask"] == pytest.approx(3.0, abs=0.31)
    assert sum(track["seconds"].values()) + track["uncertain_s"] == pytest.approx(5.0)
    assert record["seconds"] == track["seconds"]
    known = sum(record["seconds"].values())
    assert record["mask_wearing_rate"] == pytest.approx(record["seconds"]["with_mask"] / known, abs=1e-4)
    assert "not a person" in record["note"]

    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path / 'cards.avi'}: 51 frames; faces in all frames: ")
    assert second.startswith("1 tracks (faces followed, not persons): ")
    assert second.endswith(f"masked for {record['mask_wearing_rate']:.0%} of the time")


def test_who_comes_back_later_is_another_track(play_cards, tmp_path):
    file = tmp_path / "summary.json"
    play_cards("M" * 11 + "." * 30 + "B" * 6, "--summary", file)
    record = read(file)
    assert [(track["first_s"], track["last_s"]) for track in record["tracks"]] == [(0.0, 1.0), (4.1, 4.6)]
    assert record["seconds"] == {"with_mask": 1.0, "without_mask": 0.5}


def test_uncertain_answers_count_for_no_class(play_cards, tmp_path):
    play_cards("U" * 11, "--summary", tmp_path / "summary.json")
    record = read(tmp_path / "summary.json")
    assert record["seconds"] == {"with_mask": 0.0, "without_mask": 0.0}
    assert record["uncertain_s"] == 1.0
    assert record["mask_wearing_rate"] is None


@pytest.mark.parametrize(
    ("class_names", "rate"),
    [(("with_mask", "without_mask", "mask_weared_incorrect"), 0.5), (("hat", "cap", "bare"), None)],
)
def test_any_classes_have_their_seconds(play_cards, tmp_path, class_names, rate):
    play_cards("M" * 11 + "." * 25 + "W" * 11, "--summary", tmp_path / "summary.json", class_names=class_names)
    record = read(tmp_path / "summary.json")
    assert record["seconds"] == dict(zip(class_names, (1.0, 0.0, 1.0), strict=True))
    assert record["mask_wearing_rate"] == rate


def test_a_video_without_faces_has_a_summary_too(play_cards, tmp_path, capsys):
    assert play_cards("." * 5, "--summary", tmp_path / "summary.json") == cli.EXIT_DONE
    record = read(tmp_path / "summary.json")
    assert (record["frames"], record["n_tracks"], record["tracks"]) == (5, 0, [])
    assert capsys.readouterr().out.endswith("5 frames; faces in all frames: none\n")


def test_ctrl_c_keeps_the_summary_of_what_was_done(play_cards, tmp_path, interrupt_after):
    interrupt_after(12)
    assert play_cards("M" * 30, "--summary", tmp_path / "summary.json") == cli.EXIT_INTERRUPTED
    assert read(tmp_path / "summary.json")["frames"] == 12


def test_a_summary_that_cannot_be_written_is_said_before_the_work(play_cards, tmp_path, errors):
    file = tmp_path / "missing" / "summary.json"
    assert play_cards("M" * 3, "--summary", file) == cli.EXIT_UNUSABLE
    assert errors() == [f"error: {file}: there is no folder {file.parent}; make it first"]


def test_a_log_on_standard_output_is_not_mixed_with_the_summary(play_cards, tmp_path, capsys):
    play_cards("M" * 3, "--log", "-", "--summary", tmp_path / "summary.json")
    assert [json.loads(line)["faces"][0]["track"] for line in capsys.readouterr().out.splitlines()] == [1, 1, 1]
    assert read(tmp_path / "summary.json")["frames"] == 3


def test_the_list_of_tracks_does_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(summary, "MAX_TRACKS", 10)
    whole = VideoSummary("0")
    for i in range(100):
        faces = Detections(
            np.array([[0, 0, 9, 9]], np.int32),
            np.ones(1, np.float32),
            np.array([[0.9, 0.1]], np.float32),
            NAMES,
            np.array([1 + i // 2], np.int32),
        )
        whole.write(Frame(np.zeros((20, 20, 3), np.uint8), i, i / 10), faces)
    record = whole.to_record()
    assert record["n_tracks"] == 50
    assert [track["track"] for track in record["tracks"]] == list(range(41, 51))
    assert record["seconds"]["with_mask"] == pytest.approx(5.0)
