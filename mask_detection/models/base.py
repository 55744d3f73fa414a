"""A classifier's network, whichever library runs it: TensorFlow for an ``.h5``, LiteRT for a ``.tflite``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MAX_OUTPUTS = 100
MAX_INPUT_SIZE = 1024  # pixels


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        class_names: the classes in the order of the network's outputs; None where the file doesn't say.
        input_size: width and height of the network's input in pixels.
    """

    class_names: tuple[str, ...] | None
    input_size: int


@dataclass(frozen=True)
class Network:
    """A network that is ready to run.

    Attributes:
        predict: maps (N, S, S, 3) float32 RGB in -1..1, N >= 1 and S the input size, to (N, n_outputs) float32; not
            for two threads at once.
        n_outputs: how many classes it predicts.
        info: what its file says of it.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    n_outputs: int
    info: ModelInfo
