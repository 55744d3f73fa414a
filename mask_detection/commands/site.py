"""The page of ``web/`` with all that it needs: both models, LiteRT.js, and the numbers that Python holds.

Nothing is written here: a site is its files' bytes by name, complete or not made at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from base64 import b64encode
from math import isfinite
from pathlib import Path
from typing import Any

from mask_detection import __version__
from mask_detection.inference import detections, drawing, joining, tracking
from mask_detection.inference.classes import is_worn_wrong, shown, worn_wrong_columns
from mask_detection.models import builtin_detector, face_detector, fcos, preprocessing, tflite
from mask_detection.models.builtin_detector import DetectorNetwork, find_builtin_file
from mask_detection.models.convert import export_path
from mask_detection.utils import defaults
from mask_detection.utils.cache import cache_folder
from mask_detection.utils.downloads import RemoteFile, fetch
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import list_files, make_folder, read_whole

LITERT_VERSION = "2.5.3"
LITERT = {  # packages of the npm registry, which names their sha512, and what the page takes of each
    RemoteFile(
        name=f"litertjs-core-{LITERT_VERSION}.tgz",
        address=f"https://registry.npmjs.org/@litertjs/core/-/core-{LITERT_VERSION}.tgz",
        n_bytes=11_817_097,
        digest="3e51a66cc3aaf568ad5fb14ed2385b749c3d1ad85ab6ccae0905e34edff0259a"
        "3414b6b0e3cab8b73f08c2a82a08892f8981abf4e1432f59029cde27cd6a3225",
        algorithm="sha512",
    ): {
        "litert/core.js": "package/dist/index.js",
        # Of four builds, the one that every browser with SIMD runs, with the same results on every processor.
        "litert/litert_wasm_compat_internal.js": "package/wasm/litert_wasm_compat_internal.js",
        "litert/litert_wasm_compat_internal.wasm": "package/wasm/litert_wasm_compat_internal.wasm",
    },
    RemoteFile(
        name=f"litertjs-wasm-utils-{LITERT_VERSION}.tgz",
        address=f"https://registry.npmjs.org/@litertjs/wasm-utils/-/wasm-utils-{LITERT_VERSION}.tgz",
        n_bytes=4_698,
        digest="e1f262c3ab4142722cfb48c7fce435ea760e89297cffecd99e7e61dae97c6932"
        "878b4e6c56a656e7cd139a4efca42da44f7f40f4e60155d15ac2d799fec23591",
        algorithm="sha512",
    ): {"litert/wasm-utils.js": "package/dist/index.js"},
}
LIBRARY, RUNTIME = "litert/core.js", "litert/litert_wasm_compat_internal.js"
DETECTOR, CLASSIFIER = "models/face_detector.tflite", "models/mask_detector.tflite"
SETTINGS, FILE_LIST = "settings.json", "files.js"


def assemble(classifier: Path, face_folder: Path) -> dict[str, bytes]:
    """The site's files by name, ``/`` between folders.

    Args:
        classifier: a ``.tflite`` model of this project, or an ``.h5`` one whose TFLite export lies beside it.
        face_folder: where to look for the built-in face detector first.

    Raises:
        MaskDetectionError: a model is missing, damaged or without class names, or LiteRT.js cannot be fetched.
    """
    detector_path = find_builtin_file(face_folder)
    detector = DetectorNetwork(detector_path)
    classifier_data, classifier_classes = _read_classifier(classifier)
    sources = list_files(defaults.WEB_FOLDER)
    site = {
        path.relative_to(defaults.WEB_FOLDER).as_posix(): read_whole(path, "a file of the page") for path in sources
    }
    site |= {DETECTOR: read_whole(detector_path, "a face detector"), CLASSIFIER: classifier_data, **_litert()}
    site[SETTINGS] = json.dumps(settings(classifier_classes, detector), indent=1).encode()
    site[FILE_LIST] = file_list(site)
    return site


def _read_classifier(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a classifier's ``.tflite`` file, and its classes."""
    exported = path if tflite.is_tflite(path) else export_path(path)
    remedy = f"run `python -m mask_detection export --model {path}`"
    if not exported.is_file():
        raise MaskDetectionError(f"{path}: there is no {exported.name} beside it; {remedy}")
    data = read_whole(exported, "a model")
    metadata = tflite.read_metadata(exported, data)
    if metadata is None or metadata.class_names is None:
        raise MaskDetectionError(
            f"{exported}: doesn't hold its class names; take a model that the export command wrote"
        )
    if exported != path and metadata.source_sha256 != hashlib.sha256(read_whole(path, "a model")).hexdigest():
        raise MaskDetectionError(f"{exported}: was made of another model than {path.name}; {remedy}")
    if tflite.open_tflite(exported, data).n_outputs != len(metadata.class_names):
        raise MaskDetectionError(f"{exported}: has more or fewer outputs than class names; {remedy}")
    return data, metadata.class_names


