"""Spoil outputs while the scripts write them: whatever was complete before can be played or parsed after it.

python -m tests.robustness.fuzz_outputs --cases 500 --seed 1
python -m tests.robustness.fuzz_outputs --case 123 --seed 1                  # that one again, and what it printed
python -m tests.robustness.fuzz_outputs --cases 100 --only full_disk two_runs

A case lays out inputs, and at random older outputs, recovered files and part files of a killed run; then it runs one of
the real scripts on them with something in its way, at random and at a random moment. It holds if the run ends by itself
and in time, with a status that it may have, a line where it is not 0, and no traceback; if inputs are as they were,
older outputs as they were or replaced by whole ones, and the part files of the killed run there still or kept as
recovered files; and if all that was made is whole, with nothing left behind. The files of a case that doesn't hold are
kept. Exit status: 0 all cases hold, 1 some don't.
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.robustness import forked

# isort: split
import numpy as np

from tests.robustness import cases
from tests.robustness.jobs import JOBS, Job, lay_out
from tests.robustness.wholeness import broken, full_lines, n_frames_of

SECONDS = 20.0  # on processors
PATIENCE = 4  # times as many may pass by the clock, as the machine may have other work
READER_S = 1.0  # it has what it takes by then
ANY = (0, 1, 2)
ROOM = 100_000  # bytes, about as many as the largest output has
SHORTEST_COMPLAINT = 1000  # bytes that a disk must take, or there may be no room for the line that tells why

Rng = np.random.Generator


@dataclass
class Plan:
    """What is to happen to a job.

    Attributes:
        statuses: how it may end.
        fault: happens in the running process after so many seconds.
        moment: these seconds.
        reader: reads what the run writes into a pipe, and leaves early.
        second_after: seconds until the same command is started once more; None for never.
        can_complain: whether standard error takes a line.
    """

    statuses: Sequence[int] = ANY
    fault: Callable[[], object] | None = None
    moment: float = 0.0
    reader: subprocess.Popen[bytes] | None = None
    second_after: float | None = None
    can_complain: bool = True


Kind = Callable[[Job, Rng], Plan]


# --- a function for each kind of fault: it changes the job, and says what is to happen to it ---


def full_disk(job: Job, rng: Rng) -> Plan:
    """From some moment on, no file grows beyond so many bytes."""
    room = int(np.exp(rng.uniform(0, np.log(ROOM))))

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, forked.MAX_FILE_BYTES))

    return Plan(fault=fill, moment=_moment(job, rng), can_complain=room > SHORTEST_COMPLAINT)


def full_temporary_folder(job: Job, rng: Rng) -> Plan:
    """From some moment on, the temporary folder takes no file."""
    if rng.random() < 0.4:  # what goes into a device is made there first
        _into_device(job, rng, "null")

    def fill() -> None:
        sys.addaudithook(_refuse_temporary)

    return Plan(ANY if job.specials else (0,), fill, _moment(job, rng))


def _refuse_temporary(event: str, arguments: tuple[object, ...]) -> None:
    if event not in ("open", "os.mkdir") or not str(arguments[0]).startswith(str(tempfile.tempdir)):
        return
    if event == "os.mkdir" or int(arguments[2]) & (os.O_CREAT | os.O_TMPFILE):  # type: ignore[call-overload]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))


def two_runs(job: Job, rng: Rng) -> Plan:
    """The same command again, while the first one runs or just after it."""
    return Plan((0, 2), second_after=_moment(job, rng))


def device(job: Job, rng: Rng) -> Plan:
    """Some output is a device, or a link to one."""
    name = ("null", "full")[rng.integers(2)]
    _into_device(job, rng, name)
    return Plan((0,) if name == "null" else (0, 1, 2))


def pipe(job: Job, rng: Rng) -> Plan:
    """Standard output or a named pipe takes the lines, and its reader leaves after some of them."""
    fifo = job.outside / "stdout.txt"
    option = job.lines_option
    if rng.random() < 0.5:
        job.outputs[option] = Path("-")
    else:
        job.outputs[option] = fifo = job.folder / "lines.jsonl"
    os.mkfifo(fifo)
    job.specials.append(fifo)
    n_bytes = int(np.exp(rng.uniform(0, np.log(ROOM))))
    with (job.outside / "read.jsonl").open("wb") as taken:
        reader = subprocess.Popen(["head", "-c", str(n_bytes), fifo], stdout=taken)  # noqa: S607 (wherever it is)
    return Plan(reader=reader, can_complain=fifo.parent == job.folder)  # as under `| head`; not of `-`


def link(job: Job, rng: Rng) -> Plan:
    """Some output is a link: to an older file, to nothing, to itself or to an input, or an input's second name."""
    option, path = job.one_output(rng)
    target = job.folder / f"kept{path.suffix}"
    path.unlink(missing_ok=True)
    how = rng.integers(5)
    if how == 0:
        target.write_bytes(job.older(path))
        path.symlink_to(target.name)
        job.follow(option, target)
    elif how == 1:
        path.symlink_to(target.name)
        job.follow(option, target)
    elif how == 2:
        path.symlink_to(path.name)
        return Plan(ANY)  # a log cannot be opened there; of others, the loop gives way
    else:
        (path.symlink_to if how == 3 else path.hardlink_to)(job.an_input)
        return Plan((2,))
    return Plan((0,))


def unwritable(job: Job, rng: Rng) -> Plan:
    """Some output cannot be there: its name is a folder's or too long, or its folder is missing or a file."""
    option, path = job.one_output(rng)
    how = rng.integers(4)
    if how == 0:
        path.unlink(missing_ok=True)
        path.mkdir()
        return Plan(ANY)  # photos and frames go into folders
    names = ("a" * 300 + path.suffix, f"missing/{path.name}", f"{job.an_input.name}/{path.name}")
    job.outputs[option] = path.with_name(names[how - 1]) if how == 1 else job.folder / names[how - 1]
    return Plan(ANY)  # folders of photos are made


