"""Face detectors behind one interface: a picture goes in, boxes and confidences come out."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np

from mask_detection.models import litert, trial
from mask_detection.models.preprocessing import scaled
from mask_detection.utils import downloads
from mask_detection.utils.defaults import CONFIDENCE, FACE_FOLDER
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole

logger = logging.getLogger(__name__)

MIN_SHARE_INSIDE = 0.5  # of a box's area; the Caffe SSD puts ghost boxes beside close-ups
NMS_IOU = 0.4  # boxes that overlap more are one face
MAX_SHARE_WITHIN = 0.8  # of a box's area within a surer one; above, it is a part of that face

CAFFE_DETECT_SIZE = 400  # pixels of the picture's longer side; the network was trained on 300 x 300
CAFFE_MIN_SIDE = 64  # pixels, below which its layers shrink to nothing
CAFFE_MEAN_BGR = (
    104.0,
    177.0,
    123.0,
)  # the training images' mean, from the model's origin (face_detector/README.md)

YUNET_FILES = "face_detection_yunet_*.onnx"
YUNET_DETECT_SIZE = 960  # pixels of the picture's longer side
YUNET_COARSE_DIVISOR = 3
YUNET_MIN_CONFIDENCE = 0.05  # the network's own threshold, below any that is of use here
YUNET_NMS_IOU = 0.9  # its own weeding out does next to nothing: `keep_faces` does it for all passes at once
YUNET_TOP_K = 5000
YUNET_TRIAL_SIZE = 64  # pixels

HAAR_MAX_SIDE = 2000  # pixels of the picture's longer side; above, a picture would take minutes


class FaceDetector(ABC):
    """Finds faces in a picture. A new detector says its name and how it proposes boxes; the rest is shared.

    Attributes:
        name: for the user.
        class_names: the classes that it tells apart by itself; most detectors tell none.
    """

    name: str
    class_names: tuple[str, ...] = ()

    def __init__(self, confidence: float = CONFIDENCE) -> None:
        self.confidence = confidence

    @abstractmethod
    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes as the network gives them, before any of them is dropped.

        Args:
            frame: the picture, (H, W, 3) BGR uint8.

        Returns:
            (M, 4) float xyxy in pixels of the picture, perhaps outside of it, and (M,) float confidences 0..1.
        """

    def detect(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the faces of a picture, the surest first.

        Args:
            frame: the picture, (H, W, 3) BGR uint8.

        Returns:
            (N, 4) int32 xyxy in pixels, x2 and y2 exclusive, inside the picture and not empty, and
            (N,) float32 confidences.
        """
        boxes, confidences, _ = self.detect_with_classes(frame)
        return boxes, confidences

    def propose_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Like :meth:`propose`, with (M, n_classes) float probabilities of ``class_names``."""
        boxes, confidences = self.propose(frame)
        return boxes, confidences, np.empty((len(boxes), 0), np.float32)

    def detect_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Like :meth:`detect`, with (N, n_classes) float32 probabilities of ``class_names``."""
        boxes, confidences, probabilities = self.propose_with_classes(frame)
        boxes, kept = keep_faces(boxes, confidences, frame.shape[:2], self.confidence)
        return boxes, confidences[kept].astype(np.float32), probabilities[kept].astype(np.float32)


def keep_faces(
    boxes: np.ndarray, confidences: np.ndarray, frame_size: tuple[int, int], min_confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Drop what is unsure, outside the picture or found twice; clip the rest to the picture.

    Args:
        boxes: (M, 4) xyxy in pixels, anywhere.
        confidences: (M,).
        frame_size: height and width of the picture in pixels.
        min_confidence: boxes below it are dropped.

    Returns:
        (N, 4) int32, the boxes that are left, by falling confidence; and (N,) int, which of the M they are.
    """
    height, width = frame_size
    kept = np.flatnonzero(np.isfinite(boxes).all(axis=1) & (confidences >= min_confidence))
    clipped = np.clip(boxes[kept].round(), 0, [width, height, width, height])
    inside = _areas(clipped) > MIN_SHARE_INSIDE * _areas(boxes[kept])
    kept, clipped = kept[inside], clipped[inside].astype(np.int32)

    corner_and_size = np.hstack([clipped[:, :2], clipped[:, 2:] - clipped[:, :2]])
    order = cv2.dnn.NMSBoxes(corner_and_size.tolist(), confidences[kept].tolist(), 0.0, NMS_IOU)
    chosen = np.asarray(order, int).ravel()
    chosen = chosen[~_are_parts(clipped[chosen])]
    return clipped[chosen], kept[chosen]


def _are_parts(boxes: np.ndarray) -> np.ndarray:
    """Mark boxes (N, 4) that lie within a surer one before them, such as an eye of a close-up taken for a face."""
    corner, opposite = (
        np.maximum(boxes[:, None, :2], boxes[None, :, :2]),
        np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]),
    )
    shared = np.maximum(opposite - corner, 0).prod(axis=2)  # (N, N) pixels
    within = np.tril(shared, k=-1) > MAX_SHARE_WITHIN * _areas(boxes)[:, None]
    return within.any(axis=1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def _finite(rows: np.ndarray) -> np.ndarray:
    """The rows (M, …) of a network's answer that are numbers throughout, float64: damaged weights give others too."""
    return rows[np.isfinite(rows).all(axis=1)].astype(np.float64)


class CaffeFaceDetector(FaceDetector):
    """OpenCV's res10 SSD, the face detector of the classic recipe."""

    def __init__(self, folder: Path, confidence: float = CONFIDENCE, detect_size: int = CAFFE_DETECT_SIZE) -> None:
        """Load ``deploy.prototxt`` and the one ``*.caffemodel`` from a folder.

        Args:
            folder: where they lie.
            confidence: faces below it are left out.
            detect_size: what the picture's longer side is scaled to for the network, in pixels.

        Raises:
            MaskDetectionError: one of the two is missing or damaged.
        """
        super().__init__(confidence)
        self.name = f"Caffe SSD (res10, {detect_size} px)"
        self._detect_size = detect_size
        prototxt, caffemodel = find_caffe_files(folder)
        trial.survive(open_caffe.__name__, prototxt, caffemodel)
        try:
            self._net = open_caffe(prototxt, caffemodel)
        except (cv2.error, IndexError, ValueError):
            raise MaskDetectionError(
                f"{caffemodel}: does not fit {prototxt.name} or is damaged; delete both and run "
                "`python -m mask_detection download caffe`"
            ) from None

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose`."""
        height, width = frame.shape[:2]
        scale = self._detect_size / max(height, width)
        size = max(CAFFE_MIN_SIDE, round(width * scale)), max(CAFFE_MIN_SIDE, round(height * scale))
        self._net.setInput(cv2.dnn.blobFromImage(frame, 1.0, size, CAFFE_MEAN_BGR))
        rows = _finite(self._net.forward()[0, 0])  # (M, 7): image, class, confidence, x1, y1, x2, y2 in parts
        return rows[:, 3:7] * [width, height, width, height], rows[:, 2]


def open_caffe(prototxt: Path, caffemodel: Path) -> cv2.dnn.Net:
    """Load a Caffe network and run it once.

    Raises:
        MaskDetectionError: a file cannot be read.
        Exception: whatever damage leads OpenCV and NumPy to.
    """
    network = cv2.dnn.readNetFromCaffe(
        np.frombuffer(read_whole(prototxt, "a Caffe network"), np.uint8),
        np.frombuffer(read_whole(caffemodel, "Caffe weights"), np.uint8),
    )
    network.setInput(np.zeros((1, 3, CAFFE_MIN_SIDE, CAFFE_MIN_SIDE), np.float32))
    network.forward()[0, 0]
    return network


class YuNetFaceDetector(FaceDetector):
    """OpenCV Zoo's YuNet: small, quick, at home with small and with masked faces."""

    def __init__(self, folder: Path, confidence: float = CONFIDENCE, detect_size: int = YUNET_DETECT_SIZE) -> None:
        """Load the newest ``face_detection_yunet_*.onnx`` of a folder.

        Args:
            folder: where it lies.
            confidence: faces below it are left out.
            detect_size: what the picture's longer side is scaled to for the network, in pixels.

        Raises:
            MaskDetectionError: there is none, or it is damaged.
        """
        super().__init__(confidence)
        self.name = f"YuNet ({detect_size} px)"
        # A face has to be smaller than some 300 px in the network's input; the coarse pass finds the larger ones. Each
        # pass has its own copy: setting one up for another input size takes as long as running it.
        long_sides = detect_size, detect_size // YUNET_COARSE_DIVISOR
        path = find_yunet_file(folder)
        trial.survive(open_yunet.__name__, path)
        try:
            self._passes = [(long_side, open_yunet(path)) for long_side in long_sides]
        except cv2.error:
            raise MaskDetectionError(
                f"{path}: is not a YuNet network or is damaged; delete it and run "
                "`python -m mask_detection download yunet`"
            ) from None

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose`."""
        rows = np.concatenate([_yunet_rows(network, frame, long_side) for long_side, network in self._passes])
        return rows[:, :4], rows[:, 4]


def open_yunet(path: Path) -> cv2.FaceDetectorYN:
    """Load a YuNet network and run it once.

    Raises:
        MaskDetectionError: the file cannot be read.
        cv2.error: it is damaged.
    """
    network, size = np.frombuffer(read_whole(path, "an ONNX network"), np.uint8), (YUNET_TRIAL_SIZE, YUNET_TRIAL_SIZE)
    detector = cv2.FaceDetectorYN.create(
        "onnx", network, np.empty(0, np.uint8), size, YUNET_MIN_CONFIDENCE, YUNET_NMS_IOU, YUNET_TOP_K
    )
    detector.detect(np.zeros((*size, 3), np.uint8))
    return detector


def _yunet_rows(network: cv2.FaceDetectorYN, frame: np.ndarray, long_side: int) -> np.ndarray:
    """One pass over the picture at one scale: (M, 5) x1, y1, x2, y2 in pixels of the picture, confidence."""
    height, width = frame.shape[:2]
    scale = long_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    network.setInputSize(size)
    _, found = network.detect(scaled(frame, size))
    if found is None:
        return np.empty((0, 5))
    found = _finite(found)
    corner, sides, confidence = found[:, :2], found[:, 2:4], found[:, 14:]  # 4..13 are landmarks
    back = np.array([width / size[0], height / size[1]])
    return np.hstack([corner * back, (corner + sides) * back, confidence])


class HaarFaceDetector(FaceDetector):
    """The Viola-Jones cascade that opencv-python brings along: needs no files, misses most masked faces."""

    name = "Haar cascade"

    def __init__(self, confidence: float = CONFIDENCE) -> None:
        super().__init__(confidence)
        from cv2.data import haarcascades

        self._cascade = cv2.CascadeClassifier(haarcascades + "haarcascade_frontalface_default.xml")

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose`."""
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        height, width = gray.shape
        scale = min(1.0, HAAR_MAX_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        gray = cv2.equalizeHist(cv2.resize(gray, size, interpolation=cv2.INTER_AREA))
        found, _, stage_sums = self._cascade.detectMultiScale3(gray, scaleFactor=1.1, outputRejectLevels=True)
        corner_and_size = np.asarray(found, float).reshape(-1, 4) / scale
        boxes = np.hstack([corner_and_size[:, :2], corner_and_size[:, :2] + corner_and_size[:, 2:]])
        # The last stage's sum lies between about -1 (doubtful) and 12 on real faces: squeeze it into 0..1.
        return boxes, 1.0 / (1.0 + np.exp(-np.asarray(stage_sums, float).ravel()))


def load_face_detector(
    kind: str = "auto", folder: Path = FACE_FOLDER, confidence: float = CONFIDENCE, detect_size: int | None = None
) -> FaceDetector:
    """Load a face detector and say in one log line which one it is.

    Args:
        kind: ``caffe``, ``yunet``, ``builtin``, ``haar`` or ``auto``: the first of the first two whose files lie in
            ``folder``, otherwise ``builtin``. ``auto`` never touches the network; ``caffe`` and ``yunet`` fetch missing
            files into the default folder.
        folder: where the detectors' files lie. One that is not the default is used as it is, but the built-in
            detector is taken from the default folder where this one has none.
        confidence: faces below it are left out, 0..1.
        detect_size: what the picture's longer side is scaled to for the network, in pixels; None is each detector's
            own choice. Haar works on the picture as it is, up to ``HAAR_MAX_SIDE``.

    Raises:
        MaskDetectionError: the files are missing, damaged or cannot be fetched.
    """
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
        from mask_detection.models.builtin_detector import DETECT_SIZE, BuiltinFaceDetector

        detector = BuiltinFaceDetector(folder, confidence, detect_size or DETECT_SIZE)
    else:
        detector = HaarFaceDetector(confidence)
    logger.info("face detector: %s", detector.name)
    if kind == "auto" and chosen == "haar":
        logger.warning("it misses most masked faces; run `pip install ai-edge-litert` to use the built-in detector")
    return detector


def first_at_hand(folder: Path) -> str:
    """The kind of detector that ``auto`` takes."""
    if any(folder.glob("*.caffemodel")) or any(folder.glob("*.prototxt")):
        return "caffe"
    if any(folder.glob(YUNET_FILES)):
        return "yunet"
    return "builtin" if litert.is_available() else "haar"  # LiteRT is not made for every machine


def _fetch_missing(kind: str, folder: Path) -> None:
    patterns = {"caffe": ("*.prototxt", "*.caffemodel"), "yunet": (YUNET_FILES,)}[kind]
    for remote_file, pattern in zip(downloads.KITS[kind], patterns, strict=True):
        if not any(folder.glob(pattern)):
            downloads.fetch(remote_file, folder)


def find_caffe_files(folder: Path) -> tuple[Path, Path]:
    """Return the network's description and its weights.

    Raises:
        MaskDetectionError: there is not exactly one of each.
    """
    found = []
    for pattern, what in (("*.prototxt", "the network's description"), ("*.caffemodel", "the network's weights")):
        files = sorted(folder.glob(pattern))
        if len(files) != 1:
            raise MaskDetectionError(
                f"{folder}: holds {len(files)} {pattern} files ({what}) and one is needed; "
                "run `python -m mask_detection download caffe`"
            )
        found.append(files[0])
    return found[0], found[1]


def find_yunet_file(folder: Path) -> Path:
    """Return the newest YuNet network, by the date in its name.

    Raises:
        MaskDetectionError: there is none.
    """
    months = "jan feb mar apr may jun jul aug sep oct nov dec".split()

    def year_and_month(path: Path) -> tuple[int, int]:
        date = re.search(r"_(\d{4})([a-z]{3})", path.stem)  # such as 2023mar
        return (int(date[1]), months.index(date[2])) if date and date[2] in months else (0, 0)

    if not (files := list(folder.glob(YUNET_FILES))):
        raise MaskDetectionError(f"{folder}: holds no {YUNET_FILES}; run `python -m mask_detection download yunet`")
    return max(files, key=year_and_month)
