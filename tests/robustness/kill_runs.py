"""Kill the scripts at random moments: what has its final name must be whole, and the work can be done again.

python -m tests.robustness.kill_runs --rounds 20 --seed 1
python -m tests.robustness.kill_runs --rounds 100 --only image video

A round kills a run with SIGKILL, looks at what it left, and then lets the same command, for training with --resume if
there is something to resume, run to its end, on top of what was left: it must end with status 0 and leave everything
that it should and nothing else. Exit status: 0 all rounds hold, 1 some don't.
"""

from __future__ import annotations

import argparse
import hashlib
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
from tests.robustness.wholeness import broken, full_lines

MAX_SECONDS = 900.0  # for a run that is not killed
N_IMAGES, N_FRAMES, N_TRAINING_IMAGES = 30, 40, 8
STAGES = ("--detector", "haar", "--model", forked.ROOT / "mask_detector.tflite", "--no-display")


@dataclass
class Scenario:
    """A command to be killed.

    Attributes:
        main: the script.
        argv: its command line.
        lay_out: writes its inputs into a folder.
        missing: says what a finished run has not left in the folder.
        seconds: how long a run takes, roughly at first, then as long as the last one took.
        can_resume: whether a killed run can be gone on with.
    """

    main: forked.Main
    argv: Sequence[object]
    lay_out: Callable[[Path], None]
    missing: Callable[[Path], list[str]]
    seconds: float = 2.0
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
    video = cv2.VideoCapture(str(folder / "annotated.mp4"))
    n_frames = 0
    while video.read()[0]:
        n_frames += 1
    n_lines = len(full_lines(folder / "seen.jsonl"))
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
        ["--source", "video.avi", "--output", "annotated.mp4", "--log", "seen.jsonl", *STAGES],
        lay_out_video,
        missing_frames,
    ),
}


# --- rounds ---


def kill_once(scenario: Scenario, folder: Path, rng: np.random.Generator) -> tuple[float, list[str]]:
    """Kill a run at a random moment; return the moment in seconds and what is wrong with what has its final name."""
    while True:
        ended = forked.run(scenario.main, scenario.argv, folder, rng.uniform(0, scenario.seconds))
        found = broken(outputs(folder))
        if ended.was_killed or found:
            return ended.seconds, found
        scenario.seconds = ended.seconds  # it had ended before


def finish(scenario: Scenario, folder: Path) -> list[str]:
    """Run the command again, to its end; return what is wrong."""
    resume = ["--resume"] if scenario.can_resume(folder) else []
    ended = forked.run(scenario.main, [*scenario.argv, *resume], folder, MAX_SECONDS)
    if not resume:
        scenario.seconds = ended.seconds
    if ended.status or ended.was_killed:
        return [f"the run after it: {ended.how}: {ended.errors.strip()}"]
    made = outputs(folder)
    left = [f"{path}: was left behind" for path in made if ".part" in path.suffixes]
    return [*left, *broken(made), *scenario.missing(folder)]


def outputs(folder: Path) -> list[Path]:
    """All files of a run's folder, but for what libraries keep outside of it."""
    outside = {folder / "tmp", folder / "cache"}
    return [path for path in folder.rglob("*") if path.is_file() and outside.isdisjoint(path.parents)]


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
