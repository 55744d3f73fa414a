"""Four cameras on loopback, 720p at 25 frames a second: is the time shared fairly, and is all well after hours.

python -m tests.robustness.many_streams share --seconds 60
python -m tests.robustness.many_streams soak --minutes 30 --disk /mnt/small

``share`` runs one camera that is faster than the detector, then four of them, and compares frames, processor time and
memory. ``soak`` runs three cameras, of which one restarts every minute, with segments, clips, statistics and retention;
halfway, the disk, a small file system such as ``mount -t tmpfs -o size=64m tmpfs /mnt/small``, is full for a minute.
Memory has to stay flat, no thread, socket or file may pile up, and whatever was recorded has to play. Linux only.
Exit status: 0 all holds, 1 something doesn't.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tests.helpers.paths import ROOT

FIRST_PORT = 8801
WARM_UP_S = 15.0
END_S = 5.0  # after SIGTERM
MIB = 1 << 20


class Sample(NamedTuple):
    """What a process holds at a moment."""

    mib: float
    threads: int
    sockets: int
    files: int


class Shares(NamedTuple):
    """How a run used its time: frames of each source, and what the process needed."""

    frames: Counter[str]
    seconds: float
    cpu_s: float
    peak_mib: float

    def __str__(self) -> str:
        each = ", ".join(f"{name} {n / self.seconds:.1f}" for name, n in sorted(self.frames.items()))
        total = self.frames.total()
        rates = f"total {total / self.seconds:.1f}; {total / self.cpu_s:.1f} a second of processor time"
        return f"frames/s: {each}; {rates}; peak {self.peak_mib:.0f} MiB"


@contextmanager
def cameras(n: int, rate: float, *options: str) -> Iterator[list[str]]:
    """Run cameras in processes of their own; the options are those of the last one."""
    words = [[str(FIRST_PORT + i), "--rate", str(rate), *(options if i == n - 1 else ())] for i in range(n)]
    command = [sys.executable, "-m", "tests.robustness.paced_stream", "--port"]
    processes = [subprocess.Popen([*command, *each], cwd=ROOT) for each in words]
    try:
        yield [f"http://127.0.0.1:{FIRST_PORT + i}/camera" for i in range(n)]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def run(*words: object) -> Iterator[subprocess.Popen]:
    """Run the video script; at the end, SIGTERM has to end it in time."""
    script = [sys.executable, str(ROOT / "detect_mask_video.py"), "--no-display", "--timeout", "60", *map(str, words)]
    process = subprocess.Popen(script, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        try:
            process.wait(60)
        finally:
            process.kill()
        print(f"ended {time.monotonic() - started:.1f} s after SIGTERM with status {process.returncode}", flush=True)


def measure(addresses: Sequence[str], seconds: float, *options: object) -> Shares:
    """Run on these cameras, and count what comes after the first seconds."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "seen.jsonl")
        names = [f"camera{i}" for i in range(len(addresses))]
        with run("--source", *addresses, "--name", *names, "--log", log, *options) as process:
            while not log.exists() or not log.stat().st_size:
                time.sleep(0.5)
            time.sleep(WARM_UP_S)
            first, started, before = log.stat().st_size, time.monotonic(), cpu_seconds(process.pid)
            time.sleep(seconds)
            last, lasted, after = log.stat().st_size, time.monotonic() - started, cpu_seconds(process.pid)
            peak = status_of(process.pid, "VmHWM") / 1024
        with log.open("rb") as file:
            file.seek(first)
            lines = file.read(last - first).splitlines()[1:-1]
    frames = Counter(json.loads(line)["source"] for line in lines)
    return Shares(frames, lasted, after - before, peak)


def share(seconds: float, rate: float, options: Sequence[str]) -> bool:
    """Compare four cameras with one that is faster than the detector."""
    with cameras(1, 4 * rate) as addresses:
        one = measure(addresses, seconds, *options)
    print(f"one camera at {4 * rate:g} frames/s: {one}", flush=True)
    with cameras(4, rate) as addresses:
        four = measure(addresses, seconds, *options)
    print(f"four cameras at {rate:g} frames/s: {four}", flush=True)
    unfairness = max(four.frames.values()) / max(1, min(four.frames.values())) - 1
    total = (four.frames.total() / four.seconds) / (one.frames.total() / one.seconds)
    per_cpu = (four.frames.total() / four.cpu_s) / (one.frames.total() / one.cpu_s)
    memory = four.peak_mib / one.peak_mib
    print(f"fair within {unfairness:.0%}, total {total:.2f} ({per_cpu:.2f} by processor time), memory {memory:.2f}")
    return len(four.frames) == 4 and unfairness <= 0.2 and max(total, per_cpu) >= 0.9 and memory <= 1.5


