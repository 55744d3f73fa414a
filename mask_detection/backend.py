"""Starting TensorFlow: slow and chatty, so in one place and only when something needs it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The model as a compiled function of batches of any length, for a fraction of ``model.predict``'s overhead."""
    import tensorflow as tf

    # The open first axis keeps it at one trace.
    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda batch: model(batch, training=False), input_signature=[signature])
    return lambda batch: function(batch).numpy()


@contextmanager
def silent_native_libraries() -> Iterator[None]:
    """Point file descriptor 2 at nothing: what TensorFlow and LiteRT print there heeds no log level."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
