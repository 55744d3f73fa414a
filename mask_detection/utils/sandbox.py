"""Trying in a child process what may hang, be noisy or take the whole process down."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import NamedTuple

from mask_detection.utils.defaults import PROJECT_FOLDER


class Answer(NamedTuple):
    """What a child process said.

    Attributes:
        lines: of its standard output.
        fault: how it failed, in a few words; empty where it didn't.
    """

    lines: list[str]
    fault: str = ""


def run_probe(source: str, timeout_s: float, *arguments: str) -> Answer:
    """Run Python code in a child process.

    Args:
        source: what it runs, in the project's folder, to import from.
        timeout_s: after so many seconds it is stopped; what it has said until then counts.
        arguments: its ``sys.argv[1:]``.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", source, *arguments],
            cwd=PROJECT_FOLDER,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return Answer(_lines(error.stdout), f"no answer within {timeout_s:g} s")
    except OSError as error:
        return Answer([], f"no process for it ({error.strerror})")
    return Answer(_lines(done.stdout), _fault_of_process(done) if done.returncode else "")


def limit_processor_time(seconds: int) -> None:
    """End this very process after so long on processors, where the system can do that: Windows cannot.

    Unlike the clock, this doesn't mistake a busy machine for a program that never ends.
    """
    try:
        import resource
    except ModuleNotFoundError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _lines(output: bytes | None) -> list[str]:
    return (output or b"").decode(errors="replace").splitlines()


def _fault_of_process(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last error of a traceback, or what ended the process without one."""
    if done.returncode < 0:
        return f"ended by {signal.Signals(-done.returncode).name}"
    lines = _lines(done.stderr)
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]  # TensorFlow adds advice
    return (errors or lines or [f"exit status {done.returncode}"])[-1]
