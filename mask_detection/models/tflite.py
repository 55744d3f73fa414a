"""``.tflite`` classifiers: running them with LiteRT, which phones and a Raspberry Pi have too, and their metadata.

The network, a FlatBuffer, starts at the file's first byte. A zip archive counts from the file's end. So the metadata,
a small JSON file, is appended as an archive, as MediaPipe does with its models' labels: LiteRT on any device reads the
file as it is, and ``unzip -p model.tflite mask_detector.json`` shows the metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mask_detection.models.base import MAX_INPUT_SIZE, MAX_OUTPUTS, ModelInfo, Network
from mask_detection.models.preprocessing import PREPROCESSING
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_start, read_whole
from mask_detection.utils.tensorflow import silent_native_libraries
from mask_detection.utils.text import is_one_line

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

MAX_THREADS = 4  # a face is a few milliseconds' work
TFLITE_MARK = slice(4, 8), b"TFL3"  # where a FlatBuffer names its kind
METADATA_NAME = "mask_detector.json"
MAX_METADATA_BYTES = 64 << 10


def is_available() -> bool:
    """Tell whether LiteRT can be loaded; for some machines, such as Macs with Intel processors, it is not made."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return False
    return True


def load_tflite(path: Path) -> Network:
    """Load a ``.tflite`` classifier, of this project or of another maker.

    Raises:
        MaskDetectionError: it is no such file, damaged, or no classifier of square colour images.
        ImportError: there is no LiteRT.
    """
    return open_tflite(path, read_whole(path, "a model"))


def open_tflite(path: Path, data: bytes) -> Network:
    """Like :func:`load_tflite`, for a file whose bytes are at hand; ``path`` is for messages."""
    metadata = read_metadata(path, data)
    if metadata and metadata.preprocessing != PREPROCESSING:
        raise MaskDetectionError(
            f"{path}: wants the preprocessing {metadata.preprocessing}, and only {PREPROCESSING} is known"
        )
    interpreter = open_interpreter(path, data, _check_is_image_classifier)
    (image_tensor,), (output_tensor,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict_one(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(image_tensor["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(output_tensor["index"])

    def predict(batch: np.ndarray) -> np.ndarray:
        # One by one: on a CPU a batch takes as long, and other sizes than the network's own would be set up anew.
        return np.concatenate([predict_one(image[None]) for image in batch])

    _try_out(path, predict, image_tensor["shape"])
    info = ModelInfo(metadata.class_names if metadata else None, int(image_tensor["shape"][1]))
    return Network(predict, int(output_tensor["shape"][1]), info)


def open_interpreter(path: Path, data: bytes, check: Callable[[Path, Interpreter], None]) -> Interpreter:
    """Load a network into LiteRT.

    Args:
        path: for messages.
        data: the file's bytes.
        check: raises ``MaskDetectionError`` if it is another kind of network than is needed.

    Raises:
        MaskDetectionError: LiteRT cannot load it, or the check refuses it.
        ImportError: there is no LiteRT.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with silent_native_libraries():
            interpreter = Interpreter(model_content=data, num_threads=_thread_count())
            check(path, interpreter)  # before it is given the memory that it asks for
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise MaskDetectionError(
            f"{path}: LiteRT cannot load this model ({reason}); get the file again or export it once more"
        ) from None
    return interpreter


def _thread_count() -> int:
    """As many as OpenCV may use, which is one where whole images are worked on side by side."""
    return min(cv2.getNumThreads(), os.cpu_count() or 1, MAX_THREADS)


def _check_is_image_classifier(path: Path, interpreter: Interpreter) -> None:
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    if len(ends) == 2 and all(end["dtype"] is np.float32 for end in ends):
        image, output = (end["shape"].tolist() for end in ends)
        is_square = len(image) == 4 and image == [1, image[1], image[1], 3] and 1 <= image[1] <= MAX_INPUT_SIZE
        if is_square and len(output) == 2 and output[0] == 1 and 2 <= output[1] <= MAX_OUTPUTS:
            return
    described = " to ".join(f"{end['dtype'].__name__} {tuple(end['shape'].tolist())}" for end in ends)
    raise MaskDetectionError(
        f"{path}: maps {described}; a mask classifier maps float32 (1, size, size, 3) to float32 (1, classes) with "
        f"2 to {MAX_OUTPUTS} classes"
    )


def _try_out(path: Path, predict: Callable[[np.ndarray], np.ndarray], shape: np.ndarray) -> None:
    """Run it once, so that a network that cannot run says so before the first photo."""
    try:
        predict(np.zeros(shape, np.float32))
    except (ValueError, RuntimeError) as error:
        raise MaskDetectionError(f"{path}: LiteRT cannot run this model ({error}); export it once more") from None


@dataclass(frozen=True)
class Metadata:
    """What a ``.tflite`` file of this project says of its network.

    Attributes:
        class_names: the classes in the order of its outputs; None where its source didn't say.
        input_size: width and height of its input in pixels.
        preprocessing: what turns pixels into its input, as :mod:`mask_detection.models.preprocessing` names it.
        weights: ``fp16``, ``fp32`` or ``int8``.
        source_sha256: of the ``.h5`` that it was made from.
        network_sha256: of the FlatBuffer, as damaged weights would predict nonsense without a sign.
    """

    class_names: tuple[str, ...] | None
    input_size: int
    preprocessing: str
    weights: str
    source_sha256: str
    network_sha256: str


def is_tflite(path: Path) -> bool:
    """Tell whether a file is a ``.tflite``, by its content.

    Raises:
        MaskDetectionError: it cannot be read or is empty.
    """
    place, mark = TFLITE_MARK
    return not path.is_dir() and read_start(path, "a model")[place] == mark


def pack(network: bytes, info: ModelInfo, weights: str, source_sha256: str) -> bytes:
    """Append the metadata to a FlatBuffer; the same input gives the same bytes."""
    network_sha256 = hashlib.sha256(network).hexdigest()
    metadata = Metadata(info.class_names, info.input_size, PREPROCESSING, weights, source_sha256, network_sha256)
    packed = io.BytesIO(network)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(zipfile.ZipInfo(METADATA_NAME), json.dumps(asdict(metadata), indent=1))
    return packed.getvalue()


def read_metadata(path: Path, data: bytes) -> Metadata | None:
    """The metadata in a file's bytes; None for a network of another maker, which has none.

    Args:
        path: for messages.
        data: the whole file.

    Raises:
        MaskDetectionError: the metadata or the network is damaged.
    """
    if METADATA_NAME.encode() not in data:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entry = archive.getinfo(METADATA_NAME)
            network_end = min(other.header_offset for other in archive.infolist())
            metadata = _parse(archive.read(entry)) if entry.file_size <= MAX_METADATA_BYTES else None
    except Exception:  # zipfile and json raise whatever damage leads them to
        metadata = None
    if metadata is None or hashlib.sha256(data[:network_end]).hexdigest() != metadata.network_sha256:
        raise MaskDetectionError(f"{path}: is a damaged .tflite model; get the file again or export it once more")
    return metadata


def _parse(text: bytes) -> Metadata:
    values = json.loads(text)
    if (names := values["class_names"]) is not None:
        values["class_names"] = tuple(map(str, names))
        if not all(map(is_one_line, values["class_names"])):
            raise ValueError("a class name holds what a terminal obeys")
    return Metadata(**values)
