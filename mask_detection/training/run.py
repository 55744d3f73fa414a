"""A whole training run: split the data set, train the classifier, export it, report on the test images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.data import dataset, splits
from mask_detection.models.base import ModelInfo
from mask_detection.training import balance, checkpoints, classifier, report
from mask_detection.training.features import FeatureWriter, write_features
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import check_can_write
from mask_detection.utils.text import one_line, printable

if TYPE_CHECKING:
    import keras

    from mask_detection.data.dataset import Samples
    from mask_detection.data.splits import Split
    from mask_detection.training.checkpoints import Curves

logger = logging.getLogger("mask_detection.train")

OUTPUTS = ("model", "plot", "report", "split_file", "resume", "restart")  # options that don't decide what is learned


@dataclass(frozen=True)
class RunOptions(classifier.TrainingOptions):
    """What a run reads, what it writes, and how it trains.

    Attributes:
        dataset: folders of class folders.
        background: folders of images without a face, for which all classes should be equally probable.
        keep_out: folders of images whose near-duplicates take no part.
        model: where the model is written (``.h5``), with its TFLite export beside it.
        plot: where the curves are drawn.
        report: where all figures are written (JSON), with the mistakes as a contact sheet beside it.
        split_file: where the split is read from, or written if there is none.
        init: the model whose backbone to start from; None takes ImageNet's weights.
        resume: continue a run that was killed.
        restart: delete what is left of a run that was killed.
        head: a key of :func:`mask_detection.models.mobilenet.build_model`.
        image_size: width and height of the model's input in pixels.
        backbone_size: what MobileNetV2 works at, in pixels; None means ``image_size``.
        validation_size: fraction of the images for validation, 0..1.
        test_size: fraction of the images for the final test, 0..1.
        class_weight: see :func:`mask_detection.training.balance.class_weights`.
        bias_for: ``NAME``, a class that gets the bias on its log-probability with which its F1 score on the validation
            part is highest; or ``NAME=BIAS``, a given one; or None.
    """

    dataset: Sequence[Path]
    background: Sequence[Path]
    keep_out: Sequence[Path]
    model: Path
    plot: Path
    report: Path
    split_file: Path | None
    init: Path | None
    resume: bool
    restart: bool
    head: str
    image_size: int
    backbone_size: int | None
    validation_size: float
    test_size: float
    class_weight: Sequence[str]
    bias_for: str | None


@dataclass(frozen=True)
class Trained:
    """What training leaves beside the model.

    Attributes:
        curves: of each phase.
        bias: what is reported of the bias; empty without one.
        probabilities: (N, n_classes) of the N test images.
    """

    curves: dict[str, Curves]
    bias: dict[str, Any]
    probabilities: np.ndarray


def train_classifier(options: RunOptions, write: FeatureWriter = write_features) -> int:
    """Run it all, and print what comes out.

    Args:
        options: what to do.
        write: computes the frozen part's features.

    Returns:
        How many images were excluded because they cannot be read.

    Raises:
        MaskDetectionError: the data set is unusable, an output cannot be written, or there is no run to resume,
            or one that is not to be deleted unasked.
    """
    for output in filter(None, (options.model, options.plot, options.report, options.split_file)):
        check_can_write(output)
    samples, n_unreadable = dataset.exclude_unreadable(dataset.scan(options.dataset))
    background = dataset.list_images(options.background)
    split, facts = make_split(options, samples)
    class_weights = find_class_weights(options, split.train)
    arguments = checkpoints.plain(options, without=OUTPUTS)
    identity = {"arguments": arguments, "dataset_fingerprint": facts["dataset_fingerprint"]}
    with checkpoints.open_run_folder(options.model, identity, options.resume, options.restart) as run_folder:
        trained = learn(options, split, background, class_weights, run_folder, write)
        write_results(options, {"arguments": arguments, **facts}, split.test, trained)
    return n_unreadable


def make_split(options: RunOptions, samples: Samples) -> tuple[Split, dict[str, Any]]:
    """Read the split from its file, or make one without leaks; print and return its statistics."""
    facts: dict[str, Any] = {}
    if options.split_file and options.split_file.exists():
        split = splits.read_split(options.split_file, samples)
    else:
        usable, groups, facts = splits.without_leaks(samples, dataset.list_images(options.keep_out))
        for fact, count in facts.items():
            print(f"{fact.replace('_', ' ')}: {count}")
        split = splits.split(usable, groups, options.validation_size, options.test_size, options.seed)
        if options.split_file:
            splits.write_split(options.split_file, split)
    facts["images"] = {part: samples.class_counts for part, samples in split.parts().items()}
    facts["dataset_fingerprint"] = splits.fingerprint(split)
    for part, counts in facts["images"].items():
        print(one_line(f"{part}: " + ", ".join(f"{count} {name}" for name, count in counts.items())))
    return split, facts


def find_class_weights(options: RunOptions, training: Samples) -> np.ndarray:
    """Turn class names from the command line into weights, (n_classes,); check the one that is to get a bias, too."""
    names = training.class_names
    if options.bias_for:
        balance.named_value("--bias-for", options.bias_for, names)
    return balance.class_weights(options.class_weight, names, np.bincount(training.labels, minlength=len(names)))


def learn(
    options: RunOptions,
    split: Split,
    background: tuple[Path, ...],
    class_weights: np.ndarray,
    run_folder: Path,
    write: FeatureWriter,
) -> Trained:
    """Train and save the model."""
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()  # not before, as the search for duplicates needs memory too
    import keras

    from mask_detection.models.mobilenet import build_model, save_model

    keras.utils.set_random_seed(options.seed)
    class_names = split.train.class_names
    model = build_model(len(class_names), options.image_size, options.head, options.init, options.backbone_size)
    validation, training = split_background(background, options.validation_size, options.seed)
    print(f"{options.views} augmented copies ({options.augmentation}) of each training image, one an epoch in turn")
    examples = (
        classifier.Examples.of(split.train, training, class_weights),
        classifier.Examples.of(split.validation, validation, class_weights),
    )
    curves = classifier.train(model, *examples, options, run_folder, write)
    bias = shift_decision(model, options.bias_for, split.validation) if options.bias_for else {}
    save_model(model, options.model, class_names, bias)
    export(options.model, model, class_names)
    return Trained(curves, bias, classifier.predict(model, split.test))


def shift_decision(model: keras.Model, bias_for: str, validation: Samples) -> dict[str, Any]:
    """Add a bias to the model's last layer (see :attr:`RunOptions.bias_for`); print and return what it does."""
    index, given = balance.named_value("--bias-for", bias_for, validation.class_names)
    name = validation.class_names[index]
    probabilities = classifier.predict(model, validation)
    bias = balance.best_bias(validation.labels, probabilities, index) if given is None else given
    balance.add_bias(model, index, bias)
    before, after = (balance.f1_score(validation.labels, probabilities, index, value) for value in (0.0, bias))
    print(f"bias on log p({name}): {bias:+.2f}; its F1 on the validation images was {before:.3f} and is {after:.3f}")
    return {"class": name, "bias": bias, "validation_f1_before": before, "validation_f1": after}


