"""Running a detector over annotated photos, or a classifier over face crops, and reporting how right they are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from mask_detection.data.annotations import Annotation, read_annotations
from mask_detection.data.dataset import scan
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.evaluation.figures import (
    IOU_THRESHOLD,
    EvaluatedPhoto,
    crop_figures,
    match_classes,
    match_crops,
    photo_figures,
    size_title,
)
from mask_detection.evaluation.metrics import GroundTruth, Matches
from mask_detection.io.images import read_image
from mask_detection.models.preprocessing import resize
from mask_detection.utils.boxes import box_iou
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.inference.detector import MaskDetector
    from mask_detection.models.classifier import MaskClassifier

ALL_FOLDS = "all"
AP_CONFIDENCE = 0.1  # average precision is over faces from here on, however confident a user wants to be
PLOTTED_SIZES = (0, 32)  # pixels, as in figures.SIZES
IMAGES_AT_A_TIME = 64

logger = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """How right the predictions are.

    Attributes:
        report: the figures, ready for JSON.
        matches: what precision-recall curves are drawn from, by the title of a panel and the class.
    """

    report: dict[str, Any]
    matches: Mapping[str, Mapping[str, Matches]]


def evaluate_photos(
    detector: MaskDetector, images: Path, annotations: Path, fold: str = ALL_FOLDS, model: str = ""
) -> Evaluation:
    """Detect in annotated photos; what cannot be read is logged, excluded and counted.

    Args:
        detector: at the confidence at which recall and precision are meant.
        images: folder of photos.
        annotations: folder of their VOC or YOLO files, see :func:`read_annotations`.
        fold: one of ``FOLDS``, or all of them.
        model: what the report calls the model.

    Raises:
        MaskDetectionError: there is nothing to evaluate, the detector cannot be loaded, or none of its classes is
            annotated.
    """
    faults: list[MaskDetectionError] = []

    def exclude(error: MaskDetectionError) -> None:
        logger.error("error: %s; excluded", error)
        faults.append(error)

    annotated = read_annotations(images, annotations, on_error=exclude)
    annotated = [annotation for annotation in annotated if is_in_fold(annotation.image, fold)]
    class_names = detector.class_names
    check_labels({label for annotation in annotated for label in annotation.labels}, class_names, annotations)
    photos = _examine_photos(annotated, detector, exclude)
    if not photos:
        raise MaskDetectionError(f"{images}: no photo is left to evaluate (fold {fold}); check the folders")
    report = {
        "images": str(images),
        "annotations": str(annotations),
        "fold": fold,
        "photos": len(photos),
        "left_out": len(faults),
        "face_detector": detector.face_detector_name,
        "model": model,
        "classes": class_names,
        "confidence": detector.confidence,
        "confidence_for_ap": min(AP_CONFIDENCE, detector.confidence),
        **photo_figures(photos, class_names, detector.confidence),
    }
    return Evaluation(report, {size_title(size): match_classes(photos, class_names, size) for size in PLOTTED_SIZES})


def is_in_fold(path: Path, fold: str) -> bool:
    """Whether a file belongs to a fold; every file belongs to ``ALL_FOLDS``."""
    return fold == ALL_FOLDS or FOLDS[fold_of(path.name)] == fold


def check_labels(labels: Collection[str], class_names: Sequence[str], source: Path) -> None:
    """Refuse labels in other words than the model's, for which no figure would have a meaning.

    Raises:
        MaskDetectionError: there are labels, and none of them is a class of the model.
    """
    if labels and set(labels).isdisjoint(class_names):
        raise MaskDetectionError(
            f"{source}: is labelled {', '.join(sorted(labels))}, and the model's classes are "
            f"{', '.join(class_names)}; rename the labels, or name the model's outputs with --classes"
        )


def _examine_photos(
    annotations: Iterable[Annotation], detector: MaskDetector, on_error: Callable[[MaskDetectionError], None]
) -> list[EvaluatedPhoto]:
    photos = []
    for annotation in tqdm(annotations, unit="photo", disable=None, leave=False):
        try:
            photos.append(examine_photo(read_image(annotation.image), annotation, detector))
        except MaskDetectionError as error:
            on_error(error)
    return photos


def examine_photo(frame: np.ndarray, annotation: Annotation, detector: MaskDetector) -> EvaluatedPhoto:
    """Detect in a photo and classify its true boxes.

    Args:
        frame: the photo, (H, W, 3) BGR uint8.
        annotation: its faces.
        detector: at the usual confidence; the run with it is timed.
    """
    sensitive = detector.with_confidence(min(AP_CONFIDENCE, detector.confidence))
    detections = sensitive(frame)  # first, so that warming up is not timed
    start = time.perf_counter()
    detector(frame)
    seconds = time.perf_counter() - start
    on_truth = sensitive.classify(frame, annotation.boxes)
    is_predicted = np.ones(len(on_truth), bool)
    if detector.is_one_stage:  # only what it finds has class scores
        is_predicted = box_iou(on_truth.boxes, detections.boxes).max(axis=1, initial=0) >= IOU_THRESHOLD
    predictions = np.where(is_predicted, np.asarray(on_truth.labels, str), "")
    truth = GroundTruth(annotation.boxes, np.asarray(annotation.labels, str))
    return EvaluatedPhoto(truth, predictions, on_truth.probabilities, detections, seconds)


def evaluate_crops(classifier: MaskClassifier, dataset: Path, fold: str = ALL_FOLDS, model: str = "") -> Evaluation:
    """Classify the images of class folders; what cannot be read is logged, excluded and counted.

    Args:
        classifier: of face crops.
        dataset: folder of class folders, see :func:`mask_detection.data.dataset.scan`.
        fold: one of ``FOLDS``, or all of them.
        model: what the report calls the model.

    Raises:
        MaskDetectionError: there is nothing to evaluate, or none of the classifier's classes has a folder.
    """
    samples = scan([dataset])
    samples = samples.select(np.flatnonzero([is_in_fold(path, fold) for path in samples.paths]))
    check_labels(samples.class_names, classifier.class_names, dataset)
    probabilities = classify_files(samples.paths, classifier)
    is_read = ~np.isnan(probabilities).any(axis=1)
    if not is_read.any():
        raise MaskDetectionError(f"{dataset}: no image is left to evaluate (fold {fold}); check the folder")
    crops = np.asarray(samples.class_names)[samples.labels[is_read]], probabilities[is_read], classifier.class_names
    report = {
        "dataset": str(dataset),
        "fold": fold,
        "images": int(np.count_nonzero(is_read)),
        "left_out": int(np.count_nonzero(~is_read)),
        "model": model,
        "classes": classifier.class_names,
        **crop_figures(*crops),
    }
    return Evaluation(report, {"face crops": match_crops(*crops)})


def classify_files(paths: Sequence[Path], classifier: MaskClassifier) -> np.ndarray:
    """Classify whole image files.

    Returns:
        (N, n_classes) float32 probabilities; the row of a file that cannot be read is NaN, and the log names it.
    """
    probabilities = np.full((len(paths), len(classifier.class_names)), np.nan, np.float32)
    with tqdm(total=len(paths), unit="image", disable=None, leave=False) as progress:
        for start in range(0, len(paths), IMAGES_AT_A_TIME):
            crops = {}
            for row, path in enumerate(paths[start : start + IMAGES_AT_A_TIME], start):
                try:
                    crops[row] = resize(read_image(path), classifier.input_size)
                except MaskDetectionError as error:
                    logger.error("error: %s; excluded", error)
            probabilities[list(crops)] = classifier.classify(list(crops.values()))
            progress.update(IMAGES_AT_A_TIME)
    return probabilities
