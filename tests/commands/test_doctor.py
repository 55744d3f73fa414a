"""The doctor: what works is listed, what doesn't is named with its remedy, and nothing stops the rest of the report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest

from mask_detection import __version__
from mask_detection.commands import checks, cli, doctor
from mask_detection.io import window as window_module
from mask_detection.io.capture import print_cameras
from mask_detection.utils import downloads, sandbox
from mask_detection.utils.sandbox import SandboxResult
from mask_detection.utils.tensorflow import print_tensorflow
from tests.helpers.paths import ROOT

CLASSIC_MODEL = ROOT / "tests" / "fixtures" / "classic_tf212.model"
ONE_CAMERA = SandboxResult(["0 640 480"])
NO_GPU = SandboxResult(["2.20.0", "3.11.0"])
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"


@dataclass(frozen=True)
class Report:
    """What the doctor printed: its status, its rows by section and name, and what will not work."""

    status: int
    sections: dict[str, dict[str, str]]
    faults: list[str]


def parsed(status: int, text: str) -> Report:
    *checks, (verdict, *faults) = blocks(text)
    assert verdict == ("will not work" if faults else "everything works")
    sections = {title: dict((*row.split("  ", 1), "")[:2] for row in rows) for title, *rows in checks}
    return Report(status, {t: {k: v.strip() for k, v in rows.items()} for t, rows in sections.items()}, faults)


def blocks(text: str) -> list[list[str]]:
    """The report's sections: a title, then the indented lines below it."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("  "):
            found[-1].append(line[2:])
        else:
            found.append([line])
    return found


