"""Runs of the real scripts for :mod:`tests.robustness.fuzz_outputs`: small inputs, and outputs that may be there."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import detect_mask_image
import detect_mask_video
from mask_detection.commands import evaluate
from tests.helpers.videos import write_video
from tests.robustness import forked
from tests.robustness import fuzz_seeds as seeds
from tests.robustness.wholeness import full_lines, n_frames_of

N_PHOTOS, N_FRAMES, N_OLD_FRAMES = 3, 12, 2
VIDEO_SUFFIXES = (".avi", ".mkv", ".mp4")
STAGES = ("--detector", "haar", "--model", forked.ROOT / "mask_detector.tflite")
OLD_LINE = b'{"is": "old"}\n'
OLD_CSV = b"frame,time_s\n0,0.0\n"

Rng = np.random.Generator


@dataclass
class Job:
    """A command to be run, and where its outputs are to go.

    Attributes:
        main: the script.
        folder: its inputs and outputs are here.
        outside: here is the run itself: standard output and error, temporary files.
        inputs: the arguments that name its inputs.
        an_input: one of its input files.
        outputs: its output files, and folders of them, by option.
        options: its other arguments.
        seconds: how long it takes, roughly.
        lines_option: the option of the output that is lines of JSON.
        targets: where the links lead that outputs are, by option.
        specials: the devices and pipes among the outputs, or behind links that are.
    """

    main: forked.Main
    folder: Path
    outside: Path
    inputs: Sequence[object]
    an_input: Path
    outputs: dict[str, Path]
    options: Sequence[object] = STAGES
    seconds: float = 0.4
    lines_option: str = "--json"
    targets: dict[str, Path] = field(default_factory=dict)
    specials: list[Path] = field(default_factory=list)

    @property
    def argv(self) -> list[object]:
        """The command line."""
        return [*self.inputs, *(word for pair in self.outputs.items() for word in pair), *self.options]

    def one_output(self, rng: Rng) -> tuple[str, Path]:
        """The option and the path of one output that is a file."""
        files = [(option, path) for option, path in self.outputs.items() if path.suffix]
        return files[rng.integers(len(files))]

    def follow(self, option: str, target: Path) -> None:
        """Remember where the link leads that an output is."""
        self.targets[option] = target

    def may_replace(self, path: Path) -> bool:
        """Tell whether a file is an output or lies in a folder that is one."""
        outputs = {*self.outputs.values(), *self.targets.values()}
        return not outputs.isdisjoint((path, *path.parents))

    def older(self, path: Path) -> bytes:
        """What an earlier run had written there."""
        return old_content(path.suffix)

    def missing(self) -> list[str]:
        """What a run that did all has not written."""
        found = []
        for option, path in self.outputs.items():
            if str(path) == "-" or path.resolve() in self.specials:
                continue
            place = self.targets.get(option, path)
            files = [*place.rglob("*.*g")] if place.is_dir() else [place]  # photos' PNGs, frames' JPEGs
            if not files or not all(file.is_file() for file in files):
                found.append(f"{place}: was not written")
            found += [f"{file}: is the old one" for file in files if file.is_file() and is_old(file)]
            if place.is_file() and place.suffix in VIDEO_SUFFIXES and (n := n_frames_of(place)) != N_FRAMES:
                found.append(f"{place}: has {n} frames")
            if place.suffix == ".jsonl" and (n := len(full_lines(place))) != self.n_lines:
                found.append(f"{place}: has {n} lines")
        return found

    @property
    def n_lines(self) -> int:
        """Of its list, when it is done."""
        return N_FRAMES if self.main is detect_mask_video.main else N_PHOTOS


def is_old(path: Path) -> bool:
    """Tell whether a file is what an earlier run had written."""
    return path.read_bytes() == old_content(path.suffix)


@functools.cache
def old_content(suffix: str) -> bytes:
    """What an earlier run had written."""
    if suffix in VIDEO_SUFFIXES:
        return _video(suffix, N_OLD_FRAMES)
    if suffix in (".json", ".jsonl"):
        return OLD_LINE
    return OLD_CSV if suffix == ".csv" else seeds.encoded(suffix, np.zeros((20, 20, 3), np.uint8))


@functools.cache
def _video(suffix: str, n_frames: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        frames = (np.roll(seeds.portrait(), 3 * i, axis=1) for i in range(n_frames))
        return write_video(Path(folder, f"video{suffix}"), frames).read_bytes()


# --- what is run ---


def photos(folder: Path, outside: Path, rng: Rng) -> Job:
    """Photos of a folder."""
    for i in range(N_PHOTOS):
        _write(folder / "photos" / f"{i}.png", seeds.encoded(".png", np.roll(seeds.portrait(), i, axis=1)))
    outputs = {"--output": folder / "out", "--json": folder / "seen.jsonl"}
    an_input = folder / "photos" / "0.png"
    options = ["--no-display", *STAGES]
    return Job(detect_mask_image.main, folder, outside, ["--image", an_input.parent], an_input, outputs, options)


def video(folder: Path, outside: Path, rng: Rng) -> Job:
    """A video, with all that it can write."""
    an_input = _write(folder / "source.avi", _video(".avi", N_FRAMES))
    outputs = {
        "--output": folder / f"annotated{VIDEO_SUFFIXES[rng.integers(len(VIDEO_SUFFIXES))]}",
        "--log": folder / ("seen.jsonl", "seen.csv")[rng.integers(2)],
        "--summary": folder / "summary.json",
    }
    options = ["--no-display", *STAGES]
    if rng.random() < 0.5:
        options += ["--alert-command", "true", "--alert-after", 0, "--alert-class", *seeds.CLASS_NAMES]
    inputs = ["--source", an_input]
    return Job(detect_mask_video.main, folder, outside, inputs, an_input, outputs, options, lines_option="--log")


def figures(folder: Path, outside: Path, rng: Rng) -> Job:
    """What is measured on annotated photos."""
    an_input = _write(folder / "images" / "photo.png", seeds.encoded(".png", seeds.portrait()))
    _write(folder / "annotations" / "photo.xml", seeds.voc())
    inputs = ["--images", an_input.parent, "--annotations", folder / "annotations"]
    return Job(evaluate.main, folder, outside, inputs, an_input, {"--json": folder / "figures.json"})


JOBS: dict[Callable[[Path, Path, Rng], Job], int] = {photos: 30, video: 60, figures: 10}  # cases in a hundred


def lay_out(kind: Callable[[Path, Path, Rng], Job], folder: Path, rng: Rng) -> Job:
    """Write a job's inputs, and at random what earlier runs have left."""
    for name in ("files", "run"):
        (folder / name).mkdir()
    job = kind(folder / "files", folder / "run", rng)
    for path in job.outputs.values():
        if rng.random() < 0.5:
            old = path if path.suffix else path / "0.png"
            _write(old, old_content(old.suffix))
        if path.suffix and rng.random() < 0.3:
            _write(path.with_name(f"{path.stem}.recovered-1{path.suffix}"), old_content(path.suffix))
        if path.suffix and path.name != "summary.json" and rng.random() < 0.3:
            _write(path.with_name(f"{path.stem}.0a1b2c3d.part{path.suffix}"), old_content(path.suffix))
    return job


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
