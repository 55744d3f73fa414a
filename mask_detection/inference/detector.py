"""The mask detector: finds the faces of an image and classifies each. Scripts, evaluation and users go through it."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from mask_detection.inference.detections import Detections
from mask_detection.inference.joining import Join
from mask_detection.inference.pipeline import detected_frames
from mask_detection.io.images import AnyImage, to_bgr
from mask_detection.io.sources import VideoSource, open_source
from mask_detection.models import load as models
from mask_detection.models.preprocessing import crop_faces
from mask_detection.utils import defaults
from mask_detection.utils.boxes import box_iou, clip_boxes
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.io.sources import Frame
    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector

SAME_FACE_IOU = 0.5  # from here on two boxes are of one face


class Networks(NamedTuple):
    """What a mask detector runs.

    Attributes:
        face_detector: finds the faces, and perhaps tells classes by itself.
        classifier: of face crops; None in one-stage mode, where the face detector's own class scores count.
    """

    face_detector: FaceDetector
    classifier: MaskClassifier | None


def load(
    classifier: str | Path = defaults.MODEL_FILE,
    face_detector: str = "auto",
    *,
    face_folder: str | Path = defaults.FACE_FOLDER,
    class_names: Sequence[str] | None = None,
    confidence: float = defaults.CONFIDENCE,
    detect_size: int | None = None,
    one_stage: bool = False,
) -> MaskDetector:
    """Load a mask detector.

    Args:
        classifier: an ``.h5`` model that ``train_mask_detector.py`` or the classic script wrote, or a ``.tflite`` one.
        face_detector: ``auto``, ``caffe``, ``yunet``, ``builtin`` or ``haar``; ``auto`` takes the first of Caffe SSD
            and YuNet whose files lie in ``face_folder``, otherwise the built-in one. ``caffe`` and ``yunet`` fetch
            missing files into the default folder.
        face_folder: folder with the face detectors' files.
        class_names: in the order of the classifier's outputs, instead of the names that its file holds.
        confidence: faces that the face detector is less confident of are dropped, 0..1.
        detect_size: what an image's longer side is scaled to for the face detector, in pixels; None is each detector's
            own choice. Larger finds smaller faces and takes longer.
        one_stage: let the built-in face detector classify the faces, too, without the classifier.

    Raises:
        MaskDetectionError: a file is missing, damaged or of another kind, or the arguments contradict each other.
    """
    detector = MaskDetector(
        partial(
            load_networks,
            classifier=Path(classifier),
            face_detector=face_detector,
            face_folder=Path(face_folder),
            class_names=class_names,
            confidence=confidence,
            detect_size=detect_size,
            one_stage=one_stage,
        )
    )
    detector.load()
    return detector


def load_networks(
    classifier: Path,
    face_detector: str,
    face_folder: Path,
    class_names: Sequence[str] | None,
    confidence: float,
    detect_size: int | None,
    one_stage: bool,
) -> Networks:
    """Load the networks of one mask detector; for arguments and errors see :func:`load`."""
    if not one_stage:
        faces = models.load_face_detector(face_detector, face_folder, confidence, detect_size)
        return Networks(faces, models.load_classifier(classifier, class_names))
    if face_detector not in ("auto", "builtin") or class_names:
        raise MaskDetectionError(
            "--one-stage: only the built-in face detector classifies by itself; leave --classes and --detector away"
        )
    return Networks(models.load_face_detector("builtin", face_folder, confidence, detect_size), None)


class MaskDetector:
    """Finds faces and says who wears a mask: ``detector("group.jpg")``.

    It may be called from several threads at once; they take turns at each of the two networks. Images are paths, BGR
    uint8 arrays (H, W, 3) or PIL images, see :func:`mask_detection.io.images.to_bgr`.
    """

    def __init__(self, load_networks: Callable[[], Networks]) -> None:
        """Make a detector whose networks are loaded when they are first needed.

        Args:
            load_networks: called once for this detector, and once for each of its replicas.
        """
        self._load_networks = load_networks if isinstance(load_networks, _Loader) else _Loader(load_networks)
        self._networks: Networks | None = None
        self._loading = threading.RLock()
        self._finding = threading.Lock()
        self._classifying = threading.Lock()

    def load(self) -> Networks:
        """The networks, loaded at the first call.

        Raises:
            MaskDetectionError: they cannot be loaded, see :func:`load`.
        """
        with self._loading:
            if self._networks is None:
                self._networks = self._load_networks()
            return self._networks

    def __repr__(self) -> str:
        if self._networks is None:
            return "MaskDetector(not loaded yet)"
        return f"MaskDetector({self.face_detector_name}, {', '.join(self.class_names)})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the columns of ``Detections.probabilities``."""
        face_detector, classifier = self.load()
        return classifier.class_names if classifier else face_detector.class_names

    @property
    def face_detector_name(self) -> str:
        """What the face detector is called, with the size at which it sees images."""
        return self.load().face_detector.name

    @property
    def confidence(self) -> float:
        """Faces that the face detector is less confident of are dropped."""
        return self.load().face_detector.confidence

    @property
    def is_one_stage(self) -> bool:
        """Whether the face detector classifies the faces, without a classifier."""
        return self.load().classifier is None

    def with_confidence(self, confidence: float) -> MaskDetector:
        """The same detector with another confidence, on the same networks.

        Raises:
            MaskDetectionError: it is not between 0 and 1.
        """
        models.check_confidence(confidence)
        face_detector, classifier = self.load()
        face_detector = copy.copy(face_detector)
        face_detector.confidence = confidence
        other = copy.copy(self)  # with the same locks
        other._networks = Networks(face_detector, classifier)
        other._load_networks = _Loader(partial(_load_with_confidence, self._load_networks, confidence))
        return other

    def replica(self) -> MaskDetector:
        """A detector like this one with networks of its own, loaded at once, so that each thread of a pool has some.

        Raises:
            MaskDetectionError: they cannot be loaded, see :func:`load`.
        """
        detector = MaskDetector(self._load_networks)
        detector.load()
        return detector

    @overload
    def __call__(self, images: AnyImage) -> Detections: ...

    @overload
    def __call__(self, images: list[AnyImage] | tuple[AnyImage, ...]) -> list[Detections]: ...

    def __call__(self, images: AnyImage | list[AnyImage] | tuple[AnyImage, ...]) -> Detections | list[Detections]:
        """Find the faces of an image and classify each; of a list of images, one after the other.

        Raises:
            MaskDetectionError: an image cannot be read, or is none.
        """
        if isinstance(images, (list, tuple)):
            return [self._detect(to_bgr(image)) for image in images]
        return self._detect(to_bgr(images))

    def find_faces(self, image: AnyImage) -> tuple[np.ndarray, np.ndarray]:
        """Find the faces of an image, without classifying them.

        Returns:
            (N, 4) int32 xyxy in pixels, x2 and y2 exclusive, inside the image, the most confident first; and
            (N,) float32 confidences.

        Raises:
            MaskDetectionError: the image cannot be read, or is none.
        """
        boxes, confidences, _ = self._find(to_bgr(image))
        return boxes, confidences

    def classify(self, image: AnyImage, boxes: np.ndarray) -> Detections:
        """Classify faces that somebody else has found.

        Args:
            image: the whole image.
            boxes: (N, 4) xyxy in pixels of the image; rounded, and cut off at its edges.

        Returns:
            One detection a box, in their order, with face confidences of 1. In one-stage mode, a face that the face
            detector itself doesn't find gets even probabilities.

        Raises:
            MaskDetectionError: the image cannot be read, or a box is not in it.
        """
        frame = to_bgr(image)
        boxes = _pixels_inside(boxes, frame.shape[:2])
        if self.is_one_stage:
            probabilities = _probabilities_of_nearest(boxes, self._detect(frame))
        else:
            probabilities = self._classified(frame, boxes)
        return Detections(boxes, np.ones(len(boxes), np.float32), probabilities, self.class_names)

    def track(self, source: str | Path | int | VideoSource, every: int = 1) -> Iterator[tuple[Frame, Detections]]:
        """Follow the faces of a video, frame by frame; the labels are averaged over a track.

        Args:
            source: a video file, a folder of frames, a camera's index, or an address such as ``rtsp://…``; or what
                :func:`mask_detection.io.sources.open_source` gave.
            every: detect on each so many-th frame and hold its detections until the next.

        Yields:
            The frames in order, and what is in them, with ``track_ids``.

        Raises:
            MaskDetectionError: the source cannot be opened, or broke off.
        """
        from mask_detection.inference.tracking import Tracker

        tracker = Tracker()
        opened = source if isinstance(source, VideoSource) else open_source(str(source))
        with opened, detected_frames(opened, self.replica, every) as detected:
            for frame, detections in detected.frames:
                yield frame, tracker.update(detections, frame.time_s)

    def _detect(self, frame: np.ndarray) -> Detections:
        boxes, confidences, class_scores = self._find(frame)
        face_detector, classifier = self.load()
        if classifier is None:
            return Detections(boxes, confidences, class_scores, face_detector.class_names)
        probabilities = self._join(self._classified(frame, boxes), class_scores)
        return Detections(boxes, confidences, probabilities, classifier.class_names)

    @cached_property
    def _join(self) -> Join:
        face_detector, classifier = self.load()
        return Join(classifier.class_names if classifier else (), face_detector.class_names)

    def _find(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        face_detector = self.load().face_detector
        with self._finding:
            return face_detector.detect_with_classes(frame)

    def _classified(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        classifier = self.load().classifier
        assert classifier is not None  # noqa: S101 (for the type checker)
        crops = crop_faces(frame, boxes)
        with self._classifying:
            return classifier.classify(crops)


def _pixels_inside(boxes: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Round boxes (N, 4) xyxy to whole pixels, at least one each, inside an image of (height, width): int32.

    Raises:
        MaskDetectionError: they have another shape, or one lies outside.
    """
    try:
        given = np.asarray(boxes)
        if given.dtype.kind not in "iufO" and given.size:
            raise TypeError
        given = given.astype(float)
    except (TypeError, ValueError):
        raise MaskDetectionError("boxes: are not numbers; give (N, 4) x1, y1, x2, y2 in pixels") from None
    given = given.reshape(0, 4) if given.size == 0 else given
    if given.ndim != 2 or given.shape[1] != 4 or not np.isfinite(given).all():
        raise MaskDetectionError(f"boxes: are of shape {given.shape}; give (N, 4) finite x1, y1, x2, y2 in pixels")
    upper_left = np.minimum(given[:, :2].round(), np.ceil(given[:, 2:]) - 1)
    lower_right = np.maximum(given[:, 2:].round(), upper_left + 1)
    inside = clip_boxes(np.hstack([upper_left, lower_right]), frame_size).astype(np.int32)
    outside = (inside[:, 2:] <= inside[:, :2]).any(axis=1) | (given[:, 2:] <= given[:, :2]).any(axis=1)
    if outside.any():
        box = given[outside.argmax()].tolist()
        height, width = frame_size
        raise MaskDetectionError(f"boxes: {box} is empty or outside the image of {width} x {height} pixels")
    return inside


def _probabilities_of_nearest(boxes: np.ndarray, detections: Detections) -> np.ndarray:
    """Those of the detection that overlaps each box (N, 4) best: (N, n_classes) float32, even where none does."""
    n_classes = len(detections.class_names)
    even = np.full((len(boxes), n_classes), 1 / n_classes, np.float32)
    if not len(detections):
        return even
    overlaps = box_iou(boxes, detections.boxes)  # (N, M)
    is_found = overlaps.max(axis=1, keepdims=True) >= SAME_FACE_IOU
    return np.where(is_found, detections.probabilities[overlaps.argmax(axis=1)], even)


def _load_with_confidence(load_networks: Callable[[], Networks], confidence: float) -> Networks:
    networks = load_networks()
    networks.face_detector.confidence = confidence
    return networks


class _Loader:
    """Loads networks as often as asked; what there is to log of them is logged the first time only.

    They are loaded one after the other, whichever thread asks: it takes memory for a moment, an export is then made
    once only, and how much is logged is a matter of all threads.
    """

    _in_turn = threading.RLock()  # again, where a loader asks another one

    def __init__(self, load_networks: Callable[[], Networks]) -> None:
        self._load_networks = load_networks
        self._has_loaded = False

    def __call__(self) -> Networks:
        with self._in_turn:
            with _errors_only() if self._has_loaded else nullcontext():
                networks = self._load_networks()
            self._has_loaded = True
            return networks


@contextmanager
def _errors_only() -> Iterator[None]:
    logger = logging.getLogger("mask_detection")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
