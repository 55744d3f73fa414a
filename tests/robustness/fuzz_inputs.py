"""Give the scripts damaged files: none may crash, hang, print a traceback or leave half an output.

python -m tests.robustness.fuzz_inputs --cases 2000 --seed 1
python -m tests.robustness.fuzz_inputs --case 1234 --seed 1                  # that one again, and what it printed
python -m tests.robustness.fuzz_inputs --cases 300 --only video caffe

A case damages a valid file at random, decided by the seed and its number, and runs one of the real scripts on it in a
process forked for it. It holds if the run ends by itself and in time, with status 0, 1 or 2, and with status 0 if
nothing was damaged, which happens too; if it says in a line why it didn't end with 0; if there is no traceback or
warning of Python's; and if every output is whole. The files of a case that doesn't hold are kept. Exit status: 0 all
cases hold, 1 some don't.
"""

from __future__ import annotations

import argparse
import functools
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from tests.robustness import forked

# isort: split
import numpy as np

import detect_mask_image
import detect_mask_video
import train_mask_detector
from mask_detection.commands import crop_faces, evaluate, prepare
from tests.robustness import cases
from tests.robustness import fuzz_seeds as seeds
from tests.robustness.damage import damaged
from tests.robustness.wholeness import broken

SECONDS = 20.0  # on processors; TensorFlow alone takes some to start
SECONDS_WITH_TENSORFLOW = 90.0
PATIENCE = 4  # times as many may pass by the clock, as the machine may have other work
TIMES_DAMAGED = (0, 1, 1, 1, 2, 3, 5, 8)
OUTPUT_SUFFIXES = (".jpg", ".png", ".tiff", ".webp")
MODEL = forked.ROOT / "mask_detector.tflite"
QUICK_STAGES = ("--detector", "haar", "--model", MODEL)
IMAGES_A_CLASS = 6

Damage = Callable[..., bytes]
Rng = np.random.Generator
Kind = Callable[[Path, Damage, Rng], "Command"]


class Command(NamedTuple):
    """A run to be made: a script, its command line, and how long it may take."""

    main: forked.Main
    argv: Sequence[object]
    seconds: float = SECONDS


# --- a function for each kind of input: it writes the files and says what to run on them ---


def image(folder: Path, damage: Damage, rng: Rng) -> Command:
    name, data = _one_of(_images().items(), rng)
    path = _write(folder / "photos" / "a" / name, damage(data))
    if rng.random() < 0.2:
        _write(folder / "photos" / "b" / "whole.jpg", _noise(0))  # no copy of the other, or both would be left out
        return Command(prepare.main, ["photos", "out"])
    suffix = OUTPUT_SUFFIXES[rng.integers(len(OUTPUT_SUFFIXES))]
    outputs = ["--output", f"annotated{suffix}", "--json", "seen.jsonl"]
    return Command(detect_mask_image.main, ["--image", path, *outputs, *QUICK_STAGES, "--no-display"])


def video(folder: Path, damage: Damage, rng: Rng) -> Command:
    name, data = _one_of(_videos().items(), rng)
    path = _write(folder / name, damage(data))
    outputs = ["--output", "annotated.avi", "--log", ("seen.jsonl", "seen.csv")[rng.integers(2)]]
    options = ["--max-frames", 40, "--no-display"]
    return Command(detect_mask_video.main, ["--source", path, *outputs, *options, *QUICK_STAGES])


def tflite(folder: Path, damage: Damage, rng: Rng) -> Command:
    data, names = MODEL.read_bytes(), []
    if rng.random() < 0.7:  # of another maker, without the record that would tell the damage
        names = ["--classes", "worn_wrong,masked,bare"]
        with zipfile.ZipFile(io.BytesIO(data)) as record:
            data = data[: min(entry.header_offset for entry in record.infolist())]
    return _detect(folder, "--detector", "haar", "--model", _write(folder / "model.tflite", damage(data)), *names)


def h5(folder: Path, damage: Damage, rng: Rng) -> Command:
    _, data = _one_of(_h5_files().items(), rng)
    command = _detect(folder, "--detector", "haar", "--model", _write(folder / "model.h5", damage(data)))
    return command._replace(seconds=SECONDS_WITH_TENSORFLOW)


def onnx(folder: Path, damage: Damage, rng: Rng) -> Command:
    (original,) = seeds.WEIGHTS.glob("face_detection_yunet_*.onnx")
    _write(folder / "face" / original.name, damage(original.read_bytes()))
    return _detect(folder, "--detector", "yunet", "--face", "face", "--model", MODEL)


def caffe(folder: Path, damage: Damage, rng: Rng) -> Command:
    originals = sorted(path for path in seeds.WEIGHTS.iterdir() if path.suffix in (".prototxt", ".caffemodel"))
    chosen = int(rng.integers(2))
    for i, original in enumerate(originals):
        data = original.read_bytes()
        is_text = original.suffix == ".prototxt"
        _write(folder / "face" / original.name, damage(data, is_text=is_text) if i == chosen else data)
    return _detect(folder, "--detector", "caffe", "--face", "face", "--model", MODEL)


