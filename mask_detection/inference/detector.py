"""The mask detector: finds the faces of an image and classifies each. Scripts, evaluation and users go through it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from mask_detection.inference.detections import Detections
from mask_detection.inference.joining import Join, weigh_worn_wrong
from mask_detection.inference.pipeline import tracked_frames
from mask_detection.io.images import AnyImage, to_bgr
from mask_detection.io.readers import Readers
from mask_detection.io.sources import VideoSource, open_source
from mask_detection.models import load as models
from mask_detection.models.load import LazyNetwork
from mask_detection.models.preprocessing import crop_faces
from mask_detection.utils import defaults
from mask_detection.utils.boxes import SAME_FACE_IOU, box_iou, clip_boxes
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.io.sources import Frame
    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector


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
            own choice, the built-in one's another for :meth:`MaskDetector.track`. Larger finds smaller faces and takes
            longer.
        one_stage: let the built-in face detector classify the faces, too, without the classifier.

    Raises:
        MaskDetectionError: a file is missing, damaged or of another kind, or the arguments contradict each other.
    """
    detector = lazy(
        Path(classifier),
        face_detector,
        face_folder=Path(face_folder),
        class_names=class_names,
        confidence=confidence,
        detect_size=detect_size,
        one_stage=one_stage,
    )
    detector.load()
    return detector


def lazy(
    classifier: Path,
    face_detector: str,
    *,
    face_folder: Path,
    class_names: Sequence[str] | None,
    confidence: float,
    detect_size: int | None,
    one_stage: bool,
) -> MaskDetector:
    """A mask detector whose networks are loaded when first needed; for arguments and errors see :func:`load`."""
    if one_stage and (face_detector not in ("auto", "builtin") or class_names):
        raise MaskDetectionError(
            "--one-stage: only the built-in face detector classifies by itself; leave --classes and --detector away"
        )
    kind = "builtin" if one_stage else face_detector
    load_faces = partial(models.load_face_detector, kind, face_folder, confidence, detect_size)
    load_classes = None if one_stage else partial(models.load_classifier, classifier, class_names)
    return MaskDetector(load_faces, load_classes, partial(load_faces, for_video=True))


