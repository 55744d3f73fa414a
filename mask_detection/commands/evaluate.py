"""Measure how well faces are found and classified, on photos or face crops whose truth is known.

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
from collections.abc import Sequence
from pathlib import Path

from mask_detection.commands import cli, options, outputs
from mask_detection.data.folds import FOLDS

PLOT_SUFFIXES = (".png", ".jpg", ".svg", ".pdf")


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
    add(
        "--json",
        type=options.output_file,
        metavar="FILE",
        help="write the figures here; - is standard output, without the table",
    )
    add("-p", "--plot", type=plot_file, metavar="FILE", help="draw precision-recall curves here (.png)")
    options.add_detector_options(parser)
    args = parser.parse_args(argv)
    if (args.images, args.annotations).count(None) != (2 if args.dataset else 0):
        parser.error("give either --images and --annotations, or --dataset")
    if args.dataset and options.is_one_stage(args):
        parser.error("--one-stage finds faces by itself and needs whole photos: --images and --annotations")
    return args


def plot_file(text: str) -> Path:
    """Argparse type of a file whose name says in which format to draw."""
    path = Path(text)
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(PLOT_SUFFIXES)}")
    return path


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.evaluation import evaluator, tables
    from mask_detection.models import load
    from mask_detection.utils.files import atomic_write, check_can_write
    from mask_detection.utils.text import printable

    outputs.check([args.images, args.annotations, args.dataset, args.model, args.face], [args.json, args.plot])
    json_file = None if str(args.json) == "-" else args.json
    for output in filter(None, (json_file, args.plot)):
        check_can_write(output)
    if args.dataset:
        classifier = load.load_classifier(args.model, args.classes)
        report, matches = evaluator.evaluate_crops(classifier, args.dataset, args.fold, str(args.model))
        table = tables.crop_table(report)
    else:
        model = str(options.BUILTIN_MODEL if options.is_one_stage(args) else args.model)
        detector = options.mask_detector(args)
        report, matches = evaluator.evaluate_photos(detector, args.images, args.annotations, args.fold, model)
        table = tables.photo_table(report)
    text = json.dumps(report, indent=2)
    if json_file:
        with atomic_write(json_file) as part:
            part.write_text(f"{text}\n", encoding="utf-8")
    if args.plot:
        tables.plot_curves(args.plot, matches)
    print(printable(table) if json_file == args.json else text)
    return cli.EXIT_SOME_FAILED if report["left_out"] else cli.EXIT_DONE
