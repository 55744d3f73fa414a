"""What a small training run leaves behind."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mask_detection.utils.tensorflow import start_tensorflow
from tests.helpers.paths import ROOT

SMALL = ("--epochs", "1", "--views", "1", "--image-size", "96", "--batch-size", "8")


@contextmanager
def eager() -> Iterator[None]:
    """Run TensorFlow's functions as they are: compiling a large network takes longer than a few steps with it."""
    start_tensorflow()
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Even though", UserWarning)  # TensorFlow's, that its data sets don't
            yield
    finally:
        tf.config.run_functions_eagerly(False)


@dataclass(frozen=True)
class Trained:
    """What a training run left behind."""

    status: int
    folder: Path
    model: Path
    plot: Path
    dataset: Path
    printed: str


def train_small(dataset: Path, folder: Path) -> Trained:
    """Train on a data set into an empty folder, by the script."""
    import train_mask_detector

    model, plot = folder / "model.h5", folder / "plot.png"
    arguments = ["--dataset", dataset, "--init", ROOT / "mask_detector.h5", "--model", model, "--plot", plot, *SMALL]
    with redirect_stdout(StringIO()) as printed:
        status = train_mask_detector.main([str(argument) for argument in arguments])
    return Trained(status, folder, model, plot, dataset, printed.getvalue())
