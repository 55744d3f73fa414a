"""Damaged inputs and killed runs, at a small size; the long versions are commands of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked")


@pytest.mark.parametrize(
    "command",
    [
        ["fuzz_inputs.py", "--cases", "200"],
        ["kill_runs.py", "--rounds", "2", "--only", "prepare", "image", "video"],
        ["kill_runs.py", "--rounds", "1", "--only", "training"],
    ],
    ids=lambda command: command[-1],
)
def test_it_holds(command: list[str], tmp_path: Path):
    """In a process of its own, as this one may have started threads already, with which forking is unsafe."""
    script, *arguments = command
    run = [sys.executable, str(TESTS / script), *arguments]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
