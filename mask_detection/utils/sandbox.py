"""Run a function in a child process, where it may hang, crash or be noisy without harm to this one.

python -m mask_detection.utils.sandbox CPU_SECONDS MEMORY MODULE:FUNCTION ARGUMENT…      # what the child process runs
"""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mask_detection.utils.defaults import PROJECT_FOLDER

NO_LIMIT = 0


class SandboxResult(NamedTuple):
    """How a function in a child process ended.

    Attributes:
        lines: of its standard output.
        fault: how it failed, in a few words; empty where it didn't.
    """

    lines: list[str]
    fault: str = ""


def run(
    function: Callable[..., None], *arguments: str, timeout_s: float, cpu_s: int = NO_LIMIT, memory: int = NO_LIMIT
) -> SandboxResult:
    """Run a function of a module in a child process.

    Args:
        function: takes strings; its results are what it prints and the files that it writes.
        arguments: of the function.
        timeout_s: after so many seconds it is stopped; what it has printed until then counts.
        cpu_s: likewise, on processors, where the system can do that: Windows cannot. Unlike the clock, this doesn't
            mistake a busy machine for a function that never ends.
        memory: bytes that it may take beside what its module needs; it can be limited only on Linux.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(cpu_s), str(memory), name, *arguments],
            cwd=PROJECT_FOLDER,  # from where the package can be imported
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return SandboxResult(_lines(error.stdout), f"no answer within {timeout_s:g} s")
    except OSError as error:
        return SandboxResult([], f"no process for it ({error.strerror})")
    return SandboxResult(_lines(done.stdout), _fault_of_process(done) if done.returncode else "")


def _lines(output: bytes | None) -> list[str]:
    return (output or b"").decode(errors="replace").splitlines()


def _fault_of_process(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last error of a traceback, or what ended the process without one."""
    if done.returncode < 0:
        return f"ended by {signal.Signals(-done.returncode).name}"
    lines = _lines(done.stderr)
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]  # TensorFlow adds advice
    return (errors or lines or [f"exit status {done.returncode}"])[-1]


def main(argv: Sequence[str]) -> None:
    """Run a function in this very process, which ends when its time on processors is over."""
    cpu_s, memory, name, *arguments = argv
    if int(cpu_s) != NO_LIMIT:
        _limit_cpu_time(int(cpu_s))
    module, _, function = name.partition(":")
    called = getattr(importlib.import_module(module), function)
    if int(memory) != NO_LIMIT:
        _limit_memory(int(memory))
    called(*arguments)


def _limit_cpu_time(seconds: int) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _limit_memory(n_bytes: int) -> None:
    """Let no more be taken than now and so many bytes."""
    if not sys.platform.startswith("linux"):  # elsewhere nobody tells, or heeds, how much is taken
        return
    import resource

    n_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = n_pages * resource.getpagesize() + n_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main(sys.argv[1:])
