"""The benchmarks run, and compare what they say they do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

FIGURES = {"frames_per_s", "first_s", "peak_mb", "cpu_ms", "read", "faces", "classify"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows doesn't tell a process' peak memory")
@pytest.mark.parametrize("kind", ["--video", "--photos"])
def test_detection_is_compared_with_the_classic_loop(kind, video, tiny_model, make_image, tmp_path):
    import cv2

    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), make_image(seed=i))
    source, results = {"--video": video, "--photos": tmp_path}[kind], tmp_path / "results.json"
    options = ["--detector", "haar", "--model", tiny_model, "--rounds", "1", "--max-frames", "3", "--json", results]
    command = [sys.executable, ROOT / "benchmarks" / "detection.py", kind, source, *options]
    printed = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    (result,) = json.loads(results.read_text())
    (loops,) = result["rounds"]
    assert set(loops) == {"classic", "same size", "default"}
    for name, figures in loops.items():
        assert name in printed
        assert set(figures) == FIGURES
        assert all(figure > 0 for key, figure in figures.items() if key != "classify")
