"""A whole training run of the face detector: gather the photos, train, write the network, report."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.data.dataset import list_images, scan
from mask_detection.models.fcos import (
    INPUT_MULTIPLE,
    LIGHT_WIDTHS,
    MOBILENET_WIDTHS,
    Widths,
    freeze_all_but_classes,
    freeze_early_blocks,
)
from mask_detection.models.preprocessing import detector_input
from mask_detection.training import balance, checkpoints, report
from mask_detection.training.detector import dataset
from mask_detection.training.detector.dataset import ImageStore
from mask_detection.training.detector.operating_point import add_class_bias, add_face_bias, found_classes
from mask_detection.training.detector.pruning import start_model
from mask_detection.training.detector.teacher import Teacher
from mask_detection.training.detector.trainer import DetectorOptions, train_detector
from mask_detection.training.detector.unmarked import add_unmarked, load_witnesses
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, check_can_write, read_whole
from mask_detection.utils.tensorflow import compiled
from mask_detection.utils.text import one_line

if TYPE_CHECKING:
    import keras

    from mask_detection.data.annotations import Annotation
    from mask_detection.models.face_detector import FaceDetector
    from mask_detection.training.checkpoints import Curves

logger = logging.getLogger("mask_detection.train")

OUTPUTS = ("output", "resume", "restart", "face")  # options that don't decide what is learned
CALIBRATION_PHOTOS = 100  # at most, to set the ranges of the layers' 8-bit numbers
# What learns, the limits of the network's widths, and what freezes the rest.
PARTS: dict[str, tuple[Widths, Callable[[keras.Model], None]]] = {
    "all": (LIGHT_WIDTHS, lambda _: None),
    "late": (MOBILENET_WIDTHS, freeze_early_blocks),
    "classes": (MOBILENET_WIDTHS, freeze_all_but_classes),
}
KIND_FRACTIONS = (0.65, 0.3, 0.05)  # how often photos with boxes, of single faces, of no face are drawn


@dataclass(frozen=True)
class DetectorRunOptions(DetectorOptions):
    """What a run reads, what it writes, and how it trains.

    Attributes:
        images: folders of photos.
        annotations: folders of their boxes, in the same order.
        faces: folders of class folders of photos of one face each.
        background: folders of photos without a face.
        keep_out: folders of images whose near-duplicates take no part.
        leave_out_fold: folds of the annotated photos that take no part.
        validation_fold: the fold for validation.
        unclassed: labels of faces whose class teaches nothing.
        face: folder with the files of the face detector that boxes the photos of single faces.
        output: where the detector is written (``.tflite``), with its weights, report and curves beside it.
        init: a detector's ``.tflite`` or ``.weights.h5``, or a classifier's ``.h5``, to start from; None takes
            ImageNet's weights. A wider network is narrowed.
        train: a key of ``PARTS``.
        teacher: a detector's ``.tflite`` whose predictions are learned, too.
        complete_labels: add the faces that nobody marked, see :mod:`mask_detection.training.detector.unmarked`.
        class_weight: how much each class counts, see :func:`mask_detection.training.balance.class_weights`.
        bias_for: ``NAME``, a class that gets the bias on its logit with which its F1 score on the validation photos is
            highest; or ``NAME=BIAS``.
        face_bias: is added to the logit of each face's confidence.
        resume: continue a run that was killed.
        restart: delete what is left of a run that was killed.
    """

    images: Sequence[Path]
    annotations: Sequence[Path]
    faces: Sequence[Path]
    background: Sequence[Path]
    keep_out: Sequence[Path]
    leave_out_fold: Sequence[str]
    validation_fold: str
    unclassed: Sequence[str]
    face: Path
    output: Path
    init: Path | None
    train: str
    teacher: Path | None
    complete_labels: bool
    class_weight: Sequence[str]
    bias_for: str | None
    face_bias: float
    resume: bool
    restart: bool


def train_face_detector(options: DetectorRunOptions) -> int:
    """Run it all, and print what comes out.

    Returns:
        How many photos were excluded because they cannot be read.

    Raises:
        MaskDetectionError: the photos are unusable, an output cannot be written, or there is no run to resume, or
            one that is not to be deleted unasked.
    """
    for output in output_files(options.output):
        check_can_write(output)
    arguments = checkpoints.plain(options, without=OUTPUTS)
    identity: dict[str, Any] = {"arguments": arguments}
    faults: list[MaskDetectionError] = []
    with checkpoints.open_run_folder(options.output, identity, options.resume, options.restart) as run_folder:
        facts = gather(options, run_folder, faults)
        print(f"{facts['training_photos']} photos for training, {facts['validation_photos']} for validation")
        print(one_line(f"classes: {', '.join(facts['class_names'])}"))
        curves, bias = learn(options, facts, run_folder)
        write_results(options.output, {"arguments": arguments, **facts, "bias": bias}, curves)
    return len(faults)


def output_files(output: Path) -> list[Path]:
    """All that is written: the detector, its weights, the report and the curves."""
    return [output.with_suffix(suffix) for suffix in (".tflite", ".weights.h5", ".json", ".png")]


def gather(options: DetectorRunOptions, run_folder: Path, faults: list[MaskDetectionError]) -> dict[str, Any]:
    """Read, divide and store the photos, unless an interrupted run did; return their statistics."""
    record = run_folder / "photos.json"
    if record.exists():
        return json.loads(read_whole(record, "a run's record"))
    kinds, validation, facts = read_photos(options, faults)
    training = [photo for kind in kinds for photo in kind]
    labels = Counter(label for photo in training for label in photo.labels)
    class_names = sorted(set(labels) - {*options.unclassed, dataset.NO_CLASS, dataset.DOUBTFUL})
    check_class_names(class_names)
    if options.bias_for:
        balance.named_value("--bias-for", options.bias_for, class_names)
    counts = np.array([labels[name] for name in class_names])
    class_weights = balance.class_weights(options.class_weight, class_names, counts)
    for part, photos in (("training", training), ("validation", validation)):
        ImageStore.write(run_folder / f"{part}.uint8", photos, class_names, f"storing {part} photos")
    facts |= {
        "class_names": class_names,
        "class_weights": class_weights.tolist(),
        "training_photos": len(training),
        "training_photos_by_kind": [len(kind) for kind in kinds],
        "validation_photos": len(validation),
        "faces_by_label": dict(labels.most_common()),
    }
    with atomic_write(record) as unfinished:
        unfinished.write_text(json.dumps(facts), encoding="utf-8")
    return facts


def read_photos(
    options: DetectorRunOptions, faults: list[MaskDetectionError]
) -> tuple[tuple[list[Annotation], ...], list[Annotation], dict[str, Any]]:
    """Read all photos with their boxes.

    Returns:
        Photos for training, of each kind in the order of ``KIND_FRACTIONS``; photos for validation; and how many were
        excluded for what.
    """

    def skip(error: MaskDetectionError) -> None:
        logger.error("error: %s; excluded", error)
        faults.append(error)

    annotated = dataset.read_folders(options.images, options.annotations, skip)
    samples = scan(options.faces) if options.faces else None
    faces, background = samples.paths if samples else (), list_images(options.background)
    division = dataset.divide(
        annotated,
        (*faces, *background),
        options.leave_out_fold,
        options.validation_fold,
        list_images(options.keep_out),
    )
    usable_faces, usable_background = division.others_usable[: len(faces)], division.others_usable[len(faces) :]
    boxed = dataset.box_faces(samples.select(usable_faces), load_boxer(options.face), skip) if samples else []
    empty = dataset.without_faces(list(compress(background, usable_background)), skip)
    training = division.training
    if options.complete_labels:
        training = list(add_unmarked(training, load_witnesses(options.face)))
    return (training, boxed, empty), division.validation, division.facts


def check_class_names(class_names: Sequence[str]) -> None:
    """Refuse photos whose faces cannot teach what a mask is.

    Raises:
        MaskDetectionError: there are fewer than two classes.
    """
    if len(class_names) < 2:
        raise MaskDetectionError(
            f"the photos' faces are of the classes {', '.join(class_names) or 'none'}; two are needed, such as "
            "with_mask and without_mask: add photos with --images or --faces"
        )


def load_boxer(folder: Path) -> FaceDetector:
    """The face detector that boxes photos of single faces."""
    from mask_detection.models.load import load_face_detector

    return load_face_detector("yunet", folder, dataset.MIN_CONFIDENCE, 640)


def learn(options: DetectorRunOptions, facts: dict[str, Any], run_folder: Path) -> tuple[Curves, dict[str, Any]]:
    """Train the network and write it in both forms; return its curves, and what bias a class got."""
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    import keras

    from mask_detection.models.builtin_detector import write_detector

    keras.utils.set_random_seed(options.seed)
    class_names, counts = facts["class_names"], facts["training_photos_by_kind"]
    training, validation = (ImageStore(run_folder / f"{part}.uint8") for part in ("training", "validation"))
    examples = calibration_inputs(training, counts[0], options.final_size)
    widths, freeze = PARTS[options.train]
    model = start_model(class_names, options.init, widths, examples, run_folder / "start.npz")
    freeze(model)
    weights = sampling_weights(counts, training.face_counts)
    class_weights = np.array(facts["class_weights"])
    teacher = Teacher(options.teacher, class_names) if options.teacher else None
    curves = train_detector(
        model, training, weights, validation, class_names, class_weights, options, run_folder, teacher
    )
    add_face_bias(model, options.face_bias)
    bias = shift_decision(model, options, class_names, validation) if options.bias_for else {}
    write_detector(options.output, model, class_names, options.final_size, examples)
    return curves, bias


def shift_decision(
    model: keras.Model, options: DetectorRunOptions, class_names: Sequence[str], validation: ImageStore
) -> dict[str, Any]:
    """Add a bias to the logits of the class of ``--bias-for``; print and return what it does."""
    index, given = balance.named_value("--bias-for", options.bias_for or "", class_names)
    labels, probabilities = found_classes(compiled(model), validation, options.final_size)
    chosen = balance.best_bias(labels, probabilities, index) if len(labels) else 0.0
    bias = chosen if given is None else given
    add_class_bias(model, index, bias)
    before, after = (balance.f1_score(labels, probabilities, index, value) for value in (0.0, bias))
    name = class_names[index]
    print(f"bias on log p({name}): {bias:+.2f}; its F1 on the validation photos was {before:.3f} and is {after:.3f}")
    return {"class": name, "bias": bias, "validation_f1_before": before, "validation_f1": after}


def calibration_inputs(photos: ImageStore, count: int, size: int) -> list[np.ndarray]:
    """Inputs (1, H, W, 3) float32 such as detection makes, of photos spread over the first ``count``."""
    spread = range(0, count, -(-count // CALIBRATION_PHOTOS))
    return [detector_input(photos[number].image, size, INPUT_MULTIPLE)[0] for number in spread]


def sampling_weights(counts: Sequence[int], face_counts: np.ndarray) -> np.ndarray:
    """How often each photo is drawn, relative to the others: (N,) float.

    Args:
        counts: how many photos there are of each kind, which follow one another: annotated ones, photos of one face
            each, and photos without faces.
        face_counts: (N,) boxes in each photo; photos of many faces are drawn more often.
    """
    weights = np.sqrt(np.maximum(face_counts, 1))
    for fraction, part in zip(KIND_FRACTIONS, np.split(weights, np.cumsum(counts)[:-1]), strict=True):
        part *= fraction / max(part.sum(), 1.0)  # in place: the parts share the memory of the whole
    return weights


def write_results(output: Path, facts: dict[str, Any], curves: Curves) -> None:
    """Write the report and the curves, and print where everything is."""
    report.write_report(output.with_suffix(".json"), {**facts, "curves": curves})
    report.write_curves(output.with_suffix(".png"), curves)
    for quantity, values in curves.items():
        print(f"{quantity.replace('_', ' ')}: {values[-1]:.3f}")
    print(f"detector: {output} ({output.stat().st_size:,} bytes)")