KINDS: dict[Kind, int] = {  # cases in a hundred
    **{full_disk: 30, full_temporary_folder: 12, two_runs: 20},
    **{device: 12, pipe: 10, link: 10, unwritable: 6},
}


def _moment(job: Job, rng: Rng) -> float:
    return 0.0 if rng.random() < 0.2 else rng.uniform(0, 1.2 * job.seconds)


def _into_device(job: Job, rng: Rng, name: str) -> None:
    option, path = job.one_output(rng)
    path.unlink(missing_ok=True)
    if path.suffix in (".avi", ".mkv", ".mp4"):  # which FFmpeg alone writes, and whether it can is not ours
        option, path = job.lines_option, job.outputs[job.lines_option]
        path.unlink(missing_ok=True)
    node = job.outside / name
    try:  # of its own: a fault would replace the machine's
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, {"null": 3, "full": 7}[name]))
    except PermissionError:  # the machine's can be replaced by nobody but those who make some
        node = Path("/dev", name)
    job.specials.append(node)
    job.outputs[option] = node
    if rng.random() < 0.5:
        path.symlink_to(node)
        job.outputs[option] = path


# --- running cases ---


@dataclass
class Before:
    """The files before a run, by path."""

    files: dict[Path, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Before:
        return cls({path: path.read_bytes() for path in _regular(folder)})


def _regular(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_symlink() and path.is_file())


def lost(job: Job, before: Before) -> list[str]:
    """What was there before a run and is not there after it, or is not whole."""
    now = Before.of(job.folder).files
    made = [path for path in now if path not in before.files]
    recovered = [now[path] for path in now if ".recovered-" in path.name]
    found = []
    for path, data in before.files.items():
        if ".part" in path.suffixes:
            if now.get(path) != data and data not in recovered:
                found.append(f"{path}: the part file of a killed run is lost")
        elif job.may_replace(path):
            if path not in now:
                found.append(f"{path}: an older output is gone")
        elif now.get(path) != data:
            found.append(f"{path}: was changed, and is no output")
    found += [f"{path}: was left behind" for path in made if ".part" in path.suffixes]
    return found + broken(path for path in now if now[path] != before.files.get(path))


@contextmanager
def at_a_moment(plan: Plan) -> Iterator[None]:
    """Let a fault happen in this process after a while."""
    if plan.fault and plan.moment:
        signal.signal(signal.SIGALRM, lambda *_: plan.fault())
        signal.setitimer(signal.ITIMER_REAL, plan.moment)
    elif plan.fault:
        plan.fault()
    yield


def run_job(job: Job, plan: Plan) -> list[forked.Ended]:
    """Run it, once or twice."""

    def main(argv: Sequence[str]) -> int:
        with at_a_moment(plan):
            return job.main(argv)

    running = [forked.start(main, job.argv, job.outside, SECONDS)]
    if plan.second_after is not None:
        running[0].process.join(plan.second_after)
        other = job.outside / "second"
        other.mkdir()
        running.append(forked.start(job.main, job.argv, other, SECONDS))
    return [forked.finish(run, PATIENCE * SECONDS) for run in running]


def faults(job: Job, plan: Plan, before: Before, ends: Sequence[forked.Ended]) -> list[str]:
    """What is wrong after the runs of a case."""
    found = lost(job, before)
    found += [f"{path}: was replaced" for path in job.specials if path.is_file()]
    for ended in ends:
        found += cases.faults_of(ended, plan.statuses, plan.can_complain)
    if len(ends) > 1 and all(ended.status for ended in ends):
        found.append("of two runs none was done")
    if all(ended.status == 0 for ended in ends) and not plan.reader:
        found += job.missing()
    if plan.reader:
        found += _frames_missing(job)
    temporary = [path for folder in ("tmp", "second/tmp") for path in (job.outside / folder).rglob("*")]
    return found + [f"{path}: was left behind" for path in temporary]


def _frames_missing(job: Job) -> list[str]:
    """Each frame whose line somebody has read must be in the video, whatever came after it."""
    video = job.outputs.get("--output")
    if video is None or video.suffix not in (".avi", ".mkv", ".mp4"):
        return []
    n_lines = len(full_lines(job.outside / "read.jsonl"))
    n_frames = n_frames_of(video) if video.exists() and video.stat().st_size else 0
    return [f"{video}: {n_frames} frames, but {n_lines} lines were read"] if n_frames < n_lines else []


def run_case(seed: int, number: int, kinds: Sequence[Kind], folder: Path) -> tuple[str, forked.Ended, list[str]]:
    """Run a case in an empty folder; return its kind, how the run ended, and what is wrong with it."""
    rng = np.random.default_rng((seed, number))
    kind = cases.one_kind({kind: KINDS[kind] for kind in kinds}, rng)
    job = lay_out(cases.one_kind(JOBS, rng), folder, rng)
    plan = kind(job, rng)
    before = Before.of(job.folder)
    ends = run_job(job, plan)
    if plan.reader:
        with suppress(subprocess.TimeoutExpired):
            plan.reader.wait(READER_S)
        plan.reader.kill()  # where nobody has opened its pipe
        plan.reader.wait()
    return kind.__name__, ends[0], faults(job, plan, before, ends)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return cases.read_arguments(argv, __doc__ or "", KINDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    forked.warm_up()
    return cases.run_cases(run_case, args.only, args)


if __name__ == "__main__":
    sys.exit(main())
