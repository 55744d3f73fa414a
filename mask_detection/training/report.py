"""What a training run reports: figures, curves, and the images that were misclassified."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, classification_report, confusion_matrix

from mask_detection.data.dataset import Samples
from mask_detection.io.images import read_image
from mask_detection.training.checkpoints import Curves
from mask_detection.utils.files import atomic_write

LIBRARIES = ("tensorflow", "keras", "opencv-python", "numpy", "scikit-learn")
MAX_MISTAKES_SHOWN = 48


def classification_text(samples: Samples, predicted: np.ndarray) -> str:
    """scikit-learn's table of precision, recall and F1 of each class.

    Args:
        samples: N images with their true labels.
        predicted: (N,) the class of the highest probability for each.
    """
    return classification_report(samples.labels, predicted, digits=3, **_class_arguments(samples))


def classification_figures(samples: Samples, predicted: np.ndarray) -> dict[str, Any]:
    """The same as numbers, with the confusion matrix: rows are the true classes, columns the predicted ones."""
    figures = classification_report(samples.labels, predicted, output_dict=True, **_class_arguments(samples))
    return {
        "accuracy": float(np.mean(samples.labels == predicted)),
        "classes": {name: figures[name] for name in samples.class_names},
        "confusion_matrix": _confusion(samples, predicted).tolist(),
    }


def _class_arguments(samples: Samples) -> dict[str, Any]:
    labels = range(len(samples.class_names))
    return {"labels": labels, "target_names": samples.class_names, "zero_division": 0}


def _confusion(samples: Samples, predicted: np.ndarray) -> np.ndarray:
    return confusion_matrix(samples.labels, predicted, labels=range(len(samples.class_names)))


def write_report(path: Path, content: dict[str, Any]) -> None:
    """Write a report as JSON, with the versions of the libraries.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    versions = {"python": platform.python_version(), **{name: _version_of(name) for name in LIBRARIES}}
    with atomic_write(path) as part:
        part.write_text(json.dumps({"versions": versions, **content}, indent=2) + "\n")


def _version_of(library: str) -> str:
    try:
        return version(library)
    except ImportError:  # such as opencv-python where the headless one is installed
        return "another distribution"


def write_plot(path: Path, curves: dict[str, Curves], test: Samples, predicted: np.ndarray) -> None:
    """Draw loss and accuracy over the epochs of all phases, and the confusion matrix of the test part.

    Args:
        path: where to.
        curves: of each phase, in their order.
        test: N images with their true labels.
        predicted: (N,) the class of the highest probability for each.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    *curve_axes, matrix_axis = figure.subplots(1, 3)
    for axis, quantity in zip(curve_axes, ("loss", "accuracy"), strict=True):
        for name, label in ((quantity, "training (augmented copies)"), (f"val_{quantity}", "validation")):
            values = np.concatenate([phase[name] for phase in curves.values()])
            axis.plot(np.arange(1, len(values) + 1), values, label=label)
        phase_ends = np.cumsum([len(phase["loss"]) for phase in curves.values()])
        for end in phase_ends[:-1]:
            axis.axvline(end + 0.5, color="grey", linestyle=":", label="last blocks unfrozen")
        axis.set(title=quantity.capitalize(), xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    display = ConfusionMatrixDisplay(_confusion(test, predicted), display_labels=test.class_names)
    display.plot(ax=matrix_axis, colorbar=False, cmap="Blues", xticks_rotation=20)
    matrix_axis.set_title(f"{len(test)} test images")
    with atomic_write(path) as part:
        figure.savefig(part, dpi=110)


def write_curves(path: Path, curves: Curves) -> None:
    """Draw one panel of the loss and one of everything else over the epochs.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    loss_axis, others_axis = figure.subplots(1, 2)
    for quantity, values in curves.items():
        axis = loss_axis if quantity == "loss" else others_axis
        axis.plot(range(1, len(values) + 1), values, marker=".", label=quantity.replace("_", " "))
    for axis in (loss_axis, others_axis):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    with atomic_write(path) as part:
        figure.savefig(part, dpi=110)


def write_mistakes(path: Path, test: Samples, probabilities: np.ndarray) -> int:
    """Draw the test images that were misclassified with their paths, the most confident mistakes first.

    Args:
        path: where to; nothing is written when there is no mistake.
        test: N images with their true labels.
        probabilities: (N, n_classes) as predicted.

    Returns:
        How many mistakes there are; the first ``MAX_MISTAKES_SHOWN`` are drawn.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    predicted, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != test.labels)
    wrong = wrong[np.argsort(-highest[wrong])]
    if len(wrong):
        titles = [
            f"{_shortened(test.names[i])}\n{test.class_names[test.labels[i]]}\n"
            f"taken for {test.class_names[predicted[i]]} ({highest[i]:.0%})"
            for i in wrong[:MAX_MISTAKES_SHOWN]
        ]
        _write_contact_sheet(path, [test.paths[i] for i in wrong[:MAX_MISTAKES_SHOWN]], titles)
    return len(wrong)


def _shortened(name: str, length: int = 34) -> str:
    return name if len(name) <= length else f"…{name[1 - length :]}"


def _write_contact_sheet(path: Path, images: Sequence[Path], titles: Sequence[str]) -> None:
    from matplotlib.figure import Figure

    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.4 * columns, 3.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(read_image(image)[..., ::-1])
        axis.set_title(title, fontsize=7)
    with atomic_write(path) as part:
        figure.savefig(part, dpi=100)
