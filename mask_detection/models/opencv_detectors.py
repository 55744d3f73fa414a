"""Face detectors that OpenCV runs: the Caffe SSD, YuNet and the Haar cascade; finding and trying out their files.

OpenCV crashes at some networks that are damaged, so unknown files are loaded in a child process first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from mask_detection.models.face_detector import FaceDetector, keep_faces
from mask_detection.models.preprocessing import scaled
from mask_detection.utils import downloads, sandbox
from mask_detection.utils.cache import cache_folder
from mask_detection.utils.defaults import CONFIDENCE
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, read_whole

CAFFE_DETECT_SIZE = 400  # pixels of the image's longer side; the network was trained on 300 x 300
CAFFE_MIN_SIDE = 64  # pixels, below which its layers shrink to nothing
CAFFE_MEAN_BGR = (104.0, 177.0, 123.0)  # of the training images, see face_detector/README.md

YUNET_FILES = "face_detection_yunet_*.onnx"
YUNET_DETECT_SIZE = 960  # pixels of the image's longer side
YUNET_COARSE_DIVISOR = 3
YUNET_MIN_CONFIDENCE = 0.05  # the network's own threshold, below any that is of use here
YUNET_NMS_IOU = 0.9  # its own suppression does next to nothing: `keep_faces` does it for all passes at once
YUNET_TOP_K = 5000
YUNET_TRIAL_SIZE = 64  # pixels

TRY_OUT_S = 60.0
TRY_OUT_CPU_S = 10  # on processors; what is whole takes one or two, start included
MAX_REMEMBERED = 100

HAAR_MAX_SIDE = 2000  # pixels of the image's longer side; above, an image would take minutes


class CaffeFaceDetector(FaceDetector):
    """OpenCV's res10 SSD, the face detector of the classic recipe."""

    def __init__(self, folder: Path, confidence: float = CONFIDENCE, detect_size: int = CAFFE_DETECT_SIZE) -> None:
        """Load ``deploy.prototxt`` and the one ``*.caffemodel`` from a folder.

        Args:
            folder: where they lie.
            confidence: faces below it are dropped.
            detect_size: what the image's longer side is scaled to for the network, in pixels.

        Raises:
            MaskDetectionError: one of the two is missing or damaged.
        """
        super().__init__(confidence)
        self.name = f"Caffe SSD (res10, {detect_size} px)"
        self._detect_size = detect_size
        prototxt, caffemodel = find_caffe_files(folder)
        check_survives(open_caffe, prototxt, caffemodel)
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
            confidence: faces below it are dropped.
            detect_size: what the image's longer side is scaled to for the network, in pixels.

        Raises:
            MaskDetectionError: there is none, or it is damaged.
        """
        super().__init__(confidence)
        self.name = f"YuNet ({detect_size} px)"
        # A face has to be smaller than some 300 px in the network's input; the coarse pass finds the larger ones. Each
        # pass has its own copy: setting one up for another input size takes as long as running it.
        long_sides = detect_size, detect_size // YUNET_COARSE_DIVISOR
        path = find_yunet_file(folder)
        check_survives(open_yunet, path)
        try:
            self._passes = [(long_side, open_yunet(path)) for long_side in long_sides]
        except cv2.error:
            raise MaskDetectionError(
                f"{path}: is not a YuNet network or is damaged; delete it and run "
                "`python -m mask_detection download yunet`"
            ) from None

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose`."""
        rows = self._rows(frame)
        return rows[:, :4], rows[:, 4]

    def find_landmarks(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the faces of an image with five landmarks each, the most confident first.

        Args:
            frame: the image, (H, W, 3) BGR uint8.

        Returns:
            Boxes and confidences as :meth:`detect` gives them, and (N, 5, 2) float32 x, y in pixels, perhaps outside
            the image: the eye and then the other eye, the tip of the nose, the corners of the mouth; of each pair
            first the one that is further left where the head is upright.
        """
        rows = self._rows(frame)
        boxes, kept = keep_faces(rows[:, :4], rows[:, 4], frame.shape[:2], self.confidence)
        return boxes, rows[kept, 4].astype(np.float32), rows[kept, 5:].reshape(-1, 5, 2).astype(np.float32)

    def _rows(self, frame: np.ndarray) -> np.ndarray:
        return np.concatenate([_yunet_rows(network, frame, long_side) for long_side, network in self._passes])


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
    """One pass over the image at one scale: (M, 15) x1, y1, x2, y2, confidence, x and y of five landmarks."""
    height, width = frame.shape[:2]
    scale = long_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    network.setInputSize(size)
    _, found = network.detect(scaled(frame, size))
    if found is None:
        return np.empty((0, 15))
    found = _finite(found)
    corner, sides, landmarks, confidence = np.split(found, [2, 4, 14], axis=1)
    back = np.array([width / size[0], height / size[1]])
    return np.hstack([corner * back, (corner + sides) * back, confidence, landmarks * np.tile(back, 5)])


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


def _finite(rows: np.ndarray) -> np.ndarray:
    """The rows (M, …) of a network's output that are numbers throughout, float64: damaged weights give others too."""
    return rows[np.isfinite(rows).all(axis=1)].astype(np.float64)


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


def check_survives(loader: Callable[..., object], *files: Path) -> None:
    """Load files that nobody has checked where it does no harm; what went well is remembered in the cache folder.

    Args:
        loader: a function of this module.
        files: its arguments.

    Raises:
        MaskDetectionError: it crashes or doesn't end.
    """
    if all(map(downloads.is_known, files)):
        return
    digest = hashlib.sha256(b"".join(hashlib.sha256(read_whole(file, "a network")).digest() for file in files))
    record = cache_folder() / "networks_tried.txt"
    tried = _read_record(record)
    if digest.hexdigest() in tried:
        return
    arguments = [loader.__name__, *(str(file.resolve()) for file in files)]
    if fault := sandbox.run(try_loading, *arguments, timeout_s=TRY_OUT_S, cpu_s=TRY_OUT_CPU_S).fault:
        names = " or ".join(map(str, files))
        raise MaskDetectionError(f"{names}: is damaged so that OpenCV crashes ({fault}); delete it and get it again")
    with suppress(OSError, MaskDetectionError):  # nothing is lost but time
        record.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(record) as part:
            part.write_text("\n".join([*tried[1 - MAX_REMEMBERED :], digest.hexdigest()]), encoding="ascii")


def try_loading(loader: str, *files: str) -> None:
    """Load files in this very process; an error that is no crash comes again where they are loaded for use."""
    with suppress(Exception):
        globals()[loader](*map(Path, files))


def _read_record(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # ValueError: damaged
        return []