def split_background(
    background: tuple[Path, ...], validation_size: float, seed: int
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Divide images without a face at random into some for validation and the rest, for training."""
    order = np.random.default_rng(seed).permutation(len(background))
    n_validation = round(len(background) * validation_size)
    shuffled = tuple(background[i] for i in order)
    return shuffled[:n_validation], shuffled[n_validation:]


def export(model_path: Path, model: keras.Model, class_names: Sequence[str]) -> None:
    """Write the model's TFLite export beside it; detection can do without."""
    from mask_detection.models import convert

    try:
        path = convert.write_export(model_path, model, ModelInfo(tuple(class_names), model.input_shape[1]))
        print(f"TFLite export, for detection without TensorFlow: {path}")
    except MaskDetectionError as error:
        logger.warning("%s: its TFLite export was not written: %s", model_path, error)


def mistakes_file(report_file: Path) -> Path:
    """Where the contact sheet of mistakes goes: beside the report."""
    return report_file.with_name(f"{report_file.stem}_mistakes.png")


def write_results(
    options: RunOptions,
    facts: dict[str, Any],
    test: Samples,
    trained: Trained,
) -> None:
    """Print the report on the test part; write it, the plot and the contact sheet of mistakes."""
    predicted = trained.probabilities.argmax(axis=1)
    print(f"\nOn the {len(test)} test images, which took no part in training:")
    print(printable(report.classification_text(test, predicted)))
    figures = report.classification_figures(test, predicted)
    report.write_report(options.report, {**facts, "bias": trained.bias, "test": figures, "curves": trained.curves})
    report.write_plot(options.plot, trained.curves, test, predicted)
    mistakes = mistakes_file(options.report)
    n_mistakes = report.write_mistakes(mistakes, test, trained.probabilities)
    print(f"model: {options.model}\nplot: {options.plot}\nreport: {options.report}")
    if n_mistakes:
        print(f"the {n_mistakes} mistakes: {mistakes}")
