"""Outputs that cannot be written: one line, and what was there before stays as it was."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

import detect_mask_image
import detect_mask_video
from mask_detection.commands import cli
from mask_detection.io.images import read_image
from mask_detection.io.writers import open_log
from tests.helpers.outcomes import Outcome, disk_with_room_for
from tests.helpers.paths import ROOT
from tests.helpers.videos import facts_of, lines_of

FULL = "cannot be written (File too large); make room or name another place"
STAGES = "--model {model} --detector haar --no-display"
WITHOUT_PRIVILEGES = ["setpriv", *(f"--{kind}=-dac_override,-dac_read_search" for kind in ("inh-caps", "bounding-set"))]
# Runs commands where permissions count, and prints the status of each and its lines on standard error.
RUNNER = """
import contextlib, importlib, io, json, sys
from pathlib import Path
folder, commands = Path(sys.argv[1]), json.loads(sys.argv[2])
try:
    Path(folder, "probe").touch()
except PermissionError:
    outcomes = {}
else:
    sys.exit(f"{folder} denies nothing")
for name, (module, *arguments) in commands.items():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        status = importlib.import_module(module).main(arguments)
    outcomes[name] = status, [line for line in err.getvalue().splitlines() if not line.startswith("face detector: ")]
print(json.dumps(outcomes))
"""


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def annotate(run, all_is_face, tiny_model) -> Callable[..., Outcome]:
    """A function that runs the photo script."""

    def annotate(*arguments: object) -> Outcome:
        return run(detect_mask_image.main, "--model", tiny_model, "--no-display", *arguments)

    return annotate


@pytest.fixture
def annotate_video(run, all_is_face, tiny_model, video) -> Callable[..., Outcome]:
    """A function that runs the video script."""

    def annotate(*arguments: object) -> Outcome:
        return run(detect_mask_video.main, "--model", tiny_model, "--no-display", "--source", video, *arguments)

    return annotate


# --- folders that deny writing, and reading ---

DENIED = {  # a command, and how its one line goes on behind "error: "
    "--output {denied}/old.png": "{denied}: the folder {denied} denies writing",
    "--output {denied}/new/deep": "{denied}/new/deep: the folder {denied} denies writing",
    "--json {denied}/old.png": "{denied}/old.png: the folder {denied} denies writing",
    "--json - --image {locked}/a.png": "{locked}/a.png: cannot be read (Permission denied)",
    "--json - --model {locked}/a.h5": "{locked}/a.h5: cannot be used (Permission denied)",
    "--json - --face {locked}/faces": "{locked}/faces: cannot be used (Permission denied)",
}
DENIED_VIDEO = {
    "--output {denied}/a.avi": "{denied}/a.avi: the folder {denied} denies writing",
    "--log {denied}/a.csv": "{denied}/a.csv: the folder {denied} denies writing",
    "--log - --source {locked}/a.avi": "{locked}/a.avi: cannot be opened (Permission denied)",
}
PREPARE, DOWNLOAD = "mask_detection.commands.prepare", "mask_detection.commands.download"
COMMANDS = {
    **{f"detect_mask_image --image {{photo}} {STAGES} {end}": line for end, line in DENIED.items()},
    **{f"detect_mask_video --source {{video}} {STAGES} {end}": line for end, line in DENIED_VIDEO.items()},
    "train_mask_detector --dataset . --model {denied}/a.h5": "{denied}/a.h5: the folder {denied} denies writing",
    "train_mask_detector --dataset {locked} --model a.h5": "{locked}: cannot be used (Permission denied)",
    PREPARE + " {photos} {denied}/new": "{denied}/new: cannot be made a folder (Permission denied)",
    DOWNLOAD + " caffe --to {denied}": "{denied}/deploy.prototxt: the folder {denied} denies writing",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_model, video, small_portrait) -> Iterator[dict[str, Path]]:
    """The paths in the table: a folder that nobody may change and one that nobody may enter, among others."""
    denied, locked, photos = (tmp_path_factory.mktemp(name) for name in ("denied", "locked", "photos"))
    cv2.imwrite(str(photos / "a.png"), small_portrait)
    (denied / "old.png").write_bytes(b"what was here before")
    denied.chmod(0o500)
    locked.chmod(0o000)
    places = {"denied": denied, "locked": locked, "photos": photos, "photo": photos / "a.png"}
    yield {**places, "model": tiny_model, "video": video}
    denied.chmod(0o700)
    locked.chmod(0o700)


@pytest.fixture(scope="module")
def outcomes(places) -> dict[str, tuple[int, list[str]]]:
    """How each command ended, all run in one process that has no privilege over permissions."""
    is_root = getattr(os, "geteuid", lambda: None)() == 0
    if os.name == "nt" or (is_root and not shutil.which("setpriv")):
        pytest.skip("nothing denies writing here")
    commands = {command: command.format(**places).split() for command in COMMANDS}
    python = [*(WITHOUT_PRIVILEGES if is_root else []), sys.executable]
    arguments = ["-c", RUNNER, places["denied"], json.dumps(commands)]
    done = subprocess.run([*python, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_where_permission_is_denied_is_one_line(outcomes, places, command):
    status, printed = outcomes[command]
    assert status == cli.EXIT_UNUSABLE
    (line,) = printed
    assert line.startswith(f"error: {COMMANDS[command].format(**places)}; ")


def test_where_writing_is_denied_nothing_changes(outcomes, places):
    assert [path.read_bytes() for path in places["denied"].iterdir()] == [b"what was here before"]


# --- a full disk ---


def test_a_photo_that_does_not_fit_leaves_the_old_one_alone(annotate, photo, tmp_path):
    output = tmp_path / "out.bmp"
    output.write_bytes(b"what was here before")
    with disk_with_room_for(50_000):  # bytes, of 170 kB
        outcome = annotate("--image", photo, "--output", output)
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [f"error: {output}: {FULL}"])
    assert output.read_bytes() == b"what was here before"
    assert files_below(tmp_path) == ["out.bmp", "photos/portrait.png"]


def test_photos_that_fit_are_done_beside_one_that_does_not(annotate, photo, make_image, tmp_path):
    cv2.imwrite(str(photo.with_name("small.bmp")), make_image(30, 30))
    large = photo.rename(photo.with_name("large.bmp"))
    with disk_with_room_for(50_000):
        status, printed = annotate("--image", photo.parent, "--output", tmp_path / "out")
    assert status == cli.EXIT_SOME_FAILED
    assert printed == [f"error: {tmp_path / 'out' / 'large.bmp'}: {FULL}", f"1 of 2 photos failed: {large}"]
    assert files_below(tmp_path / "out") == ["small.bmp"]


def test_records_that_do_not_fit_leave_the_old_ones_alone(annotate, make_image, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(20):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), make_image(20, 20))
    records, recovered = tmp_path / "records.jsonl", tmp_path / "records.recovered-1.jsonl"
    records.write_text("what was here before")
    with disk_with_room_for(1000):
        outcome = annotate("--image", tmp_path / "photos", "--json", records)
    kept = f"{records}: what was complete of it is kept as {recovered}"
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [kept, f"error: {records}: {FULL}"])
    assert records.read_text() == "what was here before"
    assert len(lines_of(recovered)) >= 3
    assert {path for path in tmp_path.iterdir() if path.is_file()} == {records, recovered}


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mov"])
def test_a_video_that_does_not_fit_leaves_the_old_one_alone(annotate_video, tmp_path, suffix):
    """OpenCV writes on as if nothing were, and leaves a video that cannot be played or has no end."""
    output = tmp_path / f"out{suffix}"
    output.write_bytes(b"what was here before")
    with disk_with_room_for(30_000):
        status, printed = annotate_video("--output", output)
    assert status == cli.EXIT_UNUSABLE
    fault = "the video is not whole, perhaps the disk is full"
    assert printed[-1] == f"error: {output}: cannot be written ({fault}); make room or name another place"
    assert output.read_bytes() == b"what was here before"
    kept = [path for path in tmp_path.iterdir() if path != output]
    assert printed[:-1] == [f"{output}: what was complete of it is kept as {path}" for path in kept]
    assert all(facts_of(path).n_frames >= 1 for path in kept)
    assert kept or suffix in (".mp4", ".mov")  # which have no beginning before their end


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_log_that_does_not_fit_goes_as_far_as_it_can(annotate_video, tmp_path, suffix):
    log, whole = tmp_path / f"seen{suffix}", tmp_path / f"whole{suffix}"
    assert annotate_video("--log", whole) == Outcome(cli.EXIT_DONE, [])
    with disk_with_room_for(1000):
        outcome = annotate_video("--log", log)
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [f"error: {log}: {FULL}"])
    assert log.read_bytes() == whole.read_bytes()[:1000]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_standard_output_is_one_line(photo, tiny_model):
    files = ["--image", photo, "--json", "-", "--model", tiny_model, "--detector", "haar", "--no-display"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, ROOT / "detect_mask_image.py", *files],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == cli.EXIT_UNUSABLE
    news, line = done.stderr.splitlines()
    assert news == "face detector: Haar cascade"
    assert line.startswith("error: standard output: cannot be used (No space left on device); ")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other pipes")
def test_a_reader_that_leaves_costs_no_records(photo, tiny_model, tmp_path):
    """As in ``detect_mask_image.py … | head -1``."""
    records = tmp_path / "records.jsonl"
    files = ["--image", photo, "--json", records, "--model", tiny_model, "--detector", "haar", "--no-display"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, ROOT / "detect_mask_image.py", *files], stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert done.returncode == cli.EXIT_SOME_FAILED
    assert done.stderr.splitlines() == [b"face detector: Haar cascade"]
    assert json.loads(records.read_text())["image"] == str(photo)


# --- outputs that would cost an input ---


def test_no_input_is_written_over(annotate, photo, tiny_model, tmp_path):
    before, model_before = photo.read_bytes(), tiny_model.read_bytes()
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    for image, option, output in (
        (photo, "--output", photo),
        (photo, "--output", link),
        (photo.parent, "--output", photo.parent),
        (photo, "--json", photo),
        (photo.parent, "--json", link),
        (photo, "--json", tiny_model),
    ):
        named = photo if output.is_dir() else output
        fault = f"error: {named}: is an input and would be lost; name another output"
        assert annotate("--image", image, option, output) == Outcome(cli.EXIT_UNUSABLE, [fault])
    assert (photo.read_bytes(), tiny_model.read_bytes()) == (before, model_before)
    assert files_below(tmp_path) == ["link.png", "photos/portrait.png"]


def test_a_video_is_never_written_over_itself(annotate_video, video, tmp_path):
    source = Path(shutil.copy(video, tmp_path))
    link = tmp_path / "link.avi"
    link.symlink_to(source)
    for output in (source, link):
        fault = f"error: {output}: is an input and would be lost; name another output"
        assert annotate_video("--source", source, "--output", output) == Outcome(cli.EXIT_UNUSABLE, [fault])
    assert source.read_bytes() == video.read_bytes()


# --- places and names that will not do ---


def test_a_file_in_place_of_a_folder_is_named(annotate, photo, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for output in (tmp_path / "file" / "out.png", tmp_path / "file" / "deep" / "out.png"):
        fault = f"error: {output.parent}: cannot be made a folder ({tmp_path / 'file'} is a file); name another place"
        assert annotate("--image", photo, "--output", output) == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_a_missing_folder_is_made_for_photos(annotate, photo, tmp_path):
    output = tmp_path / "new" / "folder" / "out.png"
    assert annotate("--image", photo, "--output", output) == Outcome(cli.EXIT_DONE, [])
    assert read_image(output).shape == (240, 240, 3)


@pytest.mark.parametrize(("option", "name"), [("--output", "a.avi"), ("--log", "a.csv")])
def test_a_missing_folder_is_named_for_videos_and_logs(annotate_video, tmp_path, option, name):
    target = tmp_path / "missing" / name
    fault = f"error: {target}: there is no folder {target.parent}; make it first"
    assert annotate_video(option, target) == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_a_format_that_cannot_be_written_is_named(annotate, photo, tmp_path):
    fault = f"error: {tmp_path / 'out.txt'}: OpenCV writes no .txt images; use .jpg or .png"
    assert annotate("--image", photo, "--output", tmp_path / "out.txt") == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_old_outputs_outlive_an_unusable_model(annotate, annotate_video, photo, tmp_path):
    missing = tmp_path / "missing.h5"
    image, clip = tmp_path / "old.png", tmp_path / "old.avi"
    for output in (image, clip):
        output.write_bytes(b"what was here before")
    fault = Outcome(cli.EXIT_UNUSABLE, [f"error: {missing}: no such file; check the path"])
    assert annotate("--image", photo, "--output", image, "--model", missing) == fault
    assert annotate_video("--output", clip, "--model", missing) == fault
    assert {output.read_bytes() for output in (image, clip)} == {b"what was here before"}


def test_labels_are_no_formulas_in_a_table(tmp_path):
    face = {"box": [1, 2, 3, 4], "label": '=HYPERLINK("x")', "probability": -0.5}
    with open_log(tmp_path / "seen.csv") as log:
        log.write({"frame": 0, "time_s": 0.0, "faces": [face]})
    (row,) = csv.DictReader((tmp_path / "seen.csv").read_text("utf-8").splitlines())
    assert (row["label"], row["probability"]) == ('\'=HYPERLINK("x")', "-0.5")
