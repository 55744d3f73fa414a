"""What a small training run leaves behind."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from tests.helpers.paths import ROOT

SMALL = ("--epochs", "1", "--views", "1", "--image-size", "96", "--batch-size", "8")


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
