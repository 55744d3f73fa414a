"""Measure how well faces are found and masks are told, on photos or face crops whose truth is known.

python -m mask_detection evaluate --images photos --annotations labels --face face_detector --plot curves.png
python -m mask_detection evaluate --images photos --annotations labels --detector haar --json figures.json --fold B
python -m mask_detection evaluate --dataset dataset --model my_model.h5

Photos go through the code of detect_mask_image.py; their annotations are VOC XML or YOLO files of the same names.
Reported are, for all faces and for those of at least 16, 32 and 64 pixels (the square root of the box's area):

- faces: recall and precision at --confidence, average precision (AP) by the face detector's confidence;
- classes: AP of each and their mean, mAP, by face confidence x probability of the class;
- classifier: accuracy on the true boxes for each class, and their mean, the balanced accuracy;
- time: median and mean of finding and classifying a photo's faces at --confidence, without reading the file.

With --one-stage, the predictions for true boxes are those for the boxes that were found.

A box is found from IoU 0.5 on. AP is the whole area under the curve over the faces from confidence 0.1 on. Faces of a
class that the model doesn't know count in the first part only. --dataset takes a folder of class folders of face
crops and measures the classifier alone. Exit status: 0 all done, 1 some files could not be read and the rest was used,
2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.commands import cli, options
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.data.annotations import Annotation
    from mask_detection.evaluation.evaluator import PhotoResult
    from mask_detection.evaluation.metrics import Matches
    from mask_detection.inference.detector import MaskDetector
    from mask_detection.models.classifier import MaskClassifier

    Curves = Mapping[str, Mapping[str, Matches]]  # by panel title and class

PLOTTED_SIZES = (0, 32)
PLOT_SUFFIXES = (".png", ".jpg", ".svg", ".pdf")
IMAGES_AT_A_TIME = 64

logger = logging.getLogger(__name__)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection evaluate"
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR", help="folder of photos")
    add("--annotations", type=Path, metavar="DIR", help="folder of their annotations; may be the same folder")
    add("-d", "--dataset", type=Path, metavar="DIR", help="instead of both: a folder of class folders of face crops")
    add(
        "--fold",
        choices=[*FOLDS, "all"],
        default="all",
        help="only this fifth of the files, drawn by the hash of their names (default: all)",
    )
    add("--json", type=Path, metavar="FILE", help="write the figures here; - is standard output, without the table")
    add("-p", "--plot", type=plot_file, metavar="FILE", help="draw precision-recall curves here (.png)")
    options.add_detector_options(parser)
    args = parser.parse_args(argv)
    if (args.images, args.annotations).count(None) != (2 if args.dataset else 0):
        parser.error("give either --images and --annotations, or --dataset")
    if args.dataset and options.is_one_stage(args):
        parser.error("--one-stage finds faces by itself and needs whole photos: --images and --annotations")
    return args


def plot_file(text: str) -> Path:
    """A name that says in which format to draw."""
    path = Path(text)
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(PLOT_SUFFIXES)}")
    return path


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.utils.files import check_can_write, written_whole

    prints_json = str(args.json) == "-"
    for output in (None if prints_json else args.json, args.plot):
        if output:
            check_can_write(output)
    report, curves = evaluate_dataset(args) if args.dataset else evaluate_photos(args)
    text = json.dumps(report, indent=2)
    if args.json and not prints_json:
        with written_whole(args.json) as part:
            part.write_text(f"{text}\n", encoding="utf-8")
    if args.plot:
        write_plot(args.plot, curves)
    print(text if prints_json else (dataset_table if args.dataset else photo_table)(report))
    return cli.EXIT_SOME_FAILED if report["left_out"] else cli.EXIT_DONE


def evaluate_photos(args: argparse.Namespace) -> tuple[dict[str, Any], Curves]:
    """Detect in annotated photos.

    Returns:
        The figures as the JSON file holds them, and what the curves are drawn from.

    Raises:
        MaskDetectionError: there is nothing to evaluate, or the stages cannot be loaded.
    """
    from mask_detection.data.annotations import read_annotations
    from mask_detection.evaluation.evaluator import AP_CONFIDENCE, match_classes, photo_figures

    faults: list[MaskDetectionError] = []

    def leave_out(error: MaskDetectionError) -> None:
        logger.error("error: %s; left out", error)
        faults.append(error)

    annotations = read_annotations(args.images, args.annotations, on_error=leave_out)
    annotations = [annotation for annotation in annotations if is_chosen(annotation.image, args.fold)]
    detector = options.mask_detector(args)
    class_names = detector.class_names
    check_labels({label for annotation in annotations for label in annotation.labels}, class_names, args.annotations)
    photos = examine_photos(annotations, detector, leave_out)
    if not photos:
        raise MaskDetectionError(f"{args.images}: no photo is left to evaluate (fold {args.fold}); check the folders")
    report = {
        "images": str(args.images),
        "annotations": str(args.annotations),
        "fold": args.fold,
        "photos": len(photos),
        "left_out": len(faults),
        "face_detector": detector.face_detector_name,
        "model": str(args.model),
        "classes": class_names,
        "confidence": detector.confidence,
        "confidence_for_ap": min(AP_CONFIDENCE, detector.confidence),
        **photo_figures(photos, class_names, args.confidence),
    }
    return report, {_title(size): match_classes(photos, class_names, size) for size in PLOTTED_SIZES}


def is_chosen(path: Path, fold: str) -> bool:
    """Tell whether a file belongs to a fold; every file belongs to ``all``."""
    return fold == "all" or FOLDS[fold_of(path.name)] == fold


def check_labels(labels: Collection[str], class_names: Sequence[str], source: Path) -> None:
    """Refuse a truth in other words than the model's, for which no figure would have a meaning.

    Raises:
        MaskDetectionError: there are labels, and none of them is a class of the model.
    """
    if labels and set(labels).isdisjoint(class_names):
        raise MaskDetectionError(
            f"{source}: speaks of {', '.join(sorted(labels))} and the model of {', '.join(class_names)}; "
            "rename the labels, or name the model's outputs with --classes"
        )


def examine_photos(
    annotations: Sequence[Annotation],
    detector: MaskDetector,
    on_error: Callable[[MaskDetectionError], None],
) -> list[PhotoResult]:
    """Detect in each photo; one that cannot be read is given to ``on_error`` and left out."""
    from tqdm import tqdm

    from mask_detection.evaluation.evaluator import examine_photo
    from mask_detection.io.images import read_image

    photos = []
    for annotation in tqdm(annotations, unit="photo", disable=None, leave=False):
        try:
            photos.append(examine_photo(read_image(annotation.image), annotation, detector))
        except MaskDetectionError as error:
            on_error(error)
    return photos


def evaluate_dataset(args: argparse.Namespace) -> tuple[dict[str, Any], Curves]:
    """Classify the images of class folders; returns and raises as :func:`evaluate_photos`."""
    import numpy as np

    from mask_detection.data.dataset import scan
    from mask_detection.evaluation.evaluator import crop_figures, match_crops
    from mask_detection.models.load import load_classifier

    samples = scan([args.dataset])
    samples = samples.select(np.flatnonzero([is_chosen(path, args.fold) for path in samples.paths]))
    classifier = load_classifier(args.model, args.classes)
    check_labels(samples.class_names, classifier.class_names, args.dataset)
    probabilities = classify_files(samples.paths, classifier)
    is_read = ~np.isnan(probabilities).any(axis=1)
    if not is_read.any():
        raise MaskDetectionError(f"{args.dataset}: no image is left to evaluate (fold {args.fold}); check the folder")
    crops = np.asarray(samples.class_names)[samples.labels[is_read]], probabilities[is_read], classifier.class_names
    report = {
        "dataset": str(args.dataset),
        "fold": args.fold,
        "images": int(np.count_nonzero(is_read)),
        "left_out": int(np.count_nonzero(~is_read)),
        "model": str(args.model),
        "classes": classifier.class_names,
        **crop_figures(*crops),
    }
    return report, {"face crops": match_crops(*crops)}


def classify_files(paths: Sequence[Path], classifier: MaskClassifier) -> np.ndarray:
    """Classify whole image files.

    Returns:
        (N, n_classes) float32 probabilities; the row of a file that cannot be read is NaN, and the log names it.
    """
    import numpy as np
    from tqdm import tqdm

    from mask_detection.io.images import read_image
    from mask_detection.models.preprocessing import resize

    probabilities = np.full((len(paths), len(classifier.class_names)), np.nan, np.float32)
    with tqdm(total=len(paths), unit="image", disable=None, leave=False) as progress:
        for start in range(0, len(paths), IMAGES_AT_A_TIME):
            crops = {}
            for row, path in enumerate(paths[start : start + IMAGES_AT_A_TIME], start):
                try:
                    crops[row] = resize(read_image(path), classifier.input_size)
                except MaskDetectionError as error:
                    logger.error("error: %s; left out", error)
            probabilities[list(crops)] = classifier.classify(list(crops.values()))
            progress.update(IMAGES_AT_A_TIME)
    return probabilities


def photo_table(report: dict[str, Any]) -> str:
    """The figures of annotated photos as text."""
    from mask_detection.inference.detections import CERTAIN_FROM

    by_size, seconds = report["by_size"], report["seconds_per_photo"]
    at_confidence = f"(confidence >= {report['confidence']:g})"

    def row(title: str, *keys: str) -> list[str]:
        return [title, *(_text(reduce(getitem, keys, figures)) for figures in by_size)]

    rows = [
        ["size of the faces", *(_title(figures["min_size"]) for figures in by_size)],
        row("number of faces", "faces"),
        row(f"face recall {at_confidence}", "face_recall"),
        row(f"face precision {at_confidence}", "face_precision"),
        row("face AP", "face_ap"),
        *(row(f"AP {name}", "ap", name) for name in report["classes"]),
        row("mAP", "map"),
        *(row(f"accuracy {name} (true boxes)", "accuracy", name) for name in report["classes"]),
        row("balanced accuracy (true boxes)", "balanced_accuracy"),
        row(f"answers from {CERTAIN_FROM:.0%} on, true boxes", "certain_on_true_boxes"),
        row(f"answers from {CERTAIN_FROM:.0%} on, false boxes", "certain_on_false_boxes"),
    ]
    return "\n".join(
        [
            f"{report['photos']} photos of {report['images']} (fold {report['fold']})",
            f"face detector {report['face_detector']}, model {report['model']}",
            f"average precision at IoU 0.5, over faces from confidence {report['confidence_for_ap']:g} on\n",
            _aligned(rows),
            "\nAnswers to the true boxes (a row is a true class, a column an answer):\n",
            _confusion_text(by_size[0]["confusion_matrix"]),
            f"\ntime per photo: median {1000 * seconds['median']:.0f} ms, mean {1000 * seconds['mean']:.0f} ms, for "
            f"finding and classifying the faces at confidence {report['confidence']:g}, without reading the file",
        ]
    )


def dataset_table(report: dict[str, Any]) -> str:
    """The figures of class folders as text."""
    columns = ("precision", "recall", "ap")
    rows = [[name, *(_text(report[column][name]) for column in columns)] for name in report["classes"]]
    return "\n".join(
        [
            f"{report['images']} images of {report['dataset']} (fold {report['fold']}), model {report['model']}\n",
            _aligned([["class", "precision", "recall", "AP"], *rows]),
            f"\naccuracy {_text(report['accuracy'])}, balanced accuracy {_text(report['balanced_accuracy'])}",
            "\nAnswers (a row is a true class, a column an answer):\n",
            _confusion_text(report["confusion_matrix"]),
        ]
    )


def _confusion_text(matrix: dict[str, Any]) -> str:
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


def _title(min_size: int) -> str:
    return f">= {min_size} px" if min_size else "all"


def write_plot(path: Path, curves: Curves) -> None:
    """Draw a panel of precision-recall curves for each size, or one for face crops.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    from matplotlib.figure import Figure

    from mask_detection.evaluation.metrics import precision_recall_curve
    from mask_detection.utils.files import written_whole

    figure = Figure(figsize=(5 * len(curves), 4.5), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False).ravel()
    for panel, (title, matches_by_class) in zip(panels, curves.items(), strict=True):
        for name, matches in matches_by_class.items():
            precision, recall, _ = precision_recall_curve(
                matches.scores, matches.is_true_positive, matches.n_ground_truth
            )
            panel.plot(recall, precision, label=f"{name}: AP {matches.average_precision:.3f}")
        panel.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        panel.grid(alpha=0.3)
        panel.legend(loc="lower left")
    with written_whole(path) as part:
        figure.savefig(part, dpi=110)
