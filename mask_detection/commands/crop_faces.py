"""Cut the faces out of photos, into a folder for each class: crops to train a classifier on.

python -m mask_detection crop-faces street faces                     # photos whose faces are annotated
python -m mask_detection crop-faces photos faces --annotations labels --margin 0.1 --leave-out-fold A
python -m mask_detection crop-faces raw faces --detector yunet --jitter 1               # class folders of portraits
python -m mask_detection crop-faces street faces --annotations boxes --detector yunet --jitter 2 --background 2

SRC is only read. DST gets the faces that it shows as JPEG files, each in the folder of its class, boxed by

- annotations, without --detector: SRC holds photos, or is a folder with the subfolder images. Their boxes stand in VOC
  .xml or YOLO .txt files of the same names, in --annotations, or in the folder annotations or labels beside the photos,
  or with them. The face number 2 of group.jpg becomes DST/CLASS/group_2.jpg.
- a face detector, with --detector: SRC holds class folders of photos with one face that matters. The box with the
  largest area x confidence becomes DST/CLASS/photo_1.jpg. Where none is found, an image of at most 256 x 256 is taken
  to be a crop already, and becomes photo_whole.jpg; a larger one is excluded.
- annotations, with --annotations and --detector: the detector's own boxes of the marked faces are cut out as well, as
  group_2_d1.jpg.

What a classifier gets to see depends on the detector before it. --jitter N makes it less so: N more crops of each face,
group_2_j1.jpg, with the box moved by up to 8 % and scaled to 85 to 125 %, at random but the same every time.
--background N teaches it what is no face: N squares of each photo that hardly touch a face, group_b1.jpg, in a folder
beside DST. With --annotations and --detector, these are first of all the places that the detector nearly took for a
face: its boxes of a confidence of 0.1 to 0.35, as more confident ones may be faces that nobody marked.

Every photo belongs to one of the folds A to E by its name: --leave-out-fold A keeps a fifth of the photos out of
training, for an evaluation on photos never seen. Excluded files and faces are listed with the reason in
DST/left_out.csv.

The same command again makes all files anew and goes on after an interruption: a file has its name only when it is
whole. Exit status: 0 all done (copies excluded), 1 some images or annotations were faulty and the rest was done,
2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli, options, outputs
from mask_detection.data.folds import FOLDS
from mask_detection.utils import defaults

if TYPE_CHECKING:
    from mask_detection.data.crops import CropOptions
    from mask_detection.models.face_detector import FaceDetector

NEEDS = {"face": "detector", "detect_size": "detector", "background_to": "background"}  # the latter gives a meaning


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection crop-faces"
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="folder of photos; with --detector alone, of class folders")
    add("destination", type=Path, metavar="DST", help="new folder, or one that an earlier run made")
    add("--annotations", type=Path, metavar="DIR", help="folder of the boxes (default: found beside the photos)")
    add("--size", type=options.positive_int, default=224, help="smaller side at most, in pixels (default: %(default)s)")
    add(
        "--margin",
        type=options.fraction,
        metavar="0..1",
        help="add this fraction of a box's longer side on each side (default: as detection does)",
    )
    add(
        "--min-size",
        type=options.positive_int,
        default=12,  # below, people hardly see a mask either
        metavar="PX",
        help="exclude faces whose smaller side has fewer pixels (default: %(default)s)",
    )
    add(
        "--leave-out-fold",
        action="append",
        default=[],
        choices=FOLDS,
        help="exclude this fifth of the photos; may be given several times",
    )
    add(
        "--jitter",
        type=options.copies,
        default=0,
        metavar="N",
        help="cut out every face N times more, its box moved (default: %(default)s)",
    )
    add(
        "--background",
        type=options.copies,
        default=0,
        metavar="N",
        help="cut out N places a photo without a face (default: %(default)s)",
    )
    add("--background-to", type=Path, metavar="DIR", help="their folder (default: DST_background, beside DST)")
    options.add_face_detector_options(parser, default=None)
    parser.set_defaults(face=None)
    args = parser.parse_args(argv)
    for option, needed in NEEDS.items():
        if getattr(args, option) is not None and not getattr(args, needed):
            parser.error(f"--{option.replace('_', '-')} has a meaning only with --{needed}")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.data import face_crops, jobs

    crop_options = as_crop_options(args)
    folders = filter(None, (args.destination, crop_options.background_folder))
    jobs.check_folders(args.source, *folders)
    detector = load_detector(args)
    if detector and not args.annotations:
        summary = face_crops.prepare_detected_crops(args.source, args.destination, crop_options, detector)
    else:
        summary = face_crops.prepare_annotated_crops(
            args.source, args.destination, crop_options, args.annotations, detector
        )
    if crop_options.background_folder:
        jobs.warn_of_other_files(crop_options.background_folder, summary.written)
    return outputs.report_data_set(summary, args.source, args.destination)


def as_crop_options(args: argparse.Namespace) -> CropOptions:
    """Which faces to cut out, how, and what more."""
    from mask_detection.data.crops import CropOptions
    from mask_detection.models.preprocessing import CROP_MARGIN

    destination = args.destination.resolve()  # "." has no name of its own
    beside = destination.with_name(f"{destination.name}_background")  # inside, it would be taken for a class
    return CropOptions(
        size=args.size,
        margin=CROP_MARGIN if args.margin is None else args.margin,
        min_face_pixels=args.min_size,
        excluded_folds=args.leave_out_fold,
        jitter=args.jitter,
        backgrounds=args.background,
        background_folder=(args.background_to or beside) if args.background else None,
    )


def load_detector(args: argparse.Namespace) -> FaceDetector | None:
    """The face detector, down to the confidence that cropping needs."""
    from mask_detection.data.face_crops import MIN_CONFIDENCE
    from mask_detection.models.load import load_face_detector

    if args.detector is None:
        return None
    return load_face_detector(args.detector, args.face or defaults.FACE_FOLDER, MIN_CONFIDENCE, args.detect_size)
