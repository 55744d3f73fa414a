"""Every command of the pages runs as it stands; one that is slow or needs the network is accepted by its parser."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shlex
import shutil
import sys
import zipfile
from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path
from types import ModuleType
from unittest import mock

import cv2
import numpy as np
import pytest

from mask_detection.__main__ import COMMANDS
from mask_detection.data.folds import FOLDS, fold_of
from tests.helpers.images import textured, write_dataset
from tests.helpers.pages import blocks, commands
from tests.helpers.paths import EXAMPLES, ROOT
from tests.helpers.videos import lines_of, write_video

QUICK = {"detect_mask_image.py", "detect_mask_video.py", "prepare", "crop-faces", "evaluate"}
FETCHED = {"caffe", "yunet"}  # face detectors whose files do not come along
SHELL = ("python3 -m venv .venv", ". .venv/bin/activate", "pre-commit install", "pip install pre-commit", ".ci/run")
RAY_SHELL = ("ray get-auth-token --generate", "export RAY_AUTH_MODE=token")
ANNOTATION = (  # VOC
    "<annotation><object><name>without_mask</name><bndbox>"
    "<xmin>60</xmin><ymin>50</ymin><xmax>160</xmax><ymax>190</ymax>"
    "</bndbox></object></annotation>"
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, portrait: np.ndarray) -> Path:
    """A folder with everything that the pages speak of, as small as can be."""
    folder = tmp_path_factory.mktemp("desk")
    cv2.imwrite(str(folder / "me.jpg"), portrait)
    write_video(folder / "party.mp4", [cv2.resize(portrait, (256, 300))] * 4)
    shutil.copytree(EXAMPLES, folder / "examples")
    shutil.copytree(ROOT / "face_detector", folder / "my_detectors")
    for name in ("photos", "frames"):
        (folder / name).mkdir()
        for i in range(2):
            cv2.imwrite(str(folder / name / f"{i}.png"), textured(seed=i))
    for name in ("dataset", "raw"):
        write_dataset(folder / name, {"with_mask": 3, "without_mask": 3})
    make_street(folder / "street", portrait)
    return folder


def make_street(folder: Path, portrait: np.ndarray) -> None:
    """Two photos with a marked face each, one of fold A and one of another."""
    images = cv2.resize(portrait, (256, 300)), cv2.resize(portrait[:, ::-1], (256, 300))  # no copies of each other
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for image, is_first in zip(images, (True, False), strict=True):
        name = next(str(i) for i in count() if (FOLDS[fold_of(f"{i}.jpg")] == "A") is is_first)
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), image)
        (folder / "annotations" / f"{name}.xml").write_text(ANNOTATION)


def module_of(words: list[str]) -> tuple[str, ModuleType, list[str]]:
    """What a ``python …`` command runs: its name, the module, the arguments."""
    if words[1] != "-m":
        path = ROOT / words[1]
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # dataclasses look for it there
        spec.loader.exec_module(module)
        return words[1], module, words[2:]
    if words[2] == "mask_detection":
        assert words[3] in COMMANDS
        return words[3], importlib.import_module(f"mask_detection.commands.{words[3].replace('-', '_')}"), words[4:]
    if words[2].startswith("tests.robustness"):
        pytest.importorskip("resource", reason="processes are forked")
    with mock.patch.dict(os.environ):  # some modules set variables for the processes that they start
        return words[2], importlib.import_module(words[2]), words[3:]


def made_small(name: str, arguments: list[str]) -> list[str]:
    """The same command with a file for a source, something to write, and no window."""
    if name == "detect_mask_image.py":
        return [
            *arguments,
            "--no-display",
            *([] if {"--output", "--json"} & {*arguments} else ["--json", "seen.jsonl"]),
        ]
    if name == "detect_mask_video.py":
        is_live = "--source" not in arguments or any("://" in word for word in arguments)
        source = ["--source", *["party.mp4"] * max(1, len(values_of("--name", arguments)))] if is_live else []
        alarm = ["--alert-command", shlex.join([sys.executable, "-c", ""])] if "--alert-command" in arguments else []
        log = [] if {"--output", "--log", "--statistics", "--clips"} & {*arguments} else ["--log", "seen.jsonl"]
        arguments = [word.replace(":8080", ":0") for word in arguments]  # the port may be in use
        return [*arguments, *source, *alarm, *log, "--no-display"]
    return arguments


def values_of(option: str, arguments: list[str]) -> list[str]:
    """The words that belong to an option."""
    if option not in arguments:
        return []
    return [*takewhile(lambda word: not word.startswith("--"), arguments[arguments.index(option) + 1 :])]


def run_shell(words: list[str]) -> None:
    """Check what no module of ours runs: the files that it names are there."""
    match words:
        case ["pip", "install", "-r", file]:
            assert (ROOT / file).is_file()
        case ["pip", "install", "-e", place]:
            assert place in (".", ".[train]")
            assert (ROOT / "pyproject.toml").is_file()
        case ["python", "-m", "pytest", *files]:
            assert all((ROOT / file).is_file() for file in files)
        case ["ray", "job", "submit", *rest]:
            _, module, arguments = module_of(rest[rest.index("--") + 1 :])
            module.parse_arguments(arguments)
        case ["ray", "start", *rest]:
            assert {"--head", "--address"} & {*rest}
        case ["unzip", "-p", file, member]:
            assert json.loads(zipfile.ZipFile(ROOT / file).read(member))["class_names"]
        case ["sha256sum", *files]:
            assert files
        case ["docker", "build", "--file", file, "--tag", _, "."]:
            assert (ROOT / file).is_file()
        case ["docker", "run", *_] | ["sudo", "systemctl", *_] | ["journalctl", *_]:
            pass
        case ["sudo", "install", *_, file, target]:
            assert file in ("entrance.password", "10001") or (ROOT / file).name == Path(target).name
        case [".venv/bin/pip", "install", "-r", file]:
            assert (ROOT / file).is_file()
        case _:
            assert shlex.join(words) in SHELL + RAY_SHELL


@pytest.mark.parametrize("words", commands(), ids=shlex.join)
def test_a_command_works_as_it_is_documented(words: list[str], desk: Path, monkeypatch: pytest.MonkeyPatch):
    if words[0] != "python" or words[1:3] == ["-m", "pytest"]:
        run_shell(words)
        return
    name, module, arguments = module_of(words)
    if name in QUICK and not FETCHED & {*arguments}:
        monkeypatch.chdir(desk)
        assert module.main(made_small(name, arguments)) == 0
    else:
        module.parse_arguments(arguments)


@pytest.mark.parametrize("block", [*blocks("python")], ids=lambda block: block.page)
def test_python_works_as_it_is_documented(block, desk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(desk)
    exec(compile(block.text, block.page, "exec"), {})  # noqa: S102 (our own pages)


def test_the_line_of_json_holds_what_the_script_writes(desk: Path, monkeypatch: pytest.MonkeyPatch):
    import detect_mask_image

    monkeypatch.chdir(desk)
    assert detect_mask_image.main(["--image", "me.jpg", "--json", "me.jsonl", "--no-display"]) == 0
    (written,) = lines_of(desk / "me.jsonl")
    (documented,) = (json.loads(block.text) for block in blocks("json") if block.page == "README.md")
    assert keys(documented) == keys(written)


def keys(record: dict) -> tuple[Sequence[str], Sequence[str]]:
    return [*record], [*record["faces"][0]]
