"""Segments hold every frame once, faults cost one of them, and clips hold what surrounds an alarm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

import detect_mask_video
from mask_detection.commands import cli
from mask_detection.inference.detections import Detections
from mask_detection.io.sources import Frame
from mask_detection.recording import clips as clips_module
from mask_detection.recording import segments as module
from mask_detection.recording.clips import Clips
from mask_detection.recording.segments import SegmentedVideo, Segments, names_by_number, names_by_time
from mask_detection.utils.errors import OutputError
from tests.helpers.videos import facts_of, lines_of, write_video

NOBODY = Detections(np.empty((0, 4), np.int32), np.empty(0, np.float32), np.empty((0, 2), np.float32), ("a", "b"))


class Tape:
    """Stands in for a video: the times that were written, and when it is to fail."""

    def __init__(self, path: Path, fails_at: float | None = None) -> None:
        self.path, self.fails_at = path, fails_at
        self.times: list[float] = []
        self.levels: list[int] = []
        self.is_closed = False

    def write(self, frame: np.ndarray, time_s: float) -> None:
        if time_s == self.fails_at:
            raise OutputError(f"{self.path}: cannot be written (No space left on device)")
        self.times.append(time_s)
        self.levels.append(round(float(frame.mean()) / 5))


def taping(tapes: list[Tape], fails_at: float | None = None):
    @contextmanager
    def open_tape(path: Path) -> Iterator[Tape]:
        tapes.append(Tape(path, fails_at))
        yield tapes[-1]
        tapes[-1].is_closed = True

    return open_tape


IMAGE = np.zeros((8, 8, 3), np.uint8)


def frame_at(index: int, time_s: float, gap_s: float = 0.0) -> Frame:
    return Frame(np.full((8, 8, 3), 5 * index % 256, np.uint8), index, time_s, gap_s=gap_s)


# --- segments ---


def test_each_frame_is_in_one_segment():
    tapes: list[Tape] = []
    video = SegmentedVideo(segments := Segments(names_by_number(Path("door.mkv")), taping(tapes), length_s=1.0))
    for i in range(25):
        video.write(IMAGE, i / 10)
    segments.end()
    assert [tape.path.name for tape in tapes] == [f"door-00000{i}.mkv" for i in (1, 2, 3)]
    assert [len(tape.times) for tape in tapes] == [10, 10, 5]
    assert [time_s for tape in tapes for time_s in tape.times] == [i / 10 for i in range(25)]
    assert all(tape.is_closed for tape in tapes)


def test_a_fault_costs_one_segment_and_is_tried_again_later(monkeypatch, caplog):
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    tapes: list[Tape] = []
    segments = Segments(names_by_number(Path("door.mkv")), taping(tapes, fails_at=1.0), length_s=10.0)
    video = SegmentedVideo(segments)
    for i in range(5):
        video.write(IMAGE, i / 2)
    assert [tape.times for tape in tapes] == [[0.0, 0.5], [1.5, 2.0]]
    assert segments.has_failed
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("error: door-000001.mkv: cannot be written")


def test_a_nearly_full_disk_ends_a_segment_while_it_can_be_finished(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(module, "LOOK_AT_DISK_S", 0.0)
    monkeypatch.setattr(module, "RETRY_S", 1000.0)
    tapes: list[Tape] = []
    video = SegmentedVideo(Segments(names_by_number(tmp_path / "door.mkv"), taping(tapes), length_s=10.0))
    video.write(IMAGE, 0.0)
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 1 << 62)
    video.write(IMAGE, 0.1)
    video.write(IMAGE, 0.2)
    (tape,) = tapes
    assert (tape.times, tape.is_closed) == ([0.0], True)
    assert "the disk is nearly full" in caplog.text


def test_names_by_time_are_never_taken_twice(tmp_path):
    next_name = names_by_time(tmp_path / "door.mkv")
    names = set()
    for _ in range(3):
        names.add(name := next_name())
        name.touch()
    assert len(names) == 3


def test_segments_of_a_video_joined_are_the_whole_video(play_cards, tmp_path):
    letters = "MB" * 20
    play_cards(letters, "--output", tmp_path / "whole.avi", "--no-overlay")
    arguments = ["--output", tmp_path / "cut.avi", "--log", tmp_path / "cut.jsonl", "--segment", "1.5s", "--no-overlay"]
    assert play_cards(letters, *arguments) == cli.EXIT_DONE
    segments = sorted(tmp_path.glob("cut-*.avi"))
    assert [facts_of(path).n_frames for path in segments] == [15, 15, 10]
    joined = [frame for path in segments for frame in frames_of(path)]
    assert all(np.array_equal(*pair) for pair in zip(joined, frames_of(tmp_path / "whole.avi"), strict=True))
    lines = [lines_of(path) for path in sorted(tmp_path.glob("cut-*.jsonl"))]
    assert [line["frame"] for part in lines for line in part] == [*range(40)]
    assert [len(part) for part in lines] == [15, 15, 10]


def frames_of(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_old_segments_are_deleted_and_nothing_else(play_cards, tmp_path):
    (tmp_path / "cut-mine.avi").write_bytes(b"mine")
    arguments = ["--output", tmp_path / "cut.avi", "--segment", "1s", "--keep", "1"]
    assert play_cards("M" * 30, *arguments) == cli.EXIT_DONE
    assert sorted(path.name for path in tmp_path.glob("cut-*")) == ["cut-mine.avi"]
    assert play_cards("M" * 30, "--output", tmp_path / "cut.avi", "--segment", "1s", "--keep", "1GB") == cli.EXIT_DONE
    assert len([*tmp_path.glob("cut-*.avi")]) == 4


def test_sources_that_end_one_after_the_other_may_share_what_is_kept(tmp_path, tiny_model, errors):
    """The last file of the longer source is large, so that files of the one that has ended before have to go."""
    flat, noise = np.zeros((120, 160, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    front = write_video(tmp_path / "front.avi", [flat] * 20 + [noise] * 5)
    back = write_video(tmp_path / "back.avi", [flat] * 12)

    def sizes_in(folder: Path, *options: object) -> dict[str, int]:
        folder.mkdir()
        arguments = ["--source", front, back, "--output", folder / "{source}.avi", "--segment", "1s", *options]
        arguments += ["--no-display", "--detector", "haar", "--model", tiny_model]
        assert detect_mask_video.main([str(argument) for argument in arguments]) == cli.EXIT_DONE
        return {path.name: path.stat().st_size for path in folder.glob("*.avi")}

    everything = sizes_in(tmp_path / "all")
    n_bytes = sum(everything.values()) - max(everything.values())
    kept = sizes_in(tmp_path / "kept", "--keep", n_bytes)
    assert kept
    assert sum(kept.values()) <= n_bytes
    assert not any("rror" in line for line in errors())


# --- clips ---


def record_clips(n_frames: int, alarms: list[int], **how: float) -> list[Tape]:
    """The clips of frames at ten a second with alarms at some of them."""
    tapes: list[Tape] = []
    clips = Clips(Segments(names_by_number(Path("door.mkv")), taping(tapes), float("inf")), **how)
    for i in range(n_frames):
        if i in alarms:
            clips.on_alarm({"time_s": i / 10})
        clips.write(frame_at(i, i / 10), NOBODY)
    clips.close()
    return tapes


def test_a_clip_holds_what_surrounds_the_alarm():
    (clip,) = record_clips(100, [50], before_s=2.0, after_s=3.0)
    assert clip.times == pytest.approx([i / 10 for i in range(30, 81)])
    assert clip.levels == pytest.approx([i % 52 for i in range(30, 81)], abs=1)
    assert clip.is_closed


def test_another_alarm_makes_the_clip_longer_and_a_late_one_makes_another():
    first, second = record_clips(200, [50, 70, 150], before_s=1.0, after_s=3.0)
    assert (first.times[0], first.times[-1]) == (4.0, 10.0)
    assert (second.times[0], second.times[-1]) == (14.0, 18.0)
    assert len(first.times) == 61


def test_the_end_of_the_run_ends_the_clip():
    (clip,) = record_clips(60, [58], before_s=1.0, after_s=30.0)
    assert clip.times == pytest.approx([i / 10 for i in range(48, 60)])


def test_no_alarm_is_no_clip():
    assert record_clips(60, [], before_s=1.0, after_s=1.0) == []


def test_the_frames_that_wait_are_bounded(monkeypatch):
    jpeg = cv2.imencode(".jpg", IMAGE, (cv2.IMWRITE_JPEG_QUALITY, clips_module.JPEG_QUALITY))[1].nbytes
    monkeypatch.setattr(clips_module, "MAX_WAITING_BYTES", 10 * jpeg + jpeg // 2)
    clips = Clips(Segments(names_by_number(Path("door.mkv")), taping([]), float("inf")), before_s=1e6, after_s=1.0)
    for i in range(100):
        clips.write(Frame(IMAGE, i, i / 10), NOBODY)
        assert sum(frame.jpeg.nbytes for frame in clips._waiting) == clips._n_bytes <= clips_module.MAX_WAITING_BYTES
    assert len(clips._waiting) == 10


def test_clips_leave_out_the_time_without_picture():
    tapes: list[Tape] = []
    clips = Clips(Segments(names_by_number(Path("door.mkv")), taping(tapes), float("inf")), before_s=60.0, after_s=60.0)
    clips.write(frame_at(0, 0.0), NOBODY)
    clips.on_alarm({"time_s": 30.1})
    clips.write(frame_at(1, 30.1, gap_s=30.0), NOBODY)
    clips.close()
    assert tapes[0].times == pytest.approx([0.0, 0.1])


def test_clips_of_a_video_play(play_cards, tmp_path):
    arguments = ["--clips", tmp_path / "clips", "--alert-after", 1, "--clip-before", "1s", "--clip-after", "2s"]
    assert play_cards("M" * 40 + "B" * 60, *arguments, "--keep", "1GB") == cli.EXIT_DONE
    (clip,) = (tmp_path / "clips").glob("*.mkv")
    assert facts_of(clip).n_frames == 31
    assert (tmp_path / "clips" / "cards.mkv.manifest").exists()


def test_a_video_that_cannot_be_made_is_named(play_cards, tmp_path, errors):
    (tmp_path / "clips").write_text("a file")
    assert play_cards("B" * 9, "--clips", tmp_path / "clips") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert "clips: cannot be made a folder" in error
    assert write_video(tmp_path / "x.avi", [IMAGE]).exists()