@pytest.fixture
def examine(monkeypatch, capsys) -> Callable[..., Report]:
    """A function that runs the doctor in this process; cameras, display and TensorFlow are as the test says."""
    really_run = sandbox.run

    def run(*arguments: object, cameras=ONE_CAMERA, tensorflow=NO_GPU, window=True) -> Report:
        results = {print_cameras: cameras, print_tensorflow: tensorflow}

        def pretend(function: Callable[..., None], *more: str, **limits: float) -> SandboxResult:
            return results.get(function) or really_run(function, *more, **limits)

        monkeypatch.setattr(sandbox, "run", pretend)
        monkeypatch.setattr(window_module, "can_show_window", lambda: window)
        status = doctor.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert printed.err == ""
        return parsed(status, printed.out)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the files of face detectors."""
    path = tmp_path / "detectors"
    path.mkdir()
    return path


# --- the whole report ---


def test_a_machine_where_everything_works(examine, folder):
    report = examine("--face", folder)
    assert report.status == cli.EXIT_DONE
    assert report.faults == []
    assert list(report.sections) == ["versions", "face detectors", "model", "cameras", "display", "TensorFlow"]
    assert report.sections["versions"]["project"].startswith(f"{__version__}, ")
    assert report.sections["versions"]["Python"].endswith(sys.executable)
    assert report.sections["cameras"] == {"camera 0": "640 x 480"}
    assert report.sections["display"] == {"window": "opens"}
    assert report.sections["TensorFlow"]["tensorflow"] == "2.20.0"


def test_what_is_really_here_is_listed_in_pastable_lines():
    """The one run without any stand-in: TensorFlow, cameras and all."""
    done = run_doctor()
    assert done.returncode in (cli.EXIT_DONE, cli.EXIT_SOME_FAILED)
    assert done.stderr == ""
    report = parsed(done.returncode, done.stdout)
    assert report.sections["TensorFlow"].keys() == {"tensorflow", "keras", "GPU"}
    # Whatever machine this is, only what it lacks may be at fault.
    assert {fault.partition(":")[0].split()[0] for fault in report.faults} <= {"camera", "cameras", "display"}


def test_broken_libraries_and_a_missing_model_leave_the_rest_of_the_report(tmp_path):
    fakes = tmp_path / "fakes"
    for library, source in {
        "cv2": "raise ImportError('libGL.so.1: cannot open shared object file: No such file')",
        "platformdirs": "raise RuntimeError('compiled for another Python')",
        "tensorflow": "raise ModuleNotFoundError(\"No module named 'tensorflow'\", name='tensorflow')",
        "tqdm": "raise ModuleNotFoundError(\"No module named 'tqdm'\", name='tqdm')",
        "h5py": "raise ImportError('undefined symbol in a lib')",
    }.items():
        (fakes / library).mkdir(parents=True)
        (fakes / library / "__init__.py").write_text(source, encoding="utf-8")
    (tmp_path / "a.onnx").write_bytes(b"some weights")
    done = run_doctor("--face", tmp_path, "--model", tmp_path / "missing.h5", PYTHONPATH=str(fakes))
    assert done.stderr == ""
    report = parsed(done.returncode, done.stdout)
    assert report.status == cli.EXIT_SOME_FAILED
    remedies = {
        "OpenCV cannot be loaded (libGL.so.1": "apt install libgl1",
        "platformdirs: cannot be loaded (RuntimeError: compiled for another Python)": "fresh virtual environment",
        "No module named 'tqdm'": "pip install -r",  # named once, though two checks need it
        "h5py: cannot be loaded (ImportError: undefined symbol": "fresh virtual environment",
        f"{tmp_path / 'missing.h5'}: no such file": "check the path",
        "tensorflow: cannot be loaded (ModuleNotFoundError: No module named": "pip install -r",
    }
    assert len(report.faults) == len(remedies)
    for fault, remedy in remedies.items():
        assert [remedy in line for line in report.faults if line.startswith(fault)] == [True]
    assert report.sections["versions"]["numpy"] == np.__version__
    assert report.sections["versions"]["imutils"] == "not tried without OpenCV"
    assert report.sections["cameras"] == {"cameras": "not tried without OpenCV"}
    assert report.sections["display"] == {"window": "not tried without OpenCV"}


def run_doctor(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mask_detection", "doctor", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


def test_the_issue_template_asks_for_it():
    template = ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.md"
    assert "python -m mask_detection doctor" in template.read_text("utf-8")


# --- versions ---


def test_releases_out_of_range_and_missing_libraries_are_named(examine, folder, tmp_path, monkeypatch):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# ours\nnumpy>=99\nno-such-library\nscipy>=1.0,<99  # fine\ntensorflow>=2.18,<2.22\n")
    monkeypatch.setattr(checks, "REQUIREMENTS", requirements)
    monkeypatch.setattr(checks, "OPTIONAL_REQUIREMENTS", {})
    report = examine("--face", folder, tensorflow=SandboxResult(["2.10.1", "2.10.0"]))
    old_numpy, missing, old_tensorflow = report.faults
    assert "is not the release that is needed, numpy>=99; run `pip install -r" in old_numpy
    assert "No module named 'no-such-library'; run `pip install -r" in missing
    assert old_tensorflow.startswith("tensorflow 2.10.1: is not the release that is needed, tensorflow>=2.18,<2.22")


def test_what_only_some_options_need_may_be_missing_but_not_too_old(examine, folder, tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text("tensorflow>=2\n")
    (tmp_path / "some.txt").write_text("no-such-library[extra]>=1\nnumpy>=99\n")
    monkeypatch.setattr(checks, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(checks, "OPTIONAL_REQUIREMENTS", {"some.txt": "--this and --that"})
    report = examine("--face", folder)
    missing = report.sections["versions"]["no-such-library"]
    assert missing == f"none; --this and --that need `pip install -r {tmp_path / 'some.txt'}`"
    (old,) = report.faults
    assert old.startswith("numpy ")
    assert f"numpy>=99; run `pip install -r {tmp_path / 'some.txt'}`" in old


# --- face detectors ---


def test_without_files_the_detector_that_needs_none_is_taken(examine, folder):
    rows = examine("--face", folder).sections["face detectors"]
    assert rows["auto"].startswith("takes builtin; ")
    assert "python -m mask_detection download yunet" in rows["yunet"]


def test_nothing_is_fetched(examine, monkeypatch):
    monkeypatch.setattr(downloads, "fetch", lambda *_: pytest.fail("the network was asked"))
    assert "folder" in examine().sections["face detectors"]


def test_files_are_known_by_their_hashes(examine, folder, monkeypatch):
    known = b"weights that the table knows"
    (folder / "known.onnx").write_bytes(known)
    (folder / "other.onnx").write_bytes(b"weights that it does not know")
    remote_file = downloads.RemoteFile("known.onnx", "https://example.org", len(known), sha256(known).hexdigest())
    monkeypatch.setattr(downloads, "KITS", {"yunet": (remote_file,)})
    report = examine("--face", folder)
    rows = report.sections["face detectors"]
    assert rows["known.onnx"] == f"known, {len(known)} bytes, sha256 {sha256(known).hexdigest()[:16]}…"
    assert rows["other.onnx"].startswith("not a known file, 29 bytes")
    assert report.status == cli.EXIT_DONE  # no detector asked for either


@pytest.mark.parametrize(
    ("name", "content", "kind", "fault"),
    [
        ("face_detection_yunet_2023mar.onnx", b"damaged", "yunet", "is not a YuNet network or is damaged; delete it"),
        ("face_detection_yunet_2023mar.onnx", LFS_POINTER, "yunet", "is a Git-LFS pointer"),
        ("deploy.prototxt", b"damaged", "caffe", "holds 0 *.caffemodel files"),
    ],
)
def test_a_detector_that_does_not_load_is_named_once(examine, folder, name, content, kind, fault):
    (folder / name).write_bytes(content)
    report = examine("--face", folder)
    assert report.sections["face detectors"][kind] == "does not load"
    assert report.sections["face detectors"]["haar"] == "loads: Haar cascade"
    [line] = report.faults
    assert fault in line


def test_a_missing_folder_is_named(examine, tmp_path):
    [fault] = examine("--face", tmp_path / "nowhere").faults
    assert fault.startswith(f"{tmp_path / 'nowhere'}: there is no such folder; ")


def test_real_detectors_load(examine, shared):
    report = examine("--face", shared / "face_detector")
    rows = report.sections["face detectors"]
    assert rows["deploy.prototxt"].startswith("known, 28,092 bytes, sha256 f62621cac923d6f3")
    assert rows["caffe"].startswith("loads: Caffe SSD")
    assert rows["yunet"].startswith("loads: YuNet")
    assert rows["auto"].startswith("takes caffe; ")
    assert "yunet and builtin find" in rows["auto"]
    assert report.faults == []


# --- the model ---


def test_a_model_of_ours_is_described(examine, folder, tiny_model):
    rows = examine("--face", folder, "--model", tiny_model).sections["model"]
    assert rows["file"] == str(tiny_model)
    assert sha256(tiny_model.read_bytes()).hexdigest()[:16] in rows["content"]
    assert rows["class names"] == "with_mask, without_mask"
    assert rows["input size"] == "32 x 32"
    assert rows["preprocessing"] == "mobilenet_v2"
    assert rows["written by"].startswith("Keras 3.")


def test_a_classic_model_is_described_in_less_detail(examine, folder):
    report = examine("--face", folder, "--model", CLASSIC_MODEL)
    rows = report.sections["model"]
    assert rows["class names"] == rows["preprocessing"] == "not in the file"
    assert rows["input size"] == "32 x 32"
    assert rows["written by"] == "Keras 2.12.0"
    assert report.status == cli.EXIT_DONE


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no such file; check the path"),
        (b"", "is empty (0 bytes)"),
        (LFS_POINTER, "is a Git-LFS pointer"),
        (b"these are the voyages\n", "is not a whole Keras model"),
        (CLASSIC_MODEL.read_bytes()[:20_000], "is not a whole Keras model"),
    ],
    ids=["missing", "empty", "lfs pointer", "text", "truncated"],
)
def test_what_is_no_model_is_named(examine, folder, tmp_path, content, fault):
    path = tmp_path / "model.h5"
    if content is not None:
        path.write_bytes(content)
    report = examine("--face", folder, "--model", path)
    assert report.status == cli.EXIT_SOME_FAILED
    [line] = report.faults
    assert line.startswith(f"{path}: {fault}")
    assert report.sections["TensorFlow"]  # the report goes on


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("model_config", None), ("class_names", '["with_mask", '), ("class_names", "7"), ("model_config", 7)],
)
def test_damaged_attributes_are_named(examine, folder, tiny_model, tmp_path, attribute, value):
    path = Path(shutil.copy(tiny_model, tmp_path))
    with h5py.File(path, "r+") as file:
        del file.attrs[attribute]
        if value is not None:
            file.attrs[attribute] = value
    [line] = examine("--face", folder, "--model", path).faults
    assert line.startswith(f"{path}: is not a whole Keras model; get the file again")


# --- cameras, display, GPU ---


@pytest.mark.parametrize(
    ("answer", "rows", "faults"),
    [
        (SandboxResult(["0 640 480", "2 1280 720"]), {"camera 0": "640 x 480", "camera 2": "1280 x 720"}, []),
        (SandboxResult(["1"]), {"camera 1": "opens, gives no frame"}, ["camera 1: gives no frame; close the programs"]),
        (SandboxResult([]), {"cameras": "none"}, ["cameras: none of 0 to 3 opens; plug one in"]),
        (
            SandboxResult(["0 640 480"], "no answer within 30 s"),
            {"camera 0": "640 x 480", "cameras": "no answer within 30 s"},
            ["cameras: no answer within 30 s; unplug the one"],
        ),
    ],
    ids=["two", "held by another program", "none", "one hangs"],
)
def test_cameras_are_listed(examine, folder, answer, rows, faults):
    report = examine("--face", folder, cameras=answer)
    assert report.sections["cameras"] == rows
    assert len(report.faults) == len(faults)
    assert all(line.startswith(fault) for line, fault in zip(report.faults, faults, strict=True))


def test_no_display_is_named_with_what_works_instead(examine, folder):
    report = examine("--face", folder, window=False)
    [fault] = report.faults
    assert fault.startswith("display: no window can be opened here; ")
    assert "--output" in fault


def test_gpus_are_named_and_none_is_no_fault(examine, folder):
    rows = examine("--face", folder, tensorflow=SandboxResult(["2.20.0", "3.11.0", "NVIDIA A", "NVIDIA B"])).sections
    assert rows["TensorFlow"] == {"tensorflow": "2.20.0", "keras": "3.11.0", "GPU": "NVIDIA A, NVIDIA B"}
    report = examine("--face", folder)
    assert report.sections["TensorFlow"]["GPU"].startswith("none that TensorFlow sees")
    assert report.status == cli.EXIT_DONE


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [("ImportError: DLL load failed", "in a fresh virtual environment"), ("ended by SIGILL", "a processor with AVX")],
)
def test_a_tensorflow_that_does_not_start_is_named(examine, folder, fault, remedy):
    [line] = examine("--face", folder, tensorflow=SandboxResult([], fault)).faults
    assert line.startswith(f"tensorflow: cannot be loaded ({fault}); ")
    assert line.endswith(remedy)
