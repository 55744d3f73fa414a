"""Kill the scripts at random moments: what has its final name must be whole, and the work can be done again.

python -m tests.robustness.kill_runs --rounds 20 --seed 1
python -m tests.robustness.kill_runs --rounds 100 --only image video

A round kills a run with SIGKILL, looks at what it left, and then lets the same command, for training with --resume if
there is something to resume, run to its end, on top of what was left: it must end with status 0 and leave everything
that it should, recovered files of the killed run, those of earlier ones as they were, and nothing else. Exit status: 0
all rounds hold, 1 some don't.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.robustness import forked

# isort: split
import cv2
import numpy as np

import detect_mask_image
import detect_mask_video
import train_mask_detector
from mask_detection.commands import prepare
from mask_detection.models.tflite import read_metadata
from tests.helpers.videos import write_video
from tests.robustness import fuzz_seeds as seeds
from tests.robustness.wholeness import broken, full_lines, n_frames_of

GROWING_PART = re.compile(r"\.[0-9a-f]{8}\.part\.")
RECOVERED = re.compile(r"\.recovered-\d+\.")
MAX_SECONDS = 900.0  # for a run that is not killed
N_IMAGES, N_FRAMES, N_TRAINING_IMAGES = 30, 40, 8
MAX_BUFFERED = 20  # frames that a kill may cost a video: FFmpeg writes so many of these at a time
STAGES = ("--detector", "haar", "--model", forked.ROOT / "mask_detector.tflite", "--no-display")


@dataclass
class Scenario:
    """A command to be killed.

    Attributes:
        main: the script.
        argv: its command line.
        lay_out: writes its inputs into a folder.
        missing: says what a finished run has not left in the folder.
        lost: says what a killed run has not left there.
        seconds: how long a run takes, roughly at first, then as long as the last one took.
        can_resume: whether a killed run can be gone on with.
    """

    main: forked.Main
    argv: Sequence[object]
    lay_out: Callable[[Path], None]
    missing: Callable[[Path], list[str]]
    seconds: float = 2.0
    lost: Callable[[Path], list[str]] = lambda folder: []
    can_resume: Callable[[Path], bool] = lambda folder: False


# --- what is run ---


def lay_out_photos(folder: Path) -> None:
    picture = seeds.portrait()
    for i in range(N_IMAGES):
        _write(folder / "photos" / f"class_{i % 2}" / f"{i}.png", np.roll(picture, i, axis=1))


def lay_out_video(folder: Path) -> None:
    picture = cv2.resize(seeds.portrait(), None, fx=2, fy=2)
    write_video(folder / "video.avi", (np.roll(picture, i, axis=1) for i in range(N_FRAMES)))


def lay_out_dataset(folder: Path) -> None:
    for i in range(2 * N_TRAINING_IMAGES):
        noise = np.random.default_rng(i).integers(0, 256, (6, 6, 3), np.uint8)
        _write(folder / "set" / seeds.CLASS_NAMES[i % 2] / f"{i}.png", cv2.resize(noise, (48, 48)))


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


# --- what a finished run has left ---


def missing_photos(folder: Path) -> list[str]:
    n_photos, n_lines = len(list((folder / "out").rglob("*.png"))), len(full_lines(folder / "seen.jsonl"))
    return [] if n_photos == n_lines == N_IMAGES else [f"{n_photos} photos, {n_lines} lines"]


def missing_frames(folder: Path) -> list[str]:
    n_frames, n_lines = n_frames_of(folder / "annotated.avi"), len(full_lines(folder / "seen.jsonl"))
    return [] if n_frames == n_lines == N_FRAMES else [f"{n_frames} frames, {n_lines} lines"]


def missing_crops(folder: Path) -> list[str]:
    n_crops, has_list = len(list((folder / "out").rglob("*.jpg"))), (folder / "out" / "left_out.csv").exists()
    return [] if has_list and n_crops == N_IMAGES else [f"{n_crops} images"]


def missing_model_parts(folder: Path) -> list[str]:
    names = ("model.h5", "model.tflite", "plot.png", "report.json", "split.json")
    if absent := [name for name in names if not (folder / name).exists()]:
        return [f"{name}: is missing" for name in absent]
    metadata = read_metadata(folder / "model.tflite", (folder / "model.tflite").read_bytes())
    source = hashlib.sha256((folder / "model.h5").read_bytes()).hexdigest()
    is_export = metadata and metadata.source_sha256 == source
    left = ["model.training: was left behind"] if (folder / "model.training").exists() else []
    return left if is_export else [*left, "model.tflite: is of another model"]


# --- what a killed run has left ---


def lost_frames(folder: Path) -> list[str]:
    """Each frame that has its line in the log is in the video's part file, but for the last ones."""
    found = []
    for path in folder.glob("annotated.*.part.avi"):
        if path.stat().st_size:  # so that its run has begun the log anew
            n_frames, n_lines = n_frames_of(path), len(full_lines(folder / "seen.jsonl"))
            found += [f"{path}: {n_frames} frames, {n_lines} lines"] if n_frames < n_lines - MAX_BUFFERED else []
    return found


