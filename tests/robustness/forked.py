"""Running a script's main(argv) in a process of its own, forked from one that has imported the libraries already.

That takes milliseconds instead of seconds, and nothing that a run does to itself reaches the next one. The parent must
have started no thread: a forked child has only the one that forked it, and would wait for the others for ever. So this
module is to be imported before any other.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.helpers.paths import ROOT

MAX_ADDRESSES = 16 << 30  # bytes; TensorFlow alone takes several GiB of them
MAX_FILE_BYTES = 1 << 30

sys.path.insert(0, str(ROOT))
# Libraries look at these once, when they are imported: no threads, and the log levels that the scripts set.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OPENCV_LOG_LEVEL="OFF", OPENCV_FFMPEG_LOGLEVEL="-8")
os.environ["JE_ARROW_MALLOC_CONF"] = (
    "background_thread:false"  # of the Arrow library, which pandas imports if it is there
)

Main = Callable[[Sequence[str]], int]


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
        status: its exit status, or minus the signal that ended it.
        errors: what it wrote to standard error.
        seconds: how long it took.
        was_killed: whether it was still running when its time was over.
    """

    status: int
    errors: str
    seconds: float
    was_killed: bool

    @property
    def how(self) -> str:
        if self.was_killed:
            return f"still running after {self.seconds:.1f} s"
        return f"ended by {signal.Signals(-self.status).name}" if self.status < 0 else f"status {self.status}"


def warm_up() -> None:
    """Import what the scripts import, but for TensorFlow."""
    import cv2
    from tqdm import tqdm

    import mask_detection.data.face_crops
    import mask_detection.data.splits
    import mask_detection.evaluation.evaluator
    import mask_detection.io.writers
    import mask_detection.models.convert  # noqa: F401
    from mask_detection.models.tflite import is_available

    is_available()  # imports it
    cv2.setNumThreads(1)
    tqdm.monitor_interval = 0  # no thread to watch over progress bars


class Started(NamedTuple):
    """A run that was started."""

    process: multiprocessing.process.BaseProcess
    folder: Path
    started: float


def run(
    main: Main, argv: Sequence[object], folder: Path, seconds: float, cpu_seconds: float = resource.RLIM_INFINITY
) -> Ended:
    """Run a script in a folder until it ends or its time is over; then it and its children are killed.

    Args:
        main: the script.
        argv: its command line.
        folder: where it runs; ``stdout.txt``, ``stderr.txt``, temporary and cached files go there too.
        seconds: its time.
        cpu_seconds: its time on processors, which is the same however busy the machine is.
    """
    return finish(start(main, argv, folder, cpu_seconds), seconds)


def start(main: Main, argv: Sequence[object], folder: Path, cpu_seconds: float = resource.RLIM_INFINITY) -> Started:
    """Start such a run."""
    n_threads = sum(1 for _ in Path("/proc/self/task").glob("*"))
    if n_threads > 1:
        raise RuntimeError(f"{n_threads} threads are running, and a forked process would have one of them")
    process = multiprocessing.get_context("fork").Process(target=_in_child, args=(main, argv, folder, cpu_seconds))
    started = time.monotonic()
    process.start()
    return Started(process, folder, started)


def finish(run: Started, seconds: float) -> Ended:
    """Wait for so many seconds until it ends, and kill it then."""
    process, folder, started = run
    process.join(seconds)
    was_killed = process.is_alive()
    with suppress(ProcessLookupError):  # of a group that is gone
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # for the case that it had not yet made its group
    process.join()
    errors = (folder / "stderr.txt").read_text("utf-8", "replace") if (folder / "stderr.txt").exists() else ""
    return Ended(process.exitcode, errors, time.monotonic() - started, was_killed)


def _in_child(main: Main, argv: Sequence[object], folder: Path, cpu_seconds: float) -> None:
    os.setpgid(0, 0)
    for name, descriptor in (("stdout.txt", 1), ("stderr.txt", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (the old one may take a pipe for a file)
    for limited, limit in (
        (resource.RLIMIT_CPU, int(cpu_seconds)),
        (resource.RLIMIT_AS, MAX_ADDRESSES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limited, (limit, limit))
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary)
    os.environ.update(TMPDIR=str(temporary), XDG_CACHE_HOME=str(folder / "cache"))
    os.environ.pop("DISPLAY", None)
    os.environ.pop("WAYLAND_DISPLAY", None)
    os.chdir(folder)
    sys.exit(main([str(argument) for argument in argv]))
