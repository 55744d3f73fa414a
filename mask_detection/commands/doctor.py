"""Find out what works on this machine and what to do about the rest: what a bug report should contain.

python -m mask_detection doctor
python -m mask_detection doctor > doctor.txt                                # to attach to a bug report
python -m mask_detection doctor --face detectors --model my_model.h5       # the options that the scripts were given

Prints versions, the face detectors' files, what the model says of itself, cameras, display and GPU, and at the end one
line for each thing that will not work, with its remedy. Libraries may be missing or broken. It needs no network and
changes nothing; the cameras 0 to 3 are opened for a moment. Exit status: 0 everything works, 1 something will not work
(a machine without camera or display counts too), 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mask_detection.commands import cli, options
from mask_detection.io.cameras import Camera, find_cameras
from mask_detection.utils import defaults, sandbox
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from mask_detection.models.face_detector import FaceDetector

REQUIREMENTS = defaults.PROJECT_FOLDER / "requirements.txt"
REINSTALL = f"run `pip install -r {REQUIREMENTS}` in a fresh virtual environment"
MODULES = {  # called other than the library
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "opencv-python": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
WEIGHTS_SUFFIXES = (".caffemodel", ".onnx", ".prototxt")
NAME_WIDTH = 14  # characters, at least
HASH_DIGITS = 16  # enough to tell files apart

TENSORFLOW_TIMEOUT_S = 180.0  # a cold start from a slow disk
TENSORFLOW_PROBE = """
from mask_detection.utils.tensorflow import start_tensorflow
start_tensorflow()
import keras, tensorflow as tf
print(tf.__version__)
print(keras.__version__)
for gpu in tf.config.list_physical_devices("GPU"):
    print(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
"""


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


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection doctor"
    options.add_face_folder_option(parser)
    options.add_model_option(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    faults: list[str] = []
    for title, check in CHECKS.items():
        print(title)
        findings = list(_findings(title, check, args))
        width = max(NAME_WIDTH, *(len(finding.name) for finding in findings))
        for finding in findings:
            print(_one_line(f"  {finding.name:<{width}}  {finding.value}"))
        faults += [finding.fault for finding in findings if finding.fault]
    print("will not work" if faults else "everything works")
    for fault in dict.fromkeys(faults):  # what is missing may have stopped several checks
        print(_one_line(f"  {fault}"))
    return cli.EXIT_SOME_FAILED if faults else cli.EXIT_DONE


def _findings(title: str, check: Check, args: argparse.Namespace) -> Iterator[Finding]:
    """What a check finds; if something breaks it off, that is its last finding and the other checks go on."""
    try:
        yield from check(args)
    except MaskDetectionError as error:
        yield Finding("", "not usable, see the end", str(error))
    except Exception as error:  # broken libraries raise anything
        yield Finding("", "cannot be checked, see the end", _fault_of_loading(title, error))


def _fault_of_loading(name: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) or (name == "opencv-python" and isinstance(error, ImportError)):
        return cli.import_remedy(error)
    return f"{name}: cannot be loaded ({type(error).__name__}: {error}); {REINSTALL}"


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def check_versions(args: argparse.Namespace) -> Iterator[Finding]:
    """The project, Python, the system, and the libraries but for TensorFlow, which :func:`check_tensorflow` starts."""
    yield Finding("project", f"{_project_version()}, {_commit()}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", f"{platform.platform()}, {os.cpu_count()} cores")
    for name, requirement in _requirements().items():
        if name != "tensorflow":
            yield _library(name, requirement)
    yield _library("h5py", "h5py")


def _project_version() -> str:
    pyproject = (defaults.PROJECT_FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', pyproject, re.MULTILINE)
    return version[1] if version else "unknown version"


def _commit() -> str:
    git = shutil.which("git")
    if git is None or not (defaults.PROJECT_FOLDER / ".git").exists():  # git would take a folder above for it
        return "no git checkout"
    describe = [git, "-C", str(defaults.PROJECT_FOLDER), "describe", "--always", "--dirty=, changed"]
    done = subprocess.run(describe, capture_output=True, text=True, encoding="utf-8", check=False)
    return f"commit {done.stdout.strip() or 'unknown'}"


def _requirements() -> dict[str, str]:
    """What ``requirements.txt`` asks for on this machine, by the library's name."""
    lines = _requirement_lines(REQUIREMENTS)
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0]: line for line in lines if _is_meant(line)}


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
    if name == "imutils" and "cv2" not in sys.modules:  # it imports OpenCV, whose fault is told already
        return Finding(name, "not tried without OpenCV")
    try:
        module = importlib.import_module(MODULES.get(name, name))
        version = getattr(module, "__version__", None) or importlib.metadata.version(name)
    except Exception as error:  # broken libraries raise anything
        return Finding(name, "cannot be loaded", _fault_of_loading(name, error))
    return _version(name, version, requirement)


