"""The project's own face detector: one small network that finds faces and classifies them at the same time.

Its file is a ``.tflite`` network with class names, input size and preprocessing; the network is in
:mod:`mask_detection.models.fcos`, and ``train_face_detector`` trains it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mask_detection.models.base import ModelInfo
from mask_detection.models.convert import INT8, convert, with_default_size
from mask_detection.models.face_detector import FaceDetector
from mask_detection.models.fcos import INPUT_MULTIPLE, build_detector, decode, layer_weights, widths_of
from mask_detection.models.preprocessing import PREPROCESSING, detector_input
from mask_detection.models.tflite import open_interpreter, pack, read_metadata
from mask_detection.utils.boxes import box_areas
from mask_detection.utils.defaults import BUILTIN_DETECTOR_FILE, BUILTIN_PHOTO_SIZE, CONFIDENCE
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, cannot_write, read_whole

if TYPE_CHECKING:
    import keras
    from ai_edge_litert.interpreter import Interpreter

WEIGHTS_SUFFIX = ".weights.h5"
MAX_SHAPES = 8  # of inputs that are kept ready: photos of a folder are mostly of a few shapes

# In an input larger than those of its training, the network takes a very large face for several. So a coarse pass, of
# 0.4 of the size and a sixth of the time, finds those; the overlap lets either pass find what is in between.
COARSE_SCALE = 0.4
MAX_FINE_FACE = 280  # pixels in the input, the square root of a box's area
MIN_COARSE_FACE = 96
REMEDY = "get the file again or train one with `python -m mask_detection train-face-detector`"


class BuiltinFaceDetector(FaceDetector):
    """Finds faces and predicts each one's class."""

    def __init__(self, folder: Path, confidence: float = CONFIDENCE, detect_size: int = BUILTIN_PHOTO_SIZE) -> None:
        """Load ``mask_face_detector.tflite`` from a folder, or the project's own where the folder has none.

        Args:
            folder: where to look first.
            confidence: faces below it are dropped.
            detect_size: what the image's longer side is scaled to for the network, in pixels.

        Raises:
            MaskDetectionError: the file is missing or damaged, or there is no LiteRT to run it.
        """
        super().__init__(confidence)
        self.name = f"built-in ({detect_size} px)"
        path = find_builtin_file(folder)
        try:
            self._network = DetectorNetwork(path)
        except ImportError as error:
            raise MaskDetectionError(
                f"{path}: takes LiteRT to run, which cannot be loaded ({error}); run `pip install ai-edge-litert`, or "
                "use another --detector"
            ) from None
        self.class_names = self._network.class_names
        self._passes = fine_to_coarse(detect_size, self._network.input_size)

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose`."""
        return self.propose_with_classes(frame)[:2]

    def propose_with_classes(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See :meth:`FaceDetector.propose_with_classes`."""
        found = [self._one_pass(frame, *each) for each in self._passes]
        boxes, scores, probabilities = map(np.concatenate, zip(*found, strict=True))
        return boxes, scores, probabilities

    def _one_pass(
        self, frame: np.ndarray, size: int, min_face: float, max_face: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those of one of the passes that :func:`fine_to_coarse` gives."""
        batch, scale = detector_input(frame, size, INPUT_MULTIPLE)
        boxes, scores, probabilities = decode(self._network.predict(batch), batch.shape[1:3], self.confidence)
        sides = np.sqrt(box_areas(boxes))
        kept = (min_face <= sides) & (sides < max_face)
        return boxes[kept] / scale, scores[kept], probabilities[kept]


def fine_to_coarse(detect_size: int, trained_size: int) -> list[tuple[int, float, float]]:
    """The passes over an image: the size of its longer side, and the faces to keep, from and below so many pixels.

    Args:
        detect_size: of the finest pass.
        trained_size: up to which one pass finds the large faces, too.
    """
    sizes = [detect_size]
    while sizes[-1] > trained_size:
        sizes.append(round(sizes[-1] * COARSE_SCALE))
    min_faces = [0.0, *[float(MIN_COARSE_FACE)] * (len(sizes) - 1)]
    max_faces = [*[float(MAX_FINE_FACE)] * (len(sizes) - 1), float("inf")]
    return list(zip(sizes, min_faces, max_faces, strict=True))


def find_builtin_file(folder: Path) -> Path:
    """The built-in detector's file in a folder, or the one that the project ships."""
    own = folder / BUILTIN_DETECTOR_FILE.name
    return own if own.is_file() else BUILTIN_DETECTOR_FILE


class DetectorNetwork:
    """A detector's network, ready to run at any input size.

    Attributes:
        class_names: the classes in the order of its outputs.
        input_size: longer side of an image at which it was trained last, in pixels.
    """

    def __init__(self, path: Path) -> None:
        """Load what :func:`write_detector` wrote.

        Raises:
            MaskDetectionError: it is missing, damaged, or another kind of network.
            ImportError: there is no LiteRT.
        """
        self._path, self._data = path, read_whole(path, "a face detector")
        metadata = read_metadata(path, self._data)
        if metadata is None or not metadata.class_names or metadata.preprocessing != PREPROCESSING:
            raise MaskDetectionError(f"{path}: is no face detector of this project; {REMEDY}")
        self.class_names = metadata.class_names
        self.input_size = metadata.input_size
        self._interpreters: OrderedDict[tuple[int, ...], Interpreter] = OrderedDict()
        self.predict(np.zeros((1, INPUT_MULTIPLE, INPUT_MULTIPLE, 3), np.float32))
        self._interpreters.clear()  # that size was only to try it out

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Predict for one image.

        Args:
            batch: (1, H, W, 3) float32 RGB in -1..1, H and W multiples of 32.

        Returns:
            (L, 5 + n_classes) float32, a row a cell, see :mod:`mask_detection.models.fcos`.
        """
        interpreter = self._interpreter(batch.shape)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]

    def _interpreter(self, shape: tuple[int, ...]) -> Interpreter:
        """One for this shape of input: setting another one up takes longer than running it."""
        if shape not in self._interpreters:
            while len(self._interpreters) >= MAX_SHAPES:
                self._interpreters.popitem(last=False)
            self._interpreters[shape] = self._resized(shape)
        self._interpreters.move_to_end(shape)
        return self._interpreters[shape]

    def _resized(self, shape: tuple[int, ...]) -> Interpreter:
        interpreter = open_interpreter(self._path, self._data, self._check)
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape)
        try:
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise MaskDetectionError(f"{self._path}: LiteRT cannot run this network ({error}); {REMEDY}") from None
        return interpreter

    def _check(self, path: Path, interpreter: Interpreter) -> None:
        ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
        shapes = [end["shape_signature"].tolist() for end in ends]
        if shapes != [[1, -1, -1, 3], [1, -1, 5 + len(self.class_names)]]:
            raise MaskDetectionError(f"{path}: is no face detector, but a network from {shapes[0]}; {REMEDY}")


def write_detector(
    path: Path, model: keras.Model, class_names: Sequence[str], input_size: int, examples: Sequence[np.ndarray]
) -> None:
    """Write a detector, and its weights beside it as ``NAME.weights.h5``, for a later training to start from.

    The detector computes in 8-bit integers, which takes half the time; the weights keep every digit.

    Args:
        path: the ``.tflite`` file.
        model: from :func:`mask_detection.models.fcos.build_detector`.
        class_names: in the order of its outputs.
        input_size: longer side of an image at which it was trained last, in pixels.
        examples: inputs (1, H, W, 3) that show which range of numbers each layer meets; of 100 photos, say.

    Raises:
        MaskDetectionError: it cannot be converted, or the place cannot be written.
    """
    from mask_detection.io.hdf5 import check_room  # not before, as detection does without h5py

    weights = layer_weights(model)
    bare = build_detector(len(class_names), widths_of(weights), weights)  # without the optimizer's state
    weights_file = path.with_suffix(WEIGHTS_SUFFIX)
    part = weights_file.with_name(f"part_{weights_file.name}")  # Keras insists on the suffix
    try:
        check_room(part, bare)
        bare.save_weights(part)
        part.replace(weights_file)
    except OSError as error:
        raise cannot_write(weights_file, error) from None
    finally:
        part.unlink(missing_ok=True)
    source = hashlib.sha256(read_whole(weights_file, "weights")).hexdigest()
    network = with_default_size(convert(bare, INT8, examples), input_size)
    data = pack(network, ModelInfo(tuple(class_names), input_size), INT8, source)
    with atomic_write(path) as part:
        part.write_bytes(data)
