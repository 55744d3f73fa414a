"""Reports of an evaluation as text, and precision-recall curves as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from mask_detection.evaluation.figures import size_title
from mask_detection.evaluation.metrics import Matches, precision_recall_curve
from mask_detection.inference.detections import CERTAIN_FROM
from mask_detection.utils.files import atomic_write


def photo_table(report: Mapping[str, Any]) -> str:
    """The figures of :func:`evaluate_photos` as text."""
    by_size, seconds = report["by_size"], report["seconds_per_photo"]
    at_confidence = f"(confidence >= {report['confidence']:g})"

    def row(title: str, *keys: str) -> list[str]:
        return [title, *(_text(reduce(getitem, keys, figures)) for figures in by_size)]

    rows = [
        ["size of the faces", *(size_title(figures["min_size"]) for figures in by_size)],
        row("number of faces", "faces"),
        row(f"face recall {at_confidence}", "face_recall"),
        row(f"face precision {at_confidence}", "face_precision"),
        row("face AP", "face_ap"),
        *(row(f"AP {name}", "ap", name) for name in report["classes"]),
        row("mAP", "map"),
        *(row("mAP without worn wrong", key) for key in ("map_without_worn_wrong",) if key in by_size[0]),
        *(row(f"recall {name} (true boxes)", "accuracy", name) for name in report["classes"]),
        *(row(f"precision {name} (true boxes)", "precision", name) for name in report["classes"]),
        *(row(f"AP {name} (true boxes)", "ap_on_true_boxes", name) for name in report["classes"]),
        row("balanced accuracy (true boxes)", "balanced_accuracy"),
        *(
            row("balanced accuracy without worn wrong", key)
            for key in ("balanced_accuracy_without_worn_wrong",)
            if key in by_size[0]
        ),
        row(f"predictions from {CERTAIN_FROM:.0%} on, true boxes", "certain_on_true_boxes"),
        row(f"predictions from {CERTAIN_FROM:.0%} on, false boxes", "certain_on_false_boxes"),
    ]
    return "\n".join(
        [
            f"{report['photos']} photos of {report['images']} (fold {report['fold']})",
            f"face detector {report['face_detector']}, model {report['model']}",
            f"average precision at IoU 0.5, over faces from confidence {report['confidence_for_ap']:g} on\n",
            _aligned(rows),
            "\nPredictions for the true boxes (a row is a true class, a column a predicted one):\n",
            _confusion_text(by_size[0]["confusion_matrix"]),
            f"\ntime per photo: median {1000 * seconds['median']:.0f} ms, mean {1000 * seconds['mean']:.0f} ms, for "
            f"finding and classifying the faces at confidence {report['confidence']:g}, without reading the file",
        ]
    )


def crop_table(report: Mapping[str, Any]) -> str:
    """The figures of :func:`evaluate_crops` as text."""
    columns = ("precision", "recall", "ap")
    rows = [[name, *(_text(report[column][name]) for column in columns)] for name in report["classes"]]
    return "\n".join(
        [
            f"{report['images']} images of {report['dataset']} (fold {report['fold']}), model {report['model']}\n",
            _aligned([["class", "precision", "recall", "AP"], *rows]),
            f"\naccuracy {_text(report['accuracy'])}, balanced accuracy {_text(report['balanced_accuracy'])}",
            "\nPredictions (a row is a true class, a column a predicted one):\n",
            _confusion_text(report["confusion_matrix"]),
        ]
    )


def _confusion_text(matrix: Mapping[str, Any]) -> str:
    known = matrix["answers"]
    titles = [name if name in known else f"{name} (unknown to the model)" for name in matrix["truth"]]
    rows = [[title, *map(str, counts)] for title, counts in zip(titles, matrix["counts"], strict=True)]
    return _aligned([["", *known], *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column stands left and whose others stand right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line) for line in lines)


def _text(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


def plot_curves(path: Path, matches: Mapping[str, Mapping[str, Matches]]) -> None:
    """Draw a panel of precision-recall curves for each title, a curve for each class.

    Args:
        path: the file, in any format that Matplotlib writes.
        matches: by title and class.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(matches), 4.5), layout="constrained")
    panels = figure.subplots(1, len(matches), squeeze=False).ravel()
    for panel, (title, by_class) in zip(panels, matches.items(), strict=True):
        for name, found in by_class.items():
            precision, recall, _ = precision_recall_curve(found.scores, found.is_true_positive, found.n_ground_truth)
            panel.plot(recall, precision, label=f"{name}: AP {found.average_precision:.3f}")
        panel.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        panel.grid(alpha=0.3)
        panel.legend(loc="lower left")
    with atomic_write(path) as part:
        figure.savefig(part, dpi=110)