class MaskDetector:
    """Finds faces and says who wears a mask: ``detector("group.jpg")``.

    It may be called from several threads at once; they take turns at each of the two networks. Images are paths, BGR
    uint8 arrays (H, W, 3) or PIL images, see :func:`mask_detection.io.images.to_bgr`.
    """

    def __init__(
        self,
        load_face_detector: Callable[[], FaceDetector],
        load_classifier: Callable[[], MaskClassifier] | None,
        load_for_video: Callable[[], FaceDetector] | None = None,
    ) -> None:
        """Make a detector whose networks are loaded when they are first needed.

        Args:
            load_face_detector: called once for this detector, and once for each of its replicas.
            load_classifier: likewise; None in one-stage mode, where the face detector's own class scores count.
            load_for_video: loads the face detector for the frames of videos; by default, the same as for photos.
        """
        self._face_detector = LazyNetwork(load_face_detector)
        self._video_face_detector = LazyNetwork(load_for_video) if load_for_video else self._face_detector
        self._classifier = LazyNetwork(load_classifier) if load_classifier else None
        self._joins: dict[tuple[str, ...], Join] = {}  # by the face detector's classes
        self._joining = threading.Lock()

    def load(self) -> Networks:
        """The networks, loaded at the first call.

        Raises:
            MaskDetectionError: they cannot be loaded, see :func:`load`.
        """
        return Networks(self._face_detector.load(), self._classifier.load() if self._classifier else None)

    def __repr__(self) -> str:
        if not self._face_detector.is_loaded or (self._classifier and not self._classifier.is_loaded):
            return "MaskDetector(not loaded yet)"
        return f"MaskDetector({self.face_detector_name}, {', '.join(self.class_names)})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the columns of ``Detections.probabilities``."""
        return (self._classifier or self._face_detector).load().class_names

    @property
    def face_detector_name(self) -> str:
        """What the face detector is called, with the size at which it sees images."""
        return self._face_detector.load().name

    @property
    def confidence(self) -> float:
        """Faces that the face detector is less confident of are dropped."""
        return self._face_detector.load().confidence

    @property
    def is_one_stage(self) -> bool:
        """Whether the face detector classifies the faces, without a classifier."""
        return self._classifier is None

    def with_confidence(self, confidence: float) -> MaskDetector:
        """The same detector with another confidence, on the same networks.

        Raises:
            MaskDetectionError: it is not between 0 and 1.
        """
        models.check_confidence(confidence)
        other = copy.copy(self)
        change = partial(_with_confidence, confidence=confidence)
        other._face_detector = self._face_detector.changed(change)
        other._video_face_detector = self._video_face_detector.changed(change)
        return other

    def for_video(self) -> MaskDetector:
        """This detector, at the size that its face detector chooses for video, unless one was given."""
        other = copy.copy(self)
        other._face_detector = self._video_face_detector
        return other

    def replica(self) -> MaskDetector:
        """A detector like this one with networks of its own, loaded at once, so that each thread of a pool has some.

        Raises:
            MaskDetectionError: they cannot be loaded, see :func:`load`.
        """
        other = self.finder()
        other._classifier = self._classifier and self._classifier.another()
        return other

    def finder(self) -> MaskDetector:
        """A detector like this one with a face detector of its own, loaded at once; the classifier is shared.

        Raises:
            MaskDetectionError: it cannot be loaded, see :func:`load`.
        """
        other = copy.copy(self)
        other._face_detector = self._face_detector.another()
        return other

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
        found = self.find(image)
        return found.boxes, found.face_confidences

    def find(self, image: AnyImage) -> Detections:
        """Find the faces of an image, with the face detector's own class scores as probabilities, if it has any.

        Raises:
            MaskDetectionError: the image cannot be read, or is none.
        """
        frame = to_bgr(image)
        with self._face_detector.in_use() as face_detector:
            boxes, confidences, class_scores = face_detector.detect_with_classes(frame)
        return Detections(boxes, confidences, class_scores, face_detector.class_names)

    def classify_found(self, image: AnyImage, found: Detections) -> Detections:
        """Classify faces of an image that :meth:`find` has found; in one-stage mode they are classified already.

        Raises:
            MaskDetectionError: the image cannot be read, or is none.
        """
        if self.is_one_stage:
            return found
        join, probabilities = self._join(found.class_names), self._classified(to_bgr(image), found.boxes)
        return replace(found, probabilities=join(probabilities, found.probabilities), class_names=self.class_names)

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
        """Track the faces of a video, frame by frame; the labels are averaged over a track.

        Args:
            source: a video file, a folder of frames, a camera's index, or an address such as ``rtsp://…``; or what
                :func:`mask_detection.io.sources.open_source` gave.
            every: detect on each so many-th frame and hold its detections until the next.

        Yields:
            The frames in order, and what is in them, with ``track_ids``.

        Raises:
            MaskDetectionError: the source cannot be opened, or broke off.
        """
        opened = source if isinstance(source, VideoSource) else open_source(str(source))
        with Readers([opened]) as readers, tracked_frames(readers, self.for_video(), every) as frames:
            yield from frames

    def _detect(self, frame: np.ndarray) -> Detections:
        return self.classify_found(frame, self.find(frame))

    def _join(self, detector_classes: tuple[str, ...]) -> Join:
        with self._joining:
            if detector_classes not in self._joins:
                self._joins[detector_classes] = Join(self.class_names, detector_classes)
            return self._joins[detector_classes]

    def _classified(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        assert self._classifier is not None  # noqa: S101 (for the type checker)
        crops = crop_faces(frame, boxes)
        with self._classifier.in_use() as classifier:
            return weigh_worn_wrong(classifier.classify(crops), boxes, self.class_names)


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


def _with_confidence(face_detector: FaceDetector, confidence: float) -> FaceDetector:
    other = copy.copy(face_detector)
    other.confidence = confidence
    return other
