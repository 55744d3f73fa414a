"""Starting TensorFlow, slow and chatty, only when something needs it; and quiet for native libraries in general."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mask_detection.utils.process_wide import process_wide

if TYPE_CHECKING:
    import keras
    import numpy as np


def start_tensorflow() -> None:
    """Import TensorFlow and look for GPUs without the log lines that it prints on the way; afterwards does nothing."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silent_native_libraries():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.constant(0)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras advises against .h5 at each save
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def print_tensorflow() -> None:
    """Print the versions of TensorFlow and Keras, and the name of each GPU that they see, a line each."""
    start_tensorflow()
    import keras
    import tensorflow as tf

    print(tf.__version__, keras.__version__, sep="\n")
    for gpu in tf.config.list_physical_devices("GPU"):
        print(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))


def compiled(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """The model as a compiled function of batches of any length, for a fraction of ``model.predict``'s overhead."""
    import tensorflow as tf

    # The open first axis keeps it at one trace.
    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda batch: model(batch, training=False), input_signature=[signature])
    return lambda batch: tf.nest.map_structure(lambda output: output.numpy(), function(batch))


@process_wide
@contextmanager
def silent_native_libraries() -> Iterator[None]:
    """Point file descriptor 2 at nothing, while what Python writes to ``sys.stderr`` still arrives.

    TensorFlow, LiteRT, libjpeg, libpng, protobuf and others print there whatever their log levels, and name no file.
    """
    stream = sys.stderr
    if stream is None:  # standard error was closed when the process began
        yield
        return
    stream.flush()
    encoding = getattr(stream, "encoding", None)
    with os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace") as arriving:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        try:
            if _is_descriptor_2(stream):
                sys.stderr = arriving
            yield
        finally:
            sys.stderr = stream
            os.dup2(arriving.fileno(), 2)


def _is_descriptor_2(stream: TextIO) -> bool:
    """Tell whether a stream writes there; a notebook's and a test's have ways of their own."""
    try:
        return stream.fileno() == 2
    except (OSError, AttributeError):
        return False
