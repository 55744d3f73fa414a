"""What a training run says of itself: figures and plots."""

from __future__ import annotations

from pathlib import Path

from mask_detection.files import written_whole
from mask_detection.training import Curves


def write_plot(path: Path, curves: Curves) -> None:
    """Draw loss and accuracy of the training and the validation part over the epochs.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = range(1, len(curves["loss"]) + 1)
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, curves[quantity], label="training (random views)")
        axis.plot(epochs, curves[f"val_{quantity}"], label="validation")
        axis.set(title=quantity.capitalize(), xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    with written_whole(path) as part:
        figure.savefig(part, dpi=110)
