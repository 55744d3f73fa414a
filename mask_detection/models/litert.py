"""Running ``.tflite`` models with LiteRT, the small library that phones and a Raspberry Pi have too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mask_detection.models.base import MAX_INPUT_SIZE, MAX_OUTPUTS, ModelInfo, Network
from mask_detection.models.preprocessing import PREPROCESSING
from mask_detection.models.tflite import read_record
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_whole
from mask_detection.utils.tensorflow import silent_native_libraries

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

MAX_THREADS = 4  # a face is a few milliseconds' work


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
    record = read_record(path, data)
    if record and record.preprocessing != PREPROCESSING:
        raise MaskDetectionError(
            f"{path}: wants the preprocessing {record.preprocessing}, and only {PREPROCESSING} is known"
        )
    interpreter = open_interpreter(path, data, _check_is_image_classifier)
    (image_end,), (answer_end,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(image_end["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(answer_end["index"])

    def predict(batch: np.ndarray) -> np.ndarray:
        # One by one: on a CPU a batch takes as long, and other sizes than the network's own would be set up anew.
        return np.concatenate([answer(image[None]) for image in batch])

    _try_out(path, predict, image_end["shape"])
    info = ModelInfo(record.class_names if record else None, int(image_end["shape"][1]))
    return Network(predict, int(answer_end["shape"][1]), info)


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
    """As many as OpenCV may use, which is one where whole pictures are worked on side by side."""
    return min(cv2.getNumThreads(), os.cpu_count() or 1, MAX_THREADS)


def _check_is_image_classifier(path: Path, interpreter: Interpreter) -> None:
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    if len(ends) == 2 and all(end["dtype"] is np.float32 for end in ends):
        image, answer = (end["shape"].tolist() for end in ends)
        is_square = len(image) == 4 and image == [1, image[1], image[1], 3] and 1 <= image[1] <= MAX_INPUT_SIZE
        if is_square and len(answer) == 2 and answer[0] == 1 and 2 <= answer[1] <= MAX_OUTPUTS:
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