def voc(folder: Path, damage: Damage, rng: Rng) -> Command:
    return _annotated(folder, {"photo.xml": damage(seeds.voc(), is_text=True)}, rng)


def yolo(folder: Path, damage: Damage, rng: Rng) -> Command:
    list_name, class_list = _one_of(seeds.class_lists(), rng)
    files = {"photo.txt": seeds.yolo(), list_name: class_list}
    chosen = ("photo.txt", list_name)[rng.integers(2)]
    return _annotated(folder, {**files, chosen: damage(files[chosen], is_text=True)}, rng)


def split(folder: Path, damage: Damage, rng: Rng) -> Command:
    for number, name in enumerate(seeds.CLASS_NAMES):
        for i in range(IMAGES_A_CLASS):
            _write(folder / "set" / name / f"{i}.jpg", _noise(IMAGES_A_CLASS * number + i))
    file = _write(folder / "split.json", damage(seeds.split(IMAGES_A_CLASS), is_text=True))
    return Command(_train_but_for_learning, ["--dataset", "set", "--split-file", file, "--model", "model.h5"])


KINDS = {image: 44, video: 14, tflite: 8, h5: 2, onnx: 5, caffe: 5, voc: 9, yolo: 9, split: 4}  # cases in a hundred


@functools.cache
def _images() -> dict[str, bytes]:
    return seeds.images(seeds.portrait())


@functools.cache
def _videos() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return seeds.videos(seeds.portrait(), Path(folder))


@functools.cache
def _h5_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in seeds.FIXTURES.glob("classic_*.model")}


def _noise(number: int) -> bytes:
    return seeds.encoded(".jpg", np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8))


def _one_of(files: Iterable[tuple[str, bytes]], rng: Rng) -> tuple[str, bytes]:
    files = list(files)
    return files[rng.integers(len(files))]


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _detect(folder: Path, *stages: object) -> Command:
    photo = _write(folder / "photo.png", _images()["colour.png"])
    outputs = ["--output", "annotated.jpg", "--json", "seen.jsonl", "--no-display"]
    return Command(detect_mask_image.main, ["--image", photo, *outputs, *stages])


def _annotated(folder: Path, files: dict[str, bytes], rng: Rng) -> Command:
    _write(folder / "street" / "images" / "photo.png", _images()["colour.png"])
    for name, data in files.items():
        _write(folder / "street" / "annotations" / name, data)
    if rng.random() < 0.5:
        return Command(crop_faces.main, ["street", "out", "--jitter", 1, "--background", 1])
    options = ["--images", "street/images", "--annotations", "street/annotations", "--json", "figures.json"]
    return Command(evaluate.main, [*options, *QUICK_STAGES])


def _train_but_for_learning(argv: Sequence[str]) -> int:
    with mock.patch("mask_detection.training.run.learn", side_effect=SystemExit(0)):
        return train_mask_detector.main(argv)


# --- running cases ---


def lay_out(kind: Kind, folder: Path, rng: Rng) -> tuple[Command, int]:
    """Write a case's files; return what to run, and how many times they were damaged."""
    n_times = TIMES_DAMAGED[rng.integers(len(TIMES_DAMAGED))]
    return kind(folder, functools.partial(damaged, n_times=n_times, rng=rng), rng), n_times


def faults(ended: forked.Ended, is_intact: bool, made: Sequence[Path], temporary: Path) -> list[str]:
    """What is wrong with a run.

    Args:
        ended: how it ended.
        is_intact: whether its input was not damaged.
        made: the files that it made.
        temporary: the folder of those that it should have deleted.
    """
    left = [path for path in made if ".part" in path.suffixes or temporary in path.parents]
    # TensorFlow clears its own away when Python ends, which a forked process skips.
    found = [f"{path}: was left behind" for path in left if not path.name.startswith("__autograph")]
    return cases.faults_of(ended, (0,) if is_intact else (0, 1, 2)) + found + broken(made)


def run_case(seed: int, number: int, kinds: Sequence[Kind], folder: Path) -> tuple[str, forked.Ended, list[str]]:
    """Run a case in an empty folder; return its kind, how the run ended, and what is wrong with it."""
    rng = np.random.default_rng((seed, number))
    kind = cases.one_kind({kind: KINDS[kind] for kind in kinds}, rng)
    command, n_times = lay_out(kind, folder, rng)
    given = set(folder.rglob("*"))
    ended = forked.run(command.main, command.argv, folder, PATIENCE * command.seconds, command.seconds)
    made = [path for path in folder.rglob("*") if path.is_file() and path not in given]
    return kind.__name__, ended, faults(ended, n_times == 0, made, folder / "tmp")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return cases.read_arguments(argv, __doc__ or "", KINDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    forked.warm_up()
    kinds = args.only
    if not seeds.WEIGHTS.is_dir():
        kinds = [kind for kind in kinds if kind not in (onnx, caffe)]
        print(f"{seeds.WEIGHTS}: is not there; onnx and caffe are left out")
    return cases.run_cases(run_case, kinds, args)


if __name__ == "__main__":
    sys.exit(main())