def status_of(pid: int, name: str) -> int:
    """A number of ``/proc``'s status of a process; memory in KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{name}:")[1].split()[0])


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sample(pid: int) -> Sample:
    """Look at a process."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(link.readlink()))
    n_sockets = sum(link.startswith("socket:") for link in links)
    return Sample(status_of(pid, "VmRSS") / 1024, status_of(pid, "Threads"), n_sockets, len(links))


def soak(minutes: float, disk: Path | None, options: Sequence[str]) -> bool:
    """Run for long, with faults; tell whether all is well."""
    with tempfile.TemporaryDirectory() as folder, cameras(3, 25.0, "--up", "50", "--down", "8") as addresses:
        place = disk or Path(folder)
        words = [
            *("--source", *addresses, "--name", "front", "back", "shaky", "--output", place / "{source}.mkv"),
            *("--log", place / "{source}.jsonl", "--statistics", Path(folder, "counts.csv"), "--interval", "1m"),
            *("--segment", "20s", "--keep", "30MB", "--clips", place / "clips", "--alert-after", "2s"),
            *("--alert-cooldown", "20s", "--clip-after", "4s", "--blur-faces"),
            *options,
        ]
        samples, filler = [], place / "filler"
        with run(*words) as process:
            started = time.monotonic()
            while (passed := time.monotonic() - started) < 60 * minutes and process.poll() is None:
                time.sleep(5)
                is_full = disk is not None and 0.5 <= passed / 60 / minutes < 0.5 + 1 / minutes
                if is_full and not filler.exists():
                    fill(filler)
                elif not is_full:
                    filler.unlink(missing_ok=True)
                if passed > 60:
                    samples.append(sample(process.pid))
        lines = (process.stderr.read() if process.stderr else "").splitlines()
        counted = Path(folder, "counts.csv").read_text().splitlines()
        print(f"{len(counted)} lines of statistics; {len(lines)} lines on standard error", flush=True)
        return is_flat(samples) & all_play(place) & (not any("Traceback" in line for line in lines))


def fill(path: Path) -> None:
    """Take all room that a disk has."""
    print("the disk is full now", flush=True)
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * MIB)
        except OSError:
            pass


def is_flat(samples: Sequence[Sample]) -> bool:
    """Compare the last quarter with the second one."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    first, last = (Sample(*(max(column) for column in zip(*part, strict=True))) for part in (early, late))
    tenths = np.array_split([each.mib for each in samples], 10)
    print("MiB, mean of each tenth:", *(f"{part.mean():.0f}" for part in tenths if len(part)), flush=True)
    print(f"second quarter, at most: {first}\nlast quarter, at most:   {last}", flush=True)
    grown = last.mib > 1.1 * first.mib + 20
    return not grown and all(now <= before + 4 for before, now in zip(first[1:], last[1:], strict=True))


def all_play(place: Path) -> bool:
    """Play every recording to its end; tell whether each gives all frames that it announces."""
    videos = [path for path in place.rglob("*.mkv") if not path.name.startswith(".")]
    broken = [path.name for path in videos if ".part." in path.name or not plays(path)]
    print(f"{len(videos)} recordings, {sum(path.stat().st_size for path in videos) / MIB:.1f} MiB; broken: {broken}")
    return bool(videos) and not broken


def plays(path: Path) -> bool:
    """Tell whether a video gives frames, and about as many as it announces where it was finished."""
    capture = cv2.VideoCapture(str(path))
    announced, n_frames = capture.get(cv2.CAP_PROP_FRAME_COUNT), 0
    while capture.grab():
        n_frames += 1
    is_whole = abs(n_frames - announced) <= 1 + 0.1 * announced
    return n_frames > 0 and (is_whole or ".recovered-" in path.name)


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Read the command line; what is left are options of the video script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("share", "soak"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=25.0, help="of each camera; less where the machine is busy")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--disk", type=Path, help="folder on a small file system, to be full for a while")
    return parser.parse_known_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the two."""
    args, options = parse_arguments(argv)
    run_it = {
        "share": lambda: share(args.seconds, args.rate, options),
        "soak": lambda: soak(args.minutes, args.disk, options),
    }
    holds = run_it[args.what]()
    print("all holds" if holds else "SOMETHING DOES NOT HOLD")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