def _litert() -> dict[str, bytes]:
    """The files of LiteRT.js, out of packages that are fetched once, and checked each time."""
    files: dict[str, bytes] = {}
    folder = cache_folder()
    make_folder(folder)
    for package, members in LITERT.items():
        path = fetch(package, folder, otherwise="")
        with tarfile.open(fileobj=io.BytesIO(read_whole(path, "a package"))) as archive:
            for name, member in members.items():
                content = archive.extractfile(member)
                assert content is not None  # noqa: S101 (for the type checker: the package is known to the byte)
                files[name] = content.read()
    # A worker finds modules by their address alone. Apache-2.0 asks for a note of what was changed.
    changed = files[LIBRARY].replace(b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"')
    files[LIBRARY] = b"// Changed from the original: wasm-utils is imported by its address.\n" + changed
    return files


def settings(classifier_classes: tuple[str, ...], detector: DetectorNetwork) -> dict[str, Any]:
    """What the page's code needs to know, each number from the place that holds it."""
    all_classes = tuple(dict.fromkeys(classifier_classes + detector.class_names))
    return {
        "version": __version__,
        "models": {"detector": DETECTOR, "classifier": CLASSIFIER},
        "liteRt": {"version": LITERT_VERSION, "library": LIBRARY, "runtime": RUNTIME},
        "confidence": defaults.CONFIDENCE,
        "certain_from": detections.CERTAIN_FROM,
        "detector": {
            "photo_passes": _passes(defaults.BUILTIN_PHOTO_SIZE, detector),
            "video_passes": _passes(defaults.BUILTIN_VIDEO_SIZE, detector),
            "input_multiple": fcos.INPUT_MULTIPLE,
            "strides": fcos.STRIDES,
            "first_class_column": fcos.CLASSES.start,
            "max_log_distance": fcos.MAX_LOG_DISTANCE,
            "min_fraction_inside": face_detector.MIN_FRACTION_INSIDE,
            "nms_iou": face_detector.NMS_IOU,
            "max_fraction_within": face_detector.MAX_FRACTION_WITHIN,
        },
        "classifier": {"crop_margin": preprocessing.CROP_MARGIN},
        "worn_wrong": {
            "columns": worn_wrong_columns(classifier_classes),
            "nose_seen_from": joining.NOSE_SEEN_FROM,
        },
        "join": joining.Join(classifier_classes, detector.class_names).columns,
        "tracking": _tracking(),
        "drawing": _drawing(all_classes),
    }


def _passes(size: int, detector: DetectorNetwork) -> list[dict[str, float | None]]:
    """The detector's passes over an image; JSON has no infinity, and ``null`` is no limit."""
    passes = builtin_detector.fine_to_coarse(size, detector.input_size)
    return [
        {"size": size, "min_face": least, "max_face": most if isfinite(most) else None} for size, least, most in passes
    ]


def _tracking() -> dict[str, float]:
    return {
        "max_gap_s": tracking.MAX_GAP,
        "min_iou": tracking.MIN_IOU,
        "memory_s": tracking.MEMORY,
        "min_decay": tracking.MIN_DECAY,
        "min_weight": tracking.MIN_WEIGHT,
        "classify_every": tracking.CLASSIFY_EVERY,
        "classify_within_s": tracking.CLASSIFY_WITHIN,
        "time_step_s": tracking.TIME_STEP,
        "min_predictions": tracking.MIN_PREDICTIONS,
        "same_view_iou": tracking.SAME_VIEW_IOU,
        "same_scores": tracking.SAME_SCORES,
        "certain_from": detections.CERTAIN_FROM,
    }


def _drawing(class_names: tuple[str, ...]) -> dict[str, Any]:
    """Sizes and colours; those of the classes by their names."""
    classes = {
        name: {
            "shown": shown(name),
            "color": drawing.hex_color(color),
            "ink": drawing.hex_color(drawing.ink_on(color)),
            "is_dashed": is_worn_wrong(name),
        }
        for name, color in drawing.class_colors(class_names).items()
    }
    return {
        "text_fraction": drawing.TEXT_FRACTION,
        "min_text_pixels": drawing.MIN_TEXT_PIXELS,
        "text_per_line": drawing.TEXT_PER_LINE,
        "text_per_pad": drawing.TEXT_PER_PAD,
        "min_line_pixels": drawing.MIN_LINE_PIXELS,
        "dash": drawing.DASH,
        "max_hidden": drawing.MAX_HIDDEN,
        "uncertain": drawing.hex_color(drawing.GREY),
        "classes": classes,
    }


def file_list(site: dict[str, bytes]) -> bytes:
    """A script that names all files for the service worker, each with its hash as browsers check it, and a version."""
    hashes = {
        name: f"sha256-{b64encode(hashlib.sha256(data).digest()).decode()}" for name, data in sorted(site.items())
    }
    version = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:16]
    return f"self.SITE = {json.dumps({'version': version, 'files': hashes}, indent=1)};\n".encode()