def evidence(folder: Path) -> dict[Path, bytes]:
    """The growing outputs of the killed run, as far as they got, and the recovered files of earlier ones."""
    found = {path: path.read_bytes() for path in outputs(folder) if RECOVERED.search(path.name)}
    parts = (path for path in outputs(folder) if GROWING_PART.search(path.name))
    return {path: data for path in parts if (data := path.read_bytes())} | found


def not_recovered(left: dict[Path, bytes], folder: Path) -> list[str]:
    """What a killed run had left, and the run after it has not kept."""
    now = {path: path.read_bytes() for path in outputs(folder) if RECOVERED.search(path.name)}
    new = [data for path, data in now.items() if path not in left]
    found = []
    for path, data in left.items():
        if RECOVERED.search(path.name):
            is_kept = now.get(path) == data
        else:  # of lines, the whole ones
            is_kept = (data[: data.rfind(b"\n") + 1] or data if path.suffix == ".jsonl" else data) in new
        if not is_kept:
            found.append(f"{path}: is not kept as a recovered file")
    return found


def _train(*options: object) -> Scenario:
    files = ("--dataset", "set", "--model", "model.h5", "--split-file", "split.json")
    sizes = ("--init", forked.ROOT / "mask_detector.h5", "--image-size", 32, "--epochs", 3, "--views", 1)
    return Scenario(
        train_mask_detector.main,
        [*files, *sizes, *options],
        lay_out_dataset,
        missing_model_parts,
        seconds=15.0,
        can_resume=lambda folder: (folder / "model.training" / "run.json").exists(),
    )


SCENARIOS = {
    "training": _train(),
    "fine_tuning": _train("--fine-tune", 2),
    "prepare": Scenario(prepare.main, ["photos", "out"], lay_out_photos, missing_crops),
    "image": Scenario(
        detect_mask_image.main,
        ["--image", "photos", "--output", "out", "--json", "seen.jsonl", *STAGES],
        lay_out_photos,
        missing_photos,
    ),
    "video": Scenario(
        detect_mask_video.main,
        ["--source", "video.avi", "--output", "annotated.avi", "--log", "seen.jsonl", *STAGES],
        lay_out_video,
        missing_frames,
        lost=lost_frames,
    ),
}


# --- rounds ---


def kill_once(scenario: Scenario, folder: Path, rng: np.random.Generator) -> tuple[float, list[str]]:
    """Kill a run at a random moment; return the moment in seconds and what is wrong with what has its final name."""
    while True:
        ended = forked.run(scenario.main, scenario.argv, folder, rng.uniform(0, scenario.seconds))
        found = [*broken(finished(folder)), *scenario.lost(folder)]
        if ended.was_killed or found:
            return ended.seconds, found
        scenario.seconds = ended.seconds  # it had ended before


def finish(scenario: Scenario, folder: Path) -> list[str]:
    """Run the command again, to its end; return what is wrong."""
    resume = ["--resume"] if scenario.can_resume(folder) else []
    left = evidence(folder)
    ended = forked.run(scenario.main, [*scenario.argv, *resume], folder, MAX_SECONDS)
    if not resume:
        scenario.seconds = ended.seconds
    if ended.status or ended.was_killed:
        return [f"the run after it: {ended.how}: {ended.errors.strip()}"]
    behind = [f"{path}: was left behind" for path in outputs(folder) if ".part" in path.suffixes]
    return [*behind, *broken(finished(folder)), *not_recovered(left, folder), *scenario.missing(folder)]


def outputs(folder: Path) -> list[Path]:
    """All files of a run's folder, but for what libraries keep outside of it."""
    outside = {folder / "tmp", folder / "cache"}
    return [path for path in folder.rglob("*") if path.is_file() and outside.isdisjoint(path.parents)]


def finished(folder: Path) -> list[Path]:
    """Those that must be whole; of a video that was killed, :func:`lost_frames` tells as much as can be told."""
    return [path for path in outputs(folder) if not (RECOVERED.search(path.name) and path.suffix == ".avi")]


def run_rounds(name: str, n_rounds: int, seed: int) -> int:
    """Kill one scenario's runs; print what is wrong; return in how many rounds something was."""
    scenario, rng, n_failed = SCENARIOS[name], np.random.default_rng((seed, *name.encode())), 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"kill_{name}_") as folder_name:
        folder = Path(folder_name)
        scenario.lay_out(folder)
        for number in range(n_rounds):
            moment, found = kill_once(scenario, folder, rng)
            found += finish(scenario, folder)
            n_failed += bool(found)
            for fault in found:
                print(f"{name}, round {number}, killed after {moment:.2f} s: {fault}", flush=True)
    print(f"{name}: killed {n_rounds} times, {n_failed} failed ({time.monotonic() - started:.0f} s)", flush=True)
    return n_failed


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="kills of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides the moments (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=[*SCENARIOS], help="only these scripts")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    forked.warm_up()
    return 1 if sum(run_rounds(name, args.rounds, args.seed) for name in args.only) else 0


if __name__ == "__main__":
    sys.exit(main())
