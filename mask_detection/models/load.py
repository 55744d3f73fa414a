"""Loading what detection needs, at once or later: a face detector by its kind, a classifier by its file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Generic, TypeVar

from mask_detection.models import tflite
from mask_detection.models.base import Network
from mask_detection.models.builtin_detector import BuiltinFaceDetector
from mask_detection.models.classifier import MaskClassifier, to_classifier
from mask_detection.models.convert import load_export
from mask_detection.models.face_detector import FaceDetector
from mask_detection.models.opencv_detectors import (
    CAFFE_DETECT_SIZE,
    YUNET_DETECT_SIZE,
    YUNET_FILES,
    CaffeFaceDetector,
    HaarFaceDetector,
    YuNetFaceDetector,
)
from mask_detection.utils import downloads
from mask_detection.utils.defaults import (
    BUILTIN_PHOTO_SIZE,
    BUILTIN_VIDEO_SIZE,
    CONFIDENCE,
    DETECTORS,
    FACE_FOLDER,
    MAX_DETECT_SIZE,
    MODEL_FILE,
)
from mask_detection.utils.errors import MaskDetectionError

logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")


def load_face_detector(
    kind: str = "auto",
    folder: Path = FACE_FOLDER,
    confidence: float = CONFIDENCE,
    detect_size: int | None = None,
    for_video: bool = False,
) -> FaceDetector:
    """Load a face detector and log in one line which one it is.

    Args:
        kind: ``caffe``, ``yunet``, ``builtin``, ``haar`` or ``auto``: the first of the first two whose files lie in
            ``folder``, otherwise ``builtin``. ``auto`` never touches the network; ``caffe`` and ``yunet`` fetch missing
            files into the default folder.
        folder: where the detectors' files lie. One that is not the default is used as it is, but the built-in
            detector is taken from the default folder where this one has none.
        confidence: faces below it are dropped, 0..1.
        detect_size: what the image's longer side is scaled to for the network, in pixels; None is each detector's
            own choice. Haar works on the image as it is, up to ``HAAR_MAX_SIDE``.
        for_video: where time counts more than small faces; the built-in detector's own choice depends on it.

    Raises:
        MaskDetectionError: the files are missing, damaged or cannot be fetched, or an argument is out of range.
    """
    _check_arguments(kind, confidence, detect_size)
    is_default = folder.resolve() == FACE_FOLDER
    if not is_default and not folder.is_dir():
        raise MaskDetectionError(f"{folder}: there is no such folder; name the one with the face detector's files")
    chosen = first_at_hand(folder) if kind == "auto" else kind
    if is_default and kind in downloads.KITS:
        _fetch_missing(kind, folder)
    if chosen == "caffe":
        detector: FaceDetector = CaffeFaceDetector(folder, confidence, detect_size or CAFFE_DETECT_SIZE)
    elif chosen == "yunet":
        detector = YuNetFaceDetector(folder, confidence, detect_size or YUNET_DETECT_SIZE)
    elif chosen == "builtin":
        own_choice = BUILTIN_VIDEO_SIZE if for_video else BUILTIN_PHOTO_SIZE
        detector = BuiltinFaceDetector(folder, confidence, detect_size or own_choice)
    else:
        detector = HaarFaceDetector(confidence)
    logger.info("face detector: %s", detector.name)
    if kind == "auto" and chosen == "haar":
        logger.warning("it misses most masked faces; run `pip install ai-edge-litert` to use the built-in detector")
    return detector


def _check_arguments(kind: str, confidence: float, detect_size: int | None) -> None:
    if kind not in DETECTORS:
        raise MaskDetectionError(f"{kind}: is no face detector; choose one of {', '.join(DETECTORS)}")
    check_confidence(confidence)
    if detect_size is not None and not 1 <= detect_size <= MAX_DETECT_SIZE:
        raise MaskDetectionError(f"detect_size: {detect_size} is not a size of 1 to {MAX_DETECT_SIZE} pixels")


def check_confidence(confidence: float) -> None:
    """Refuse a least confidence that is no number between 0 and 1.

    Raises:
        MaskDetectionError: it is none.
    """
    if not 0.0 <= confidence <= 1.0:  # nor NaN
        raise MaskDetectionError(f"confidence: {confidence} is not between 0 and 1")


def first_at_hand(folder: Path) -> str:
    """The kind of detector that ``auto`` takes."""
    if any(folder.glob("*.caffemodel")) or any(folder.glob("*.prototxt")):
        return "caffe"
    if any(folder.glob(YUNET_FILES)):
        return "yunet"
    return "builtin" if tflite.is_available() else "haar"  # LiteRT is not made for every machine


def _fetch_missing(kind: str, folder: Path) -> None:
    patterns = {"caffe": ("*.prototxt", "*.caffemodel"), "yunet": (YUNET_FILES,)}[kind]
    for remote_file, pattern in zip(downloads.KITS[kind], patterns, strict=True):
        if not any(folder.glob(pattern)):
            downloads.fetch(remote_file, folder)


def load_classifier(path: Path = MODEL_FILE, class_names: Sequence[str] | None = None) -> MaskClassifier:
    """Load a mask classifier.

    Args:
        path: an HDF5 model that ``train_mask_detector.py`` or the classic script wrote, or a ``.tflite`` one, whatever
            its suffix. An HDF5 model runs as its TFLite export where LiteRT is installed.
        class_names: in the order of the model's outputs; instead of the names that the file holds.

    Raises:
        MaskDetectionError: it is no usable model, or the names don't fit its outputs.
    """
    return to_classifier(path, load_network(path), class_names)


def load_network(path: Path) -> Network:
    """Load a model file into the library that runs it fastest here; see :func:`load_classifier`."""
    if tflite.is_tflite(path):
        return tflite.load_tflite(path)
    if path.is_file() and tflite.is_available():
        return load_export(path)
    from mask_detection.models.keras_file import keras_network, load_keras_model

    return keras_network(*load_keras_model(path))


class LazyNetwork(Generic[Loaded]):
    """A network that is loaded when it is first needed, and used by one thread at a time.

    Networks are loaded one after the other, whichever thread asks: it takes memory for a moment, an export is then made
    once only, and how much is logged is a matter of all threads. What there is to log is logged the first time only.
    """

    _loading = threading.RLock()  # again, where changing a network loads it

    def __init__(self, load: Callable[[], Loaded]) -> None:
        """Say how it is loaded, which may be done several times."""
        self._load_another = self._load_first = load
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._has_logged = False

    @property
    def is_loaded(self) -> bool:
        """Whether it was needed already."""
        return self._loaded is not None

    def load(self) -> Loaded:
        """The network."""
        with self._loading:
            if self._loaded is None:
                with _errors_only() if self._has_logged else nullcontext():
                    self._loaded = self._load_first()
                self._has_logged = True
            return self._loaded

    @contextmanager
    def in_use(self) -> Iterator[Loaded]:
        """The network, while no other thread uses it."""
        loaded = self.load()
        with self._lock:
            yield loaded

    def another(self) -> LazyNetwork[Loaded]:
        """The same network loaded once more."""
        with self._loading:
            other = LazyNetwork(self._load_another)
            other._has_logged = self._has_logged
            other.load()
            self._has_logged = True
            return other

    def changed(self, change: Callable[[Loaded], Loaded]) -> LazyNetwork[Loaded]:
        """What makes another of this one, which it shares the lock with."""
        other = LazyNetwork(lambda: change(self._load_another()))
        other._lock, other._load_first = self._lock, lambda: change(self.load())
        return other


@contextmanager
def _errors_only() -> Iterator[None]:
    logger = logging.getLogger("mask_detection")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
