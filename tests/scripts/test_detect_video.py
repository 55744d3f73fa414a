"""Videos and cameras through the script: outputs like their source, logs, sources that break off, Ctrl-C."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import detect_mask_video
from mask_detection.commands import cli
from tests.helpers.videos import FRAME_COUNT, FRAME_RATE, FRAME_SIZE, Facts, facts_of, lines_of, write_video

FACE_KEYS = {"box", "label", "probability", "face_confidence", "track", "probabilities"}


# --- outputs ---


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mov"])
def test_the_output_is_as_long_as_large_and_as_fast_as_the_source(detect, video, tmp_path, suffix):
    output = tmp_path / f"annotated{suffix}"
    assert detect(video, "--output", output) == cli.EXIT_DONE
    assert facts_of(output) == Facts(FRAME_COUNT, (FRAME_SIZE, FRAME_SIZE), FRAME_RATE)
    assert list(tmp_path.iterdir()) == [output]


def test_a_broken_frame_rate_is_kept(detect, make_image, tmp_path):
    source = write_video(tmp_path / "ntsc.avi", (make_image(96, 72, seed=i) for i in range(5)), 30_000 / 1001)
    output = tmp_path / "annotated.mp4"
    assert detect(source, "--output", output) == cli.EXIT_DONE
    assert facts_of(output) == Facts(5, (96, 72), 29.97)


def test_faces_are_boxed_in_the_frame_they_were_seen_in(detect, video, tmp_path):
    output, log = tmp_path / "annotated.avi", tmp_path / "seen.jsonl"
    detect(video, "--output", output, "--log", log)
    source, annotated = cv2.VideoCapture(str(video)), cv2.VideoCapture(str(output))
    for line in lines_of(log):
        before, after = source.read()[1].astype(int), annotated.read()[1].astype(int)
        for x1, y1, _, y2 in (face["box"] for face in line["faces"]):
            inside = slice(y1 + 10, y2 - 10)
            assert np.abs(before[inside, x1] - after[inside, x1]).mean() > 25  # the line
            assert np.abs(before[inside, x1 + 20] - after[inside, x1 + 20]).mean() < 10  # the face beside it


def test_the_log_has_a_line_a_frame(detect, video, tmp_path, capsys):
    log = tmp_path / "seen.jsonl"
    assert detect(video, "--log", log) == cli.EXIT_DONE
    lines = lines_of(log)
    assert [line["frame"] for line in lines] == list(range(FRAME_COUNT))
    assert [line["time_s"] for line in lines] == pytest.approx([i / FRAME_RATE for i in range(FRAME_COUNT)])
    assert all(set(line) == {"frame", "time_s", "faces"} for line in lines)
    assert all(FACE_KEYS <= set(face) <= FACE_KEYS | {"uncertain"} for line in lines for face in line["faces"])
    assert sum(len(line["faces"]) for line in lines) >= FRAME_COUNT / 2
    assert capsys.readouterr().out.startswith(f"{video}: {FRAME_COUNT} frames; faces in all frames: ")


def test_the_face_moves_through_the_log_as_it_does_through_the_video(detect, video, tmp_path):
    detect(video, "--log", tmp_path / "seen.jsonl")
    seen = {line["frame"]: line["faces"][0]["box"][0] for line in lines_of(tmp_path / "seen.jsonl") if line["faces"]}
    moved = max(seen) - min(seen)
    assert seen[max(seen)] - seen[min(seen)] == pytest.approx(moved, abs=10)


def test_a_csv_log_has_a_row_a_face(detect, video, tmp_path):
    detect(video, "--log", tmp_path / "seen.jsonl")
    detect(video, "--log", tmp_path / "seen.csv")
    with (tmp_path / "seen.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    faces = [(line, face) for line in lines_of(tmp_path / "seen.jsonl") for face in line["faces"]]
    assert len(rows) == len(faces) > 0
    for row, (line, face) in zip(rows, faces, strict=True):
        assert int(row["frame"]) == line["frame"]
        assert float(row["time_s"]) == line["time_s"]
        assert [int(row[corner]) for corner in ("x1", "y1", "x2", "y2")] == face["box"]
        assert row["label"] == face["label"]
        assert float(row["probability"]) == face["probability"]
        assert int(row["track"]) == face["track"]
        assert {f"probability_{name}": str(p) for name, p in face["probabilities"].items()}.items() <= row.items()
    assert list(rows[0])[-2:] == ["probability_with_mask", "probability_without_mask"]


def test_a_log_on_standard_output_is_all_that_is_there(detect, video, capsys):
    assert detect(video, "--log", "-", "--max-frames", 3) == cli.EXIT_DONE
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == [0, 1, 2]


def test_max_frames_ends_early_and_well(detect, video, tmp_path):
    output, log = tmp_path / "annotated.mp4", tmp_path / "seen.jsonl"
    assert detect(video, "--output", output, "--log", log, "--max-frames", 7) == cli.EXIT_DONE
    assert facts_of(output).n_frames == 7
    assert len(lines_of(log)) == 7


def test_every_third_frame_is_looked_at_and_its_faces_held(detect, video, tmp_path):
    detect(video, "--log", tmp_path / "all.jsonl")
    assert detect(video, "--log", tmp_path / "third.jsonl", "--every", 3) == cli.EXIT_DONE
    all_lines, lines = lines_of(tmp_path / "all.jsonl"), lines_of(tmp_path / "third.jsonl")
    assert [line["frame"] for line in lines] == list(range(FRAME_COUNT))
    for i, line in enumerate(lines):
        held = all_lines[i - i % 3]["faces"]
        assert [face["box"] for face in line["faces"]] == [face["box"] for face in held]


def test_more_max_frames_than_there_are(detect, video, tmp_path):
    assert detect(video, "--output", tmp_path / "a.avi", "--max-frames", 10_000) == cli.EXIT_DONE
    assert facts_of(tmp_path / "a.avi").n_frames == FRAME_COUNT


@pytest.mark.parametrize("name", ["Straße 😀.avi", "a b.avi", "100%d.avi"])
def test_names_of_any_kind(detect, video, tmp_path, name):
    source = Path(shutil.copy(video, tmp_path / name))
    output = tmp_path / f"annotated {name}"
    assert detect(source, "--output", output, "--max-frames", 2) == cli.EXIT_DONE
    assert facts_of(output).n_frames == 2


# --- sources that are not there ---


def test_a_stream_that_does_not_open_is_one_line(detect, tmp_path, errors):
    source = "rtsp://127.0.0.1:9/none"
    assert detect(source, "--output", tmp_path / "annotated.mp4", "--timeout", 0.2) == cli.EXIT_UNUSABLE
    assert errors() == [f"error: {source}: does not open; check the address and that the stream runs"]
    assert not list(tmp_path.iterdir())


# --- what is refused ---


@pytest.mark.parametrize(("option", "name"), [("--output", "annotated.txt"), ("--log", "noname"), ("--log", "a.xml")])
def test_names_of_unknown_formats_are_refused(detect, video, tmp_path, option, name, errors):
    assert detect(video, option, tmp_path / name) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert f"{tmp_path / name}: is not a " in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--max-frames", "--every"])
@pytest.mark.parametrize("n", ["0", "-3", "many"])
def test_senseless_numbers_of_frames_are_usage_errors(detect, video, option, n, capsys):
    with pytest.raises(SystemExit) as caught:
        detect(video, "--log", "-", f"{option}={n}")
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert option in capsys.readouterr().err


def test_without_a_screen_and_an_output_there_is_nothing_to_do(video, no_display, errors):
    assert detect_mask_video.main(["--source", str(video)]) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert "no window can be opened here" in error
    assert "--output" in error
    assert "--log" in error


# --- Ctrl-C ---


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_ctrl_c_keeps_what_was_done(detect, video, tmp_path, suffix, interrupt_after):
    interrupt_after(12)
    output, log = tmp_path / f"annotated{suffix}", tmp_path / "seen.jsonl"
    assert detect(video, "--output", output, "--log", log) == cli.EXIT_INTERRUPTED
    assert facts_of(output) == Facts(12, (FRAME_SIZE, FRAME_SIZE), FRAME_RATE)
    assert len(lines_of(log)) == 12
    assert sorted(tmp_path.iterdir()) == [output, log]


# --- the window ---


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_q_and_escape_end_the_video_well(video, tiny_model, tmp_path, monkeypatch, key):
    shown: list[np.ndarray] = []
    monkeypatch.setattr("mask_detection.io.window.can_show_window", lambda: True)
    monkeypatch.setattr(cv2, "imshow", lambda _, image: shown.append(image))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _: -1 if len(shown) < 4 else key)
    output = tmp_path / "annotated.avi"
    stages = ["--detector", "haar", "--model", str(tiny_model)]
    assert detect_mask_video.main(["--source", str(video), "--output", str(output), *stages]) == cli.EXIT_DONE
    assert len(shown) == 4
    assert facts_of(output).n_frames == 4


# --- with the real weights, on real videos ---


@pytest.mark.parametrize("name", ["putting_masks_on.mp4", "one_face_without_mask.mp4"])
def test_real_videos_end_to_end(shared, tmp_path, name):
    output, log = tmp_path / "annotated.mp4", tmp_path / "seen.jsonl"
    source = shared / "video" / name
    files = ["--source", str(source), "--output", str(output), "--log", str(log), "--max-frames", "20"]
    face = ["--detector", "caffe", "--face", str(shared / "face_detector")]

    assert detect_mask_video.main([*files, *face, "--no-display"]) == cli.EXIT_DONE

    capture = cv2.VideoCapture(str(source))
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    assert facts_of(output) == Facts(20, size, round(capture.get(cv2.CAP_PROP_FPS), 3))
    lines = lines_of(log)
    assert sum(bool(line["faces"]) for line in lines) >= 15
    if name == "one_face_without_mask.mp4":
        labels = [face["label"] for line in lines for face in line["faces"]]
        assert labels.count("without_mask") >= 0.9 * len(labels)
