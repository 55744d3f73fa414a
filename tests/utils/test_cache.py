"""Where results are cached, and that nothing fails where they cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from mask_detection.data.duplicates import find_groups
from mask_detection.models.convert import load_export
from mask_detection.models.load import load_face_detector
from mask_detection.utils import cache, downloads
from tests.helpers.paths import GROUP, ROOT


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


NOWHERES = {
    "no home": {},
    "a home that is none": {"HOME": os.devnull, "XDG_CACHE_HOME": f"{os.devnull}/cache"},
    "an empty home": {"HOME": "", "XDG_CACHE_HOME": ""},
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems name it otherwise")
@pytest.mark.parametrize("environment", NOWHERES.values(), ids=NOWHERES)
def test_the_script_needs_no_home(environment, photo, tiny_model, tmp_path):
    """In a process of its own with hardly any environment, as in a container: nothing but our lines."""
    files = ["--image", photo, "--model", tiny_model, "--output", tmp_path / "out.png"]
    done = subprocess.run(
        [sys.executable, "detect_mask_image.py", *map(str, files), "--detector", "haar", "--no-display"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "face detector" not in line]) == (0, [])
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize("place", ["a file", "a folder in its place", "denied"])
@pytest.mark.parametrize(
    "kind", ["yunet", pytest.param("classifier", marks=pytest.mark.xdist_group("tensorflow")), "groups"]
)
def test_a_damaged_cache_costs_no_more_than_time(kind, place, tiny_model, shared, monkeypatch, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not made for this machine")
    folder = tmp_path / "cache"
    monkeypatch.setattr(cache, "user_cache_path", lambda *_, **__: folder)
    model = Path(shutil.copy(tiny_model, tmp_path / "model.h5"))
    detector = Path(shutil.copytree(shared / "face_detector", tmp_path / "face_detector"))
    monkeypatch.setattr(downloads, "is_known", lambda file: False)
    uses = {
        "yunet": lambda: load_face_detector("yunet", detector),
        "classifier": lambda: load_export(model),
        "groups": lambda: find_groups([GROUP, GROUP]),
    }
    if kind == "classifier":
        model.with_suffix(".tflite").mkdir()  # so that the export goes to the cache
    if place == "a file":
        folder.write_text("no folder")
    elif place == "denied":
        monkeypatch.setattr(cache, "user_cache_path", lambda *_, **__: Path(os.devnull, "cache"))
    else:
        uses[kind]()
        for file in [*folder.iterdir()]:
            file.unlink()
            file.mkdir()
    assert uses[kind]() is not None
