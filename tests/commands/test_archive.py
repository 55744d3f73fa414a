"""Without Ray, the command says what to install."""

from __future__ import annotations

import sys

from mask_detection.commands import archive, cli


def test_without_ray_the_remedy_is_named(tmp_path, monkeypatch, errors):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
    assert archive.main(["--image", str(tmp_path), "--output", str(tmp_path / "out")]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert "run `pip install -r" in line
    assert "requirements-cluster.txt`" in line
