"""Damaged inputs, spoiled outputs and killed runs, at a small size; the long versions are commands of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked"),
    pytest.mark.xdist_group("robustness"),  # the largest groups start first, and these take long
]


@pytest.mark.parametrize(
    "command",
    [
        ["fuzz_inputs", "--cases", "200"],
        ["fuzz_outputs", "--cases", "20"],
        ["kill_runs", "--rounds", "2", "--only", "prepare", "image", "video"],
        ["kill_runs", "--rounds", "1", "--only", "training"],
    ],
    ids=lambda command: f"{command[0]}_{command[-1]}",
)
def test_it_holds(command: list[str], tmp_path: Path):
    """In a process of its own, as this one may have started threads already, with which forking is unsafe."""
    script, *arguments = command
    run = [sys.executable, "-m", f"tests.robustness.{script}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
