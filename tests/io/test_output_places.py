"""Where outputs may go: devices, pipes, what links lead to; and never over an input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

import detect_mask_image
import detect_mask_video
from mask_detection.commands import cli, evaluate, export
from mask_detection.commands.options import output_file
from mask_detection.io.writers import open_video_file
from tests.helpers.images import textured
from tests.helpers.outcomes import Outcome
from tests.helpers.paths import ROOT
from tests.helpers.videos import facts_of, lines_of

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has these devices")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks and pipes")
STAGES = ("--detector", "haar", "--no-display")


# --- devices, pipes, links ---


# No test names a device itself: as root, code that fails it would replace the machine's own.


@linux_only
@pytest.mark.parametrize("device", ["/dev/null", "/dev/fd/1", "/dev/fd/2"])
def test_answers_go_into_devices(photo, tiny_model, tmp_path, device):
    output = device
    if device == "/dev/null":
        output = tmp_path / "link"
        output.symlink_to(device)
    command = [sys.executable, ROOT / "detect_mask_image.py", "--image", photo, "--json", output, "--model", tiny_model]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        status = subprocess.run([*command, *STAGES], stdout=out, stderr=err, check=False).returncode
    assert status == cli.EXIT_DONE
    assert Path("/dev/null").is_char_device()
    if device == "/dev/null":
        assert str(output.readlink()) == device
        return
    news, *lines = (tmp_path / "err").read_text().splitlines()
    assert news == "face detector: Haar cascade"
    (line,) = lines if device == "/dev/fd/2" else (tmp_path / "out").read_text().splitlines()
    assert json.loads(line)["image"] == str(photo)


@linux_only
def test_a_full_device_is_named_and_stays(video, photo, run, tiny_model, tmp_path):
    full, options = tmp_path / "full", ("--model", tiny_model, *STAGES)
    full.symlink_to("/dev/full")
    fault = f"error: {full}: cannot be written (No space left on device); make room or name another place"
    outcome = run(detect_mask_image.main, "--image", photo, "--json", full, *options)
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [fault])
    outcome = run(detect_mask_video.main, "--source", video, "--summary", full, "--max-frames", 2, *options)
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [fault])
    assert str(full.readlink()) == "/dev/full"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "-"])
def test_standard_output_has_several_names(name):
    assert output_file(name) == Path("-")


@posix_only
def test_pipes_are_written_into(run, all_is_face, tiny_model, photo, video, detect, tmp_path):
    answers, picture, summary = (tmp_path / name for name in ("answers", "picture.png", "summary"))
    read: dict[Path, bytes] = {}

    def drain(path: Path) -> None:
        read[path] = path.read_bytes()

    threads = []
    for path in (answers, picture, summary):
        os.mkfifo(path)
        threads.append(threading.Thread(target=drain, args=(path,), daemon=True))
        threads[-1].start()
    files = ("--image", photo, "--model", tiny_model, "--no-display", "--json", answers, "--output", picture)
    assert run(detect_mask_image.main, *files).status == cli.EXIT_DONE
    assert detect(video, "--summary", summary, "--max-frames", 2) == cli.EXIT_DONE
    for thread in threads:
        thread.join(timeout=10)
    assert json.loads(read[answers])["image"] == str(photo)
    assert cv2.imdecode(np.frombuffer(read[picture], np.uint8), cv2.IMREAD_COLOR).shape == (240, 240, 3)
    assert json.loads(read[summary])["frames"] == 2
    assert all(path.is_fifo() for path in (answers, picture, summary))


@posix_only
def test_links_stay_and_what_they_lead_to_is_replaced(detect, video, tmp_path):
    (tmp_path / "disk").mkdir()
    for name in ("out.avi", "sum.json", "log.jsonl"):
        (tmp_path / "disk" / name).write_text("older")
        (tmp_path / name).symlink_to(Path("disk") / name)
    options = ("--output", tmp_path / "out.avi", "--summary", tmp_path / "sum.json", "--log", tmp_path / "log.jsonl")
    assert detect(video, *options, "--max-frames", 4) == cli.EXIT_DONE
    assert all((tmp_path / name).is_symlink() for name in ("out.avi", "sum.json", "log.jsonl"))
    assert facts_of(tmp_path / "disk" / "out.avi").n_frames == len(lines_of(tmp_path / "disk" / "log.jsonl")) == 4
    assert len(list((tmp_path / "disk").iterdir())) == 3


@posix_only
def test_a_video_goes_into_a_pipe(tmp_path):
    pipe, copy = tmp_path / "live.mkv", tmp_path / "copy.mkv"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: copy.write_bytes(pipe.read_bytes()), daemon=True)
    reader.start()
    with open_video_file(pipe, 10.0) as output:
        for i, frame in enumerate(textured(64, 64, seed=i) for i in range(20)):
            output.write(frame, i / 10)
    reader.join(timeout=10)
    assert facts_of(copy).n_frames == 20
    assert pipe.is_fifo()


# --- inputs and outputs told apart ---


@pytest.fixture
def inputs(tmp_path, video, tiny_model) -> dict[str, Path]:
    """A source, a hard link and a link to it, and a model."""
    source = Path(shutil.copy(video, tmp_path / "a b.avi"))
    (tmp_path / "hard.avi").hardlink_to(source)
    (tmp_path / "soft.avi").symlink_to(source)
    model = Path(shutil.copy(tiny_model, tmp_path / "model.h5"))
    (tmp_path / "model.csv").hardlink_to(model)
    return {"source": source, "model": model, "folder": tmp_path}


@pytest.mark.parametrize(
    "words",
    [
        "--source file://{url} --output {source}",
        "--source file://localhost{url} --output {source}",
        "--source FILE:{url} --output {folder}/hard.avi",
        "--source file:{source} --output {folder}/soft.avi",
        "--source {source} --output {folder}/hard.avi",
        "--source {source} --output {folder}/../{name}/hard.avi",
        "--source {source} --summary {source}",
        "--source {source} --summary {folder}/hard.avi",
        "--source {source} --log {folder}/model.csv",
        "--source {source} --summary {model}",
    ],
)
def test_no_spelling_makes_an_output_of_an_input(run, inputs, words):
    before = {path: path.read_bytes() for path in inputs["folder"].iterdir()}
    names = {**inputs, "url": str(inputs["source"]).replace(" ", "%20"), "name": inputs["folder"].name}
    arguments = [word.format(**names) for word in words.split()]
    outcome = run(detect_mask_video.main, *arguments, "--model", inputs["model"], *STAGES)
    fault = f"error: {Path(arguments[3])}: is an input and would be lost; name another output"
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [fault])
    assert {path: path.read_bytes() for path in inputs["folder"].iterdir()} == before


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_result_that_is_a_photo_of_an_input_folder_is_refused(run, photo, tiny_model, tmp_path, link):
    figures = tmp_path / "figures.json"
    getattr(figures, link)(photo)
    before = photo.read_bytes()
    outcome = run(evaluate.main, "--images", photo.parent, "--annotations", tmp_path, "--json", figures)
    fault = f"error: {figures}: is an input and would be lost; name another output"
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [fault])
    assert photo.read_bytes() == before


def test_two_outputs_are_two_files(video, photo, run, tiny_model, tmp_path):
    both = tmp_path / "both.json"
    twice = ("--log", both, "--summary", f"{tmp_path}/../{tmp_path.name}/both.json")
    outcome = run(detect_mask_video.main, "--source", video, "--model", tiny_model, *STAGES, *twice)
    assert outcome == Outcome(
        cli.EXIT_UNUSABLE, [f"error: {both}: is named for two outputs; name another for one of them"]
    )
    options = ("--image", photo, "--model", tiny_model, *STAGES, "--output", tmp_path / "a.png")
    outcome = run(detect_mask_image.main, *options, "--json", tmp_path / "a.png")
    assert outcome.status == cli.EXIT_UNUSABLE
    assert "is named for two outputs" in outcome.printed[0]
    assert not both.exists()


def test_the_other_commands_keep_their_inputs(run, photo, tiny_model, tmp_path):
    model = Path(shutil.copy(tiny_model, tmp_path / "model.h5"))
    (tmp_path / "model.tflite").hardlink_to(model)
    (tmp_path / "faces" / "with_mask").mkdir(parents=True)
    face = Path(shutil.copy(photo, tmp_path / "faces" / "with_mask" / "1.png"))
    before = model.read_bytes(), face.read_bytes()
    dataset = ("--dataset", tmp_path / "faces", "--model", model)
    for main, *arguments in (
        (export.main, "--model", model),
        (evaluate.main, *dataset, "--json", model),
        (evaluate.main, *dataset, "--plot", face),
    ):
        outcome = run(main, *arguments)
        assert outcome.status == cli.EXIT_UNUSABLE
        assert outcome.printed[-1].endswith("is an input and would be lost; name another output")
    assert (model.read_bytes(), face.read_bytes()) == before
