"""Functions in child processes: what they print arrives, and how they end is reported in a few words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from mask_detection.utils import sandbox
from mask_detection.utils.sandbox import SandboxResult

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals and no CPU limits")


def print_words(*words: str) -> None:
    print(*words, sep="\n")


def crash() -> None:
    print("so far", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise ImportError("Traceback:\nImportError: DLL load failed\nIf you need help, create an issue")


def leave() -> None:
    raise SystemExit(3)


def work_for_ever() -> None:
    while True:
        pass


def test_a_function_prints_its_arguments_in_another_process():
    assert sandbox.run(print_words, "a b", "", "ö", timeout_s=60) == SandboxResult(["a b", "", "ö"])


def test_one_that_hangs_keeps_what_it_printed(monkeypatch):
    def hang(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout, output=b"0 640 480\n")

    monkeypatch.setattr(subprocess, "run", hang)
    assert sandbox.run(print_words, timeout_s=7) == SandboxResult(["0 640 480"], "no answer within 7 s")


@not_on_windows
def test_one_that_crashes_is_reported_by_its_signal():
    assert sandbox.run(crash, timeout_s=60) == SandboxResult(["so far"], "ended by SIGKILL")


@not_on_windows
def test_one_that_uses_up_its_processor_time_is_ended():
    assert sandbox.run(work_for_ever, timeout_s=60, cpu_s=2).fault in ("ended by SIGXCPU", "ended by SIGKILL")


def test_one_that_fails_is_reported_by_its_error_and_no_advice_after_it():
    assert sandbox.run(fail, timeout_s=60) == SandboxResult([], "ImportError: DLL load failed")
    assert sandbox.run(leave, timeout_s=60) == SandboxResult([], "exit status 3")
