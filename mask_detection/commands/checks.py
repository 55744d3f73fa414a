"""What the doctor looks at: each check yields its findings, and stops nothing that comes after it.

Libraries may be missing or broken, so they are imported where they are needed; nothing is fetched or changed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mask_detection import __version__
from mask_detection.commands import cli, options
from mask_detection.utils import defaults, sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import list_files, read_whole
from mask_detection.utils.tensorflow import print_tensorflow

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from mask_detection.io.capture import Camera
    from mask_detection.models.face_detector import FaceDetector

REQUIREMENTS = defaults.PROJECT_FOLDER / "requirements.txt"
REINSTALL = f"run `pip install -r {REQUIREMENTS}` in a fresh virtual environment"
OPTIONAL_REQUIREMENTS = {
    "requirements-serve.txt": "--serve and --mqtt",
    "requirements-cluster.txt": "archive and --cluster",
}
MODULES = {  # called other than the library
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "opencv-python": "cv2",
    "pi-heif": "pi_heif",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
# Measured: docs/benchmarks.md
WHICH_FINDS_MORE = {
    "caffe": "--detector yunet and builtin find far more faces",
    "yunet": "it finds the most faces, --detector builtin fewer false ones",
    "builtin": "--detector yunet finds more small faces, and more false ones",
    "haar": "all others find more faces",
}
WEIGHTS_SUFFIXES = (".caffemodel", ".onnx", ".prototxt")
HASH_DIGITS = 16  # enough to tell files apart

TENSORFLOW_TIMEOUT_S = 180.0  # a cold start from a slow disk


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        name: what was looked at.
        value: what was found.
        fault: what will not work because of it, and the remedy, in one line; empty where all is well.
    """

    name: str
    value: str
    fault: str = ""


def fault_of_loading(name: str, error: Exception) -> str:
    """One line for a library that is missing or broken."""
    if isinstance(error, ModuleNotFoundError) or (name == "opencv-python" and isinstance(error, ImportError)):
        return cli.import_remedy(error)
    return f"{name}: cannot be loaded ({type(error).__name__}: {error}); {REINSTALL}"


def versions() -> Iterator[Finding]:
    """The project, Python, the system, and the libraries but for TensorFlow, which :func:`tensorflow` starts."""
    yield Finding("project", f"{__version__}, {_commit()}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", f"{platform.platform()}, {os.cpu_count()} cores")
    for name, requirement in _requirements().items():
        if name != "tensorflow":
            yield _library(name, requirement)
    yield _library("h5py", "h5py")
    for file, purpose in OPTIONAL_REQUIREMENTS.items():
        for line in _requirement_lines(REQUIREMENTS.with_name(file)):
            yield _optional_library(line, f"`pip install -r {REQUIREMENTS.with_name(file)}`", purpose)


def _commit() -> str:
    git = shutil.which("git")
    if git is None or not (defaults.PROJECT_FOLDER / ".git").exists():  # git would take a folder above for it
        return "no git checkout"
    describe = [git, "-C", str(defaults.PROJECT_FOLDER), "describe", "--always", "--dirty=, changed"]
    done = subprocess.run(describe, capture_output=True, text=True, encoding="utf-8", check=False)
    return f"commit {done.stdout.strip() or 'unknown'}"


def _requirements() -> dict[str, str]:
    """What ``requirements.txt`` asks for on this machine, by the library's name."""
    return {_name_of(line): line for line in _requirement_lines(REQUIREMENTS) if _is_meant(line)}


def _name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _requirement_lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement.startswith("-r "):
            yield from _requirement_lines(path.with_name(requirement.removeprefix("-r ").strip()))
        elif requirement:
            yield requirement


def _is_meant(requirement: str) -> bool:
    """Tell whether a requirement's marker, such as ``; sys_platform != "darwin"``, holds here."""
    parsed = _parsed(requirement)
    return parsed is None or parsed.marker is None or parsed.marker.evaluate()


def _parsed(requirement: str) -> Requirement | None:
    try:
        from packaging.requirements import Requirement
    except ImportError:  # it comes with TensorFlow, whose absence is reported
        return None
    return Requirement(requirement)


def _library(name: str, requirement: str) -> Finding:
    if name == "imutils" and "cv2" not in sys.modules:  # it imports OpenCV, whose fault is reported already
        return Finding(name, "not tried without OpenCV")
    try:
        module = importlib.import_module(MODULES.get(name, name))
        version = getattr(module, "__version__", None) or importlib.metadata.version(name)
    except Exception as error:  # broken libraries raise anything
        return Finding(name, "cannot be loaded", fault_of_loading(name, error))
    return _version(name, version, requirement)


def _optional_library(requirement: str, command: str, purpose: str) -> Finding:
    """One that only some options need: it is no fault where it is missing."""
    name = _name_of(requirement)
    try:
        return _version(name, importlib.metadata.version(name), requirement, f"run {command}")
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, f"none; {purpose} need {command}")


def _version(name: str, version: str, requirement: str, remedy: str = REINSTALL) -> Finding:
    if _fits(version, requirement):
        return Finding(name, version)
    return Finding(name, version, f"{name} {version}: is not the release that is needed, {requirement}; {remedy}")


def _fits(version: str, requirement: str) -> bool:
    parsed = _parsed(requirement)
    return parsed is None or parsed.specifier.contains(version, prereleases=True)


def face_detectors(folder: Path) -> Iterator[Finding]:
    """The files of the face detectors, whether their hashes are known, and whether each detector loads."""
    yield Finding("folder", str(folder))
    if not folder.is_dir():
        raise MaskDetectionError(f"{folder}: there is no such folder; name the one with the face detector's files")
    files = [path for path in list_files(folder, subfolders=False) if path.suffix in WEIGHTS_SUFFIXES]
    yield from map(_weights_file, files)
    if "cv2" in sys.modules:
        yield from _detectors(folder, {path.suffix for path in files})
    else:
        yield Finding("detectors", "not tried without OpenCV")


