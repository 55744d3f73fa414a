"""Nothing that a run made is lost: to a fault elsewhere, to another run, to the run after a kill, to odd names."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

import detect_mask_image
import detect_mask_video
from mask_detection.commands import cli
from mask_detection.io.growing import cut_after_last_line, growing_text
from mask_detection.io.writers import open_log, open_video
from mask_detection.utils.errors import OutputError
from mask_detection.utils.files import atomic_write
from tests.helpers.outcomes import Outcome, disk_with_room_for
from tests.helpers.paths import ROOT
from tests.helpers.videos import FRAME_COUNT, Act, facts_of, lines_of, streaming, write_video

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has these devices")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks and pipes")
STAGES = ("--detector", "haar", "--no-display")
BUSY = "another run is writing it; wait for that run or name another output"


def frames(n: int) -> list[np.ndarray]:
    return [np.full((64, 64, 3), i, np.uint8) for i in range(n)]


def write_frames(path: Path, n: int) -> Path:
    """A video whose file has any name, such as that of a part file."""
    return write_video(path.with_name(f"made{path.suffix}"), frames(n)).rename(path)


# --- a fault elsewhere ---


def test_a_full_temporary_folder_costs_an_alarm_and_nothing_else(play_cards, tmp_path, monkeypatch, errors):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    alarm = ("--alert-command", f"{sys.executable} -c pass", "--alert-after", 0)
    outputs = ("--output", tmp_path / "out.avi", "--log", tmp_path / "seen.jsonl")
    assert play_cards("B" * 12, *alarm, *outputs) == cli.EXIT_DONE
    (error,) = errors()
    assert error.startswith("error: --alert-command: cannot be run (No space left on device)")
    assert facts_of(tmp_path / "out.avi").n_frames == len(lines_of(tmp_path / "seen.jsonl")) == 12


@posix_only
def test_a_log_that_cannot_be_written_is_named_and_the_video_is_kept(detect, video, tmp_path, errors):
    log, output, summary = tmp_path / "log.jsonl", tmp_path / "out.avi", tmp_path / "sum.json"
    os.mkfifo(log)

    def leave_early() -> None:
        with log.open() as lines:
            for _ in range(3):
                lines.readline()

    reader = threading.Thread(target=leave_early, daemon=True)
    reader.start()
    assert detect(video, "--log", log, "--output", output, "--summary", summary) == cli.EXIT_UNUSABLE
    reader.join(timeout=10)
    assert errors() == [f"error: {log}: cannot be written (Broken pipe); make room or name another place"]
    assert 2 <= facts_of(output).n_frames < FRAME_COUNT
    assert json.loads(summary.read_text())["frames"] - facts_of(output).n_frames in (0, 1)


@linux_only
def test_a_full_standard_output_costs_no_answers(photo, tiny_model, tmp_path):
    answers = tmp_path / "answers.jsonl"
    command = [
        sys.executable,
        ROOT / "detect_mask_image.py",
        "--image",
        photo,
        "--json",
        answers,
        "--model",
        tiny_model,
    ]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*command, *STAGES], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == cli.EXIT_UNUSABLE
    assert done.stderr.splitlines()[-1].startswith("error: standard output: cannot be used (No space left on device)")
    assert [line["image"] for line in lines_of(answers)] == [str(photo)]


def test_overlong_names_of_photos_cost_nothing(run, all_is_face, tiny_model, photo, tmp_path):
    longest = photo.rename(photo.with_name("x" * 251 + ".png"))
    shutil.copy(longest, photo)
    too_long = tmp_path / ("y" * 252 + ".png")
    files = ("--model", tiny_model, "--no-display", "--json", tmp_path / "answers.jsonl")
    assert run(detect_mask_image.main, "--image", photo.parent, "--output", tmp_path / "out", *files).status == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {longest.name, photo.name}
    outcome = run(detect_mask_image.main, "--image", photo, "--output", too_long, *files)
    fault = "cannot be used (File name too long); check the path, its permissions and the disk"
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [f"error: {too_long}: {fault}"])
    assert len(lines_of(tmp_path / "answers.jsonl")) == 2


def test_every_output_that_fails_is_named(detect, video, tmp_path, errors):
    output, log = tmp_path / "out.avi", tmp_path / "log.jsonl"
    with disk_with_room_for(400):
        assert detect(video, "--output", output, "--log", log) == cli.EXIT_UNUSABLE
    assert {error.split(": ")[1] for error in errors()} == {str(output), str(log)}


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_a_run_without_a_frame_leaves_an_older_log_as_it_was(detect, tmp_path, name, errors):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_bytes(b"no image")
    older, new = tmp_path / name, tmp_path / f"new_{name}"
    older.write_text("older\n")
    for log in (older, new):
        assert detect(tmp_path / "frames", "--log", log) == cli.EXIT_UNUSABLE
    assert older.read_text() == "older\n"
    assert not new.exists()
    assert len(errors()) == 4


# --- part files ---


def test_what_a_killed_run_left_is_kept_and_mentioned_once(detect, video, tmp_path, capfd):
    output = write_frames(tmp_path / "out.avi", 5)
    left = write_frames(tmp_path / "out.0a1b2c3d.part.avi", 7).read_bytes()
    foreign = write_frames(tmp_path / "out.part.avi", 3).read_bytes()
    earlier = write_frames(tmp_path / "out.recovered-1.avi", 4).read_bytes()
    recovered = tmp_path / "out.recovered-2.avi"
    assert detect(video, "--output", output) == cli.EXIT_DONE
    assert [str(recovered) in line for line in capfd.readouterr().err.splitlines() if "recovered" in line] == [True]
    assert facts_of(output).n_frames == FRAME_COUNT
    assert recovered.read_bytes() == left
    assert (tmp_path / "out.part.avi").read_bytes() == foreign
    assert (tmp_path / "out.recovered-1.avi").read_bytes() == earlier
    assert detect(video, "--output", output) == cli.EXIT_DONE
    assert "recovered" not in capfd.readouterr().err


def test_a_run_that_fails_promotes_no_part_file(detect, tmp_path):
    output = write_frames(tmp_path / "out.avi", 5)
    for name in ("out.part.avi", "out.0a1b2c3d.part.avi"):
        write_frames(tmp_path / name, 2)
    before = output.read_bytes()
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_bytes(b"no image")
    write_frames(tmp_path / "source.avi", 3)
    assert detect(tmp_path / "frames", "--output", output) == cli.EXIT_UNUSABLE
    assert detect(tmp_path / "source.avi", "--output", output, "--model", tmp_path / "none.h5") == cli.EXIT_UNUSABLE
    assert output.read_bytes() == before


@pytest.mark.parametrize("part", ["x.part.avi", "x.0a1b2c3d.part.avi"])
def test_a_part_file_as_the_source_is_not_destroyed(detect, tmp_path, part):
    source, output = write_frames(tmp_path / part, 6), tmp_path / "x.avi"
    before = source.read_bytes()
    detect(source, "--output", output)
    assert source.read_bytes() == before
    assert not output.exists() or facts_of(output).n_frames == 6


def test_a_part_file_as_a_photo_is_not_destroyed(run, all_is_face, tiny_model, photo, tmp_path):
    for name in ("a.part.png", "a.0a1b2c3d.tmp.part.png"):
        source = Path(shutil.copy(photo, tmp_path / name))
        options = ("--model", tiny_model, "--no-display", "--output", tmp_path / "a.png")
        run(detect_mask_image.main, "--image", source, *options)
        assert source.read_bytes() == photo.read_bytes()


def test_halves_of_killed_runs_are_cleared_away(tmp_path):
    half, other = tmp_path / "a.0a1b2c3d.tmp.part.json", tmp_path / "b.0a1b2c3d.tmp.part.json"
    half.write_text("{")
    other.write_text("{")
    with atomic_write(tmp_path / "a.json") as part:
        part.write_text("{}")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.json", other]


@posix_only
def test_two_threads_that_write_one_file_do_not_mix(tmp_path):
    """As two runs do that export the same model."""
    target, started = tmp_path / "a.bin", threading.Barrier(2)
    written: list[bytes] = []

    def write(byte: bytes) -> None:
        with atomic_write(target) as part, part.open("wb") as file:
            file.write(byte * 1000)
            started.wait()
            file.write(byte * 1000)
        written.append(byte)

    threads = [threading.Thread(target=write, args=(byte,)) for byte in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == [b"a", b"b"]
    assert target.read_bytes() in (b"a" * 2000, b"b" * 2000)
    assert list(tmp_path.iterdir()) == [target]


# --- two runs at once ---


@posix_only
@pytest.mark.parametrize(("option", "name"), [("--output", "out.avi"), ("--output", "frames"), ("--log", "log.csv")])
def test_a_second_run_on_the_same_output_is_refused_at_its_start(detect, video, tmp_path, option, name, errors):
    path = tmp_path / name
    open_output = open_log if option == "--log" else lambda path: open_video(path, 10.0)
    with open_output(path) as output:
        record = {"frame": 0, "time_s": 0.0, "faces": []}
        for arguments in (
            [(frame, i / 10) for i, frame in enumerate(frames(5))] if option == "--output" else [(record,)]
        ):
            output.write(*arguments)
        before = path.read_bytes() if path.is_file() else b""
        # No network is loaded: there is none.
        assert detect(video, option, path, "--model", tmp_path / "none.h5") == cli.EXIT_UNUSABLE
        assert errors() == [f"error: {path}: {BUSY}"]
        with pytest.raises(OutputError, match="another run"), open_output(path):
            pass
        assert not path.is_file() or path.read_bytes() == before
    assert path.is_dir() or len(list(tmp_path.iterdir())) == 1
    if name == "out.avi":
        assert facts_of(path).n_frames == 5
    assert detect(video, "--log", tmp_path / "log.csv") == cli.EXIT_DONE


@posix_only
def test_of_runs_that_start_together_one_goes_on(tiny_model, tmp_path):
    source, output = write_frames(tmp_path / "source.avi", 200), tmp_path / "out.mp4"
    command = [sys.executable, "detect_mask_video.py", "--source", source, "--output", output, "--model", tiny_model]
    runs = [subprocess.Popen([*map(str, command), *STAGES], cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    refused = [error for run, error in zip(runs, errors, strict=True) if run.returncode]
    assert [run.returncode for run in runs].count(cli.EXIT_DONE) >= 1
    assert all(error.splitlines()[-1] == f"error: {output}: {BUSY}" for error in refused)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "source.avi"]
    assert facts_of(output).n_frames == 200


@posix_only
@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_killed_recording_is_there_after_a_restart(tiny_model, tmp_path, suffix):
    noise = np.random.default_rng(1).integers(0, 256, (10, 240, 320, 3), np.uint8)
    output, log = tmp_path / f"out{suffix}", tmp_path / "seen.jsonl"
    options = ["--output", output, "--log", log, "--model", tiny_model, *STAGES]
    with streaming(Act(cycle(noise))) as server:
        command = [sys.executable, "detect_mask_video.py", "--source", server.address, "--detect-size", 60, *options]
        process = subprocess.Popen([*map(str, command)], cwd=ROOT)
        while not log.exists() or log.read_bytes().count(b"\n") < 30:
            assert process.poll() is None
        process.kill()
        process.wait()
    source = write_frames(tmp_path / "source.avi", 3)
    assert detect_mask_video.main([*map(str, ("--source", source, *options))]) == cli.EXIT_DONE
    assert facts_of(output).n_frames == len(lines_of(log)) == 3
    assert facts_of(tmp_path / f"out.recovered-1{suffix}").n_frames >= 10


def test_of_killed_lines_the_whole_ones_are_kept(tmp_path):
    (tmp_path / "a.0a1b2c3d.part.jsonl").write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    with growing_text(tmp_path / "a.jsonl"):
        pass
    assert lines_of(tmp_path / "a.recovered-1.jsonl") == [{"a": 1}, {"a": 2}]
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.parametrize(("text", "whole"), [(b"", b""), (b"half", b"half"), (b"a\nb", b"a\n"), (b"a\n", b"a\n")])
def test_half_lines_are_cut_off(tmp_path, text, whole):
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    assert cut_after_last_line(path) == whole.endswith(b"\n")
    assert path.read_bytes() == whole
    path.write_bytes(b"a\n" + b"x" * 200_000)
    assert cut_after_last_line(path)
    assert path.read_bytes() == b"a\n"
