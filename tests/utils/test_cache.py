"""Where results are cached, and that nothing fails where they cannot be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs
import pytest

from mask_detection.models.convert import load_export
from mask_detection.utils import cache


@pytest.fixture
def no_home(monkeypatch) -> None:
    """A container that runs under the number of a user whom the system doesn't know."""
    pwd = pytest.importorskip("pwd", reason="on Windows every user has a folder")
    monkeypatch.setattr(cache, "user_cache_path", platformdirs.user_cache_path)
    for variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems name it otherwise")
def test_it_lies_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "user_cache_path", platformdirs.user_cache_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "face-mask-detection"


def test_without_a_home_nothing_is_cached_and_nothing_fails(no_home, tiny_model, monkeypatch, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not made for this machine")
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model.h5"
    model.write_bytes(tiny_model.read_bytes())
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # its folder denies writing, too
    assert load_export(model).n_outputs == 2
    assert list(tmp_path.iterdir()) == [model]  # no folder called "~"