def _weights_file(path: Path) -> Finding:
    from mask_detection.utils.downloads import is_known

    try:
        data = read_whole(path, "weights")
    except MaskDetectionError as error:  # no fault by itself: the detector that needs the file will say so
        return Finding(path.name, str(error).removeprefix(f"{path}: "))
    origin = "known" if is_known(path) else "not a known file"
    return Finding(path.name, f"{origin}, {_size_and_hash(data)}")


def _size_and_hash(data: bytes) -> str:
    return f"{len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()[:HASH_DIGITS]}…"


def _detectors(folder: Path, suffixes: set[str]) -> Iterator[Finding]:
    from mask_detection.models import builtin_detector, load, opencv_detectors

    has_caffe = bool(suffixes & {".caffemodel", ".prototxt"})
    has_yunet = any(folder.glob(opencv_detectors.YUNET_FILES))
    # Never load_face_detector: it would fetch what is missing.
    loaders: dict[str, Callable[[], FaceDetector] | None] = {
        "caffe": (lambda: opencv_detectors.CaffeFaceDetector(folder)) if has_caffe else None,
        "yunet": (lambda: opencv_detectors.YuNetFaceDetector(folder)) if has_yunet else None,
        "builtin": lambda: builtin_detector.BuiltinFaceDetector(folder),
        "haar": opencv_detectors.HaarFaceDetector,
    }
    for kind, loader in loaders.items():
        remedy = f"no files; `python -m mask_detection download {kind}`"
        yield _detector(kind, loader) if loader else Finding(kind, remedy)
    taken = load.first_at_hand(folder)
    yield Finding("auto", f"takes {taken}; {WHICH_FINDS_MORE[taken]}")


def _detector(kind: str, load: Callable[[], FaceDetector]) -> Finding:
    try:
        return Finding(kind, f"loads: {load().name}")
    except MaskDetectionError as error:
        return Finding(kind, "does not load", str(error))


def model(path: Path) -> Iterator[Finding]:
    """The model file, and what it says of itself; the network is not built."""
    if path == options.BUILTIN_MODEL:
        yield Finding("file", "none: one-stage mode, in which the built-in face detector classifies")
        return
    yield Finding("file", str(path))
    yield Finding("content", _size_and_hash(read_whole(path, "a model")))
    if "h5py" in sys.modules:
        yield from _model_facts(path)
    else:
        yield Finding("facts", "not read without h5py")


def _model_facts(path: Path) -> Iterator[Finding]:
    from mask_detection.io.hdf5 import read_attributes

    try:
        facts = read_attributes(path)
        input_shape = re.search(r'"batch_(?:input_)?shape": \[null, (\d+), (\d+), \d+\]', facts["model_config"])
        class_names = ", ".join(map(str, json.loads(facts.get("class_names", "[]"))))
    except (KeyError, ValueError, TypeError, RecursionError):
        raise MaskDetectionError(f"{path}: is not a whole Keras model; get the file again or train a new one") from None
    yield Finding("class names", class_names or "not in the file")
    yield Finding("input size", " x ".join(input_shape.groups()) if input_shape else "not in the file")
    yield Finding("preprocessing", str(facts.get("preprocessing", "not in the file")))
    yield Finding("written by", f"Keras {facts.get('keras_version', 'of an unknown version')}")


def cameras() -> Iterator[Finding]:
    """Which of the cameras 0 to 3 open, and the size of their frames."""
    if "cv2" not in sys.modules:
        yield Finding("cameras", "not tried without OpenCV")
        return
    from mask_detection.io.capture import find_cameras

    found, fault = find_cameras()
    yield from map(_camera, found)
    remedy = "or use video files (--source)"
    if fault:
        yield Finding("cameras", fault, f"cameras: {fault}; unplug the one that may be the cause, {remedy}")
    elif not found:
        fault = "cameras: none of 0 to 3 opens; plug one in, allow access to it in the system's settings"
        yield Finding("cameras", "none", f"{fault}, {remedy}")


def _camera(camera: Camera) -> Finding:
    name = f"camera {camera.source}"
    if camera.size:
        return Finding(name, camera.size)
    return Finding(name, "opens, gives no frame", f"{name}: gives no frame; close the programs that may hold it")


def display() -> Iterator[Finding]:
    """Whether a window opens."""
    if "cv2" not in sys.modules:
        yield Finding("window", "not tried without OpenCV")
        return
    from mask_detection.io.window import can_show_window

    if can_show_window():
        yield Finding("window", "opens")
    else:
        remedy = "let the scripts write: --output, --json (photos) or --log (video)"
        yield Finding("window", "does not open", f"display: no window can be opened here; {remedy}")


def tensorflow() -> Iterator[Finding]:
    """TensorFlow and Keras, and the GPUs that they see. Takes seconds."""
    lines, fault = sandbox.run(print_tensorflow, timeout_s=TENSORFLOW_TIMEOUT_S)
    if fault:
        remedy = "its releases need a processor with AVX" if fault.endswith("SIGILL") else REINSTALL
        yield Finding("tensorflow", "cannot be loaded", f"tensorflow: cannot be loaded ({fault}); {remedy}")
        return
    tensorflow_version, keras_version, *gpus = lines
    yield _version("tensorflow", tensorflow_version, _requirements()["tensorflow"])
    yield Finding("keras", keras_version)
    yield Finding("GPU", ", ".join(gpus) or "none that TensorFlow sees; the CPU does the work")
