"""Write a model as .tflite files: for a Raspberry Pi, for an Android app, for a program without TensorFlow.

python -m mask_detection export
python -m mask_detection export --model my_model.h5 --output exported --calibrate photos --dataset dataset

For mask_detector.h5 it writes

- mask_detector.tflite: fp16 weights, half the size, computed in float32; the one that detection uses by itself;
- mask_detector_fp32.tflite: every digit of the .h5;
- mask_detector_int8.tflite, with --calibrate: weights and computation in 8-bit integers, under a third of the size.

All of them take one face, float32 (1, size, size, 3) RGB in -1..1, and give float32 (1, classes) probabilities; class
names, size and preprocessing stand in mask_detector.json in the file (`unzip -p FILE mask_detector.json`). The
detection scripts take each as --model. With --dataset it prints how accurate each one is. Exit status: 0 all done,
1 some images of the data set could not be read, 2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli, options, outputs
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mask_detection.data.dataset import Samples
    from mask_detection.models.base import ModelInfo
    from mask_detection.models.classifier import MaskClassifier

CALIBRATION_PHOTOS = 200  # more change the ranges of the layers' numbers hardly any more


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection export"
    add = parser.add_argument
    add(
        "-m",
        "--model",
        type=Path,
        default=defaults.MODEL_FILE,
        metavar="FILE",
        help="the .h5 model (default: mask_detector.h5 beside the scripts)",
    )
    add("-o", "--output", type=Path, metavar="DIR", help="write the files here (default: beside the model)")
    add(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help=f"photos of faces, up to {CALIBRATION_PHOTOS} of which set the ranges of int8's numbers",
    )
    add("-d", "--dataset", type=Path, metavar="DIR", help="folder of class folders of face crops to measure on")
    args = parser.parse_args(argv)
    args.output = args.output or args.model.parent
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.data.dataset import exclude_unreadable, scan
    from mask_detection.models.classifier import to_classifier
    from mask_detection.models.keras_file import keras_network, load_keras_model
    from mask_detection.utils.files import make_folder

    outputs.check([args.model, args.calibrate, args.dataset], file_names(args.model, args.output).values())
    model, info = load_keras_model(args.model)
    make_folder(args.output)
    examples = calibration_examples(args.calibrate, info.input_size) if args.calibrate else []
    files = write_all(model, info, args.model, args.output, examples)
    accuracies, n_unreadable = {}, 0
    if args.dataset:
        samples, n_unreadable = exclude_unreadable(scan([args.dataset]))
        accuracies = measure(to_classifier(args.model, keras_network(model, info)), files, samples)
    print(table({"h5": args.model, **files}, accuracies))
    return cli.EXIT_SOME_FAILED if n_unreadable else cli.EXIT_DONE


def write_all(
    model: keras.Model, info: ModelInfo, model_path: Path, folder: Path, examples: Sequence[np.ndarray]
) -> dict[str, Path]:
    """Write a file for each kind of weights, int8 only with examples to calibrate on; return them by kind."""
    from mask_detection.models.convert import INT8, convert
    from mask_detection.models.tflite import pack
    from mask_detection.utils.files import atomic_write

    source = hashlib.sha256(model_path.read_bytes()).hexdigest()
    files = file_names(model_path, folder)
    if not examples:
        del files[INT8]
    for weights, path in files.items():
        data = pack(convert(model, weights, examples), info, weights, source)
        with atomic_write(path) as part:
            part.write_bytes(data)
    return files


def file_names(model_path: Path, folder: Path) -> dict[str, Path]:
    """Where the file for each kind of weights is written."""
    from mask_detection.models.convert import FP16, FP32, INT8

    endings = {FP16: "", FP32: f"_{FP32}", INT8: f"_{INT8}"}
    return {weights: folder / f"{model_path.stem}{ending}.tflite" for weights, ending in endings.items()}


def calibration_examples(folder: Path, input_size: int) -> list[np.ndarray]:
    """Inputs such as detection makes, from photos spread over a folder.

    Returns:
        A list of (1, input_size, input_size, 3) float32 RGB in -1..1: each face that is found, or the whole of an
        image without one, as a tight crop is.

    Raises:
        MaskDetectionError: the folder holds no readable images.
    """
    from mask_detection.data.dataset import list_images
    from mask_detection.io.images import read_image
    from mask_detection.models.load import load_face_detector
    from mask_detection.models.preprocessing import classifier_input, crop_faces

    photos = list_images([folder])
    detector = load_face_detector("auto", defaults.FACE_FOLDER)
    examples = []
    for photo in photos[:: -(-len(photos) // CALIBRATION_PHOTOS)]:
        try:
            frame = read_image(photo)
        except MaskDetectionError:
            continue
        crops = crop_faces(frame, detector.detect(frame)[0]) or [frame]
        examples += [classifier_input([crop], input_size) for crop in crops]
    if not examples:
        raise MaskDetectionError(f"{folder}: none of its images can be read; name another folder for --calibrate")
    return examples[:: -(-len(examples) // CALIBRATION_PHOTOS)]


def measure(original: MaskClassifier, files: Mapping[str, Path], samples: Samples) -> dict[str, float]:
    """The accuracy of the model itself and of each file made from it, 0..1, by kind of weights."""
    import numpy as np

    from mask_detection.evaluation.evaluator import check_labels, classify_files
    from mask_detection.models.load import load_classifier

    check_labels(samples.class_names, original.class_names, samples.root)
    truth = np.asarray(samples.class_names)[samples.labels]
    exported = {weights: load_classifier(path, original.class_names) for weights, path in files.items()}
    accuracies = {}
    for weights, classifier in {"h5": original, **exported}.items():
        predicted = classify_files(samples.paths, classifier).argmax(axis=1)
        accuracies[weights] = float(np.mean(np.asarray(classifier.class_names)[predicted] == truth))
    return accuracies


def table(files: Mapping[str, Path], accuracies: Mapping[str, float]) -> str:
    """A line for each file: weights, size, accuracy where it was measured, name."""
    lines = []
    for weights, path in files.items():
        accuracy = f"accuracy {accuracies[weights]:7.2%}  " if accuracies else ""
        lines.append(f"{weights:4}  {path.stat().st_size / 1e6:5.1f} MB  {accuracy}{path}")
    return "\n".join(lines)