def _version(name: str, version: str, requirement: str) -> Finding:
    if _fits(version, requirement):
        return Finding(name, version)
    return Finding(name, version, f"{name} {version}: is not the release that is needed, {requirement}; {REINSTALL}")


def _fits(version: str, requirement: str) -> bool:
    parsed = _parsed(requirement)
    return parsed is None or parsed.specifier.contains(version, prereleases=True)


def check_face_detectors(args: argparse.Namespace) -> Iterator[Finding]:
    """The files of the face detectors, whether their hashes are known, and whether each detector loads."""
    folder: Path = args.face
    yield Finding("folder", str(folder))
    if not folder.is_dir():
        raise MaskDetectionError(f"{folder}: there is no such folder; name the one with the face detector's files")
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS_SUFFIXES)
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
    yield Finding("auto", f"takes {load.first_at_hand(folder)}")


def _detector(kind: str, load: Callable[[], FaceDetector]) -> Finding:
    try:
        return Finding(kind, f"loads: {load().name}")
    except MaskDetectionError as error:
        return Finding(kind, "does not load", str(error))


def check_model(args: argparse.Namespace) -> Iterator[Finding]:
    """The model file, and what it says of itself; the network is not built."""
    path: Path = args.model
    if path == options.BUILTIN_MODEL:
        yield Finding("file", "none: the built-in face detector's own word")
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


def check_cameras(args: argparse.Namespace) -> Iterator[Finding]:
    """Which of the cameras 0 to 3 open, and the size of their pictures."""
    if "cv2" not in sys.modules:
        yield Finding("cameras", "not tried without OpenCV")
        return
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
    return Finding(name, "opens, gives no picture", f"{name}: gives no picture; close the programs that may hold it")


def check_display(args: argparse.Namespace) -> Iterator[Finding]:
    """Whether a window opens."""
    if "cv2" not in sys.modules:
        yield Finding("window", "not tried without OpenCV")
        return
    from mask_detection.io.writers import can_show_window

    if can_show_window():
        yield Finding("window", "opens")
    else:
        remedy = "let the scripts write: --output, --json (photos) or --log (video)"
        yield Finding("window", "does not open", f"display: no window can be opened here; {remedy}")


def check_tensorflow(args: argparse.Namespace) -> Iterator[Finding]:
    """TensorFlow and Keras, and the GPUs that they see. Takes seconds."""
    lines, fault = sandbox.run_probe(TENSORFLOW_PROBE, TENSORFLOW_TIMEOUT_S)
    if fault:
        remedy = "its releases need a processor with AVX" if fault.endswith("SIGILL") else REINSTALL
        yield Finding("tensorflow", "cannot be loaded", f"tensorflow: cannot be loaded ({fault}); {remedy}")
        return
    tensorflow_version, keras_version, *gpus = lines
    yield _version("tensorflow", tensorflow_version, _requirements()["tensorflow"])
    yield Finding("keras", keras_version)
    yield Finding("GPU", ", ".join(gpus) or "none that TensorFlow sees; the CPU does the work")


Check = Callable[[argparse.Namespace], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "versions": check_versions,
    "face detectors": check_face_detectors,
    "model": check_model,
    "cameras": check_cameras,
    "display": check_display,
    "TensorFlow": check_tensorflow,
}
