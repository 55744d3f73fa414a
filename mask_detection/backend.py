"""Starting TensorFlow: slow and chatty, so in one place and only when something needs it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def start_tensorflow() -> None:
    """Import TensorFlow and look for GPUs without the log lines that it prints on the way; afterwards does nothing."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_native_libraries():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.constant(0)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Keras advises against .h5 at each save


@contextmanager
def _silent_native_libraries() -> Iterator[None]:
    """Point file descriptor 2 at nothing: what TensorFlow logs while it loads heeds no log level."""
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
