"""Make a clean data set: all images as small JPEG files, broken and copied ones left out and listed.

python -m mask_detection prepare raw clean                     # class folders in raw/ -> class folders in clean/
python -m mask_detection prepare raw clean --size 160
python -m mask_detection prepare street faces --crops          # cut the faces out of photos with boxes
python -m mask_detection prepare photos faces --crops --annotations labels --margin 0.1 --leave-out-fold A
python -m mask_detection prepare raw faces --crops --detector yunet --jitter 1        # class folders of portraits
python -m mask_detection prepare street faces --crops --annotations boxes --detector yunet --jitter 2 --background 2

SRC holds a folder of images for each class, at any depth (raw/with_mask, raw/Train/with_mask); it is only read. DST
gets the same folders, where each image is a JPEG file turned upright, its shape kept, its smaller side --size pixels
or less: nothing is enlarged. Images are known by their content, whatever their names end in. a.png and a.jpg become
a.jpg and a_2.jpg.

Left out and listed with the reason in DST/left_out.csv: files that cannot be read, and byte-for-byte copies. Of copies
the first by path is kept; of copies in folders of different names, that is in two classes, none is.

With --crops, DST gets the faces that SRC shows, each in the folder of its class, boxed by

- annotations, without --detector: SRC holds photos, or is a folder with the subfolder images. Their boxes stand in VOC
  .xml or YOLO .txt files of the same names, in --annotations, or in the folder annotations or labels beside the photos,
  or with them. The face number 2 of group.jpg becomes DST/CLASS/group_2.jpg.
- a face detector, with --detector: SRC holds class folders of photos with one face that matters. The box with the
  largest area x confidence becomes DST/CLASS/photo_1.jpg. Where none is found, a picture of at most 256 x 256 is taken
  to be a crop already, and becomes photo_whole.jpg; a larger one is left out.
- annotations, with --annotations and --detector: the detector's own boxes of the marked faces are cut out as well, as
  group_2_d1.jpg.

What a classifier gets to see depends on the detector before it. --jitter N makes it less so: N more crops of each face,
group_2_j1.jpg, with the box moved by up to 8 % and scaled to 85 to 125 %, at random but the same every time.
--background N teaches it what is no face: N squares of each photo that hardly touch a face, group_b1.jpg, in a folder
beside DST. With --annotations and --detector, these are first of all the places that the detector nearly took for a
face: its boxes of a confidence of 0.1 to 0.35, as surer ones may be faces that nobody marked.

Every photo belongs to one of the folds A to E by its name: --leave-out-fold A keeps a fifth of the photos out of
training, for an evaluation on photos never seen.

The same command again makes all files anew and goes on after an interruption: a file has its name only when it is
whole. Exit status: 0 all done (copies left out), 1 some images or annotations were faulty and the rest was done,
2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli, options
from mask_detection.data.folds import FOLDS
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.data.cleaning import Summary

CROP_OPTIONS = ("annotations", "detector", "margin", "min_size", "jitter", "background", "leave_out_fold")
NEEDS = {"face": "detector", "detect_size": "detector", "background_to": "background"}  # the latter gives a meaning
MIN_FACE_PIXELS = 12  # smaller side; below, people hardly see a mask either


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection prepare"
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="folder of class folders; with --crops, of photos")
    add("destination", type=Path, metavar="DST", help="new folder, or one that an earlier run made")
    add("--size", type=options.positive_int, default=224, help="smaller side at most, in pixels (default: %(default)s)")
    add("--crops", action="store_true", help="cut faces out of photos by their boxes; the rest is for --crops only")
    add("--annotations", type=Path, metavar="DIR", help="folder of the boxes (default: found beside the photos)")
    add(
        "--margin",
        type=options.fraction,
        metavar="0..1",
        help="add this part of a box's longer side on each side (default: as detection does)",
    )
    add(
        "--min-size",
        type=options.positive_int,
        metavar="PX",
        help=f"leave out faces whose smaller side has fewer pixels (default: {MIN_FACE_PIXELS})",
    )
    add(
        "--leave-out-fold",
        action="append",
        choices=FOLDS,
        help="leave out this fifth of the photos; may be given several times",
    )
    add(
        "--jitter",
        type=options.count,
        metavar="N",
        help="cut out every face N times more, its box moved (default: 0)",
    )
    add("--background", type=options.count, metavar="N", help="cut out N places a photo without a face (default: 0)")
    add("--background-to", type=Path, metavar="DIR", help="their folder (default: DST_background, beside DST)")
    options.add_face_detector_options(parser, default=None)
    parser.set_defaults(face=None)
    args = parser.parse_args(argv)
    check_combination(parser, args)
    return args


def check_combination(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse options that would have no effect."""
    for option, needed in {**dict.fromkeys(CROP_OPTIONS, "crops"), **NEEDS}.items():
        if getattr(args, option) is not None and not getattr(args, needed):
            parser.error(f"--{option.replace('_', '-')} has a meaning only with --{needed}")


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.data import cleaning

    if args.crops:
        summary = prepare_crops(args)
    else:
        cleaning.check_folders(args.source, args.destination)
        summary = cleaning.prepare_images(args.source, args.destination, args.size)
    print_summary(summary, args.destination)
    if not summary.written:
        left_out = args.destination / cleaning.LIST_NAME
        raise MaskDetectionError(f"{args.source}: nothing of it is left to write; {left_out} tells why")
    return cli.EXIT_SOME_FAILED if summary.left_out[cleaning.Kind.FAULTY] else cli.EXIT_DONE


def prepare_crops(args: argparse.Namespace) -> Summary:
    """Cut faces out, and backgrounds if asked for."""
    from mask_detection.data import cleaning, face_crops
    from mask_detection.models.load import load_face_detector
    from mask_detection.models.preprocessing import CROP_MARGIN

    background_folder = find_background_folder(args) if args.background else None
    cleaning.check_folders(args.source, *filter(None, [args.destination, background_folder]))
    options = face_crops.CropOptions(
        size=args.size,
        margin=CROP_MARGIN if args.margin is None else args.margin,
        min_face_pixels=args.min_size or MIN_FACE_PIXELS,
        left_out_folds=args.leave_out_fold or (),
        jitter=args.jitter or 0,
        backgrounds=args.background or 0,
        background_folder=background_folder,
    )
    detector = None
    if args.detector:
        face_folder = args.face or defaults.FACE_FOLDER
        detector = load_face_detector(args.detector, face_folder, face_crops.MIN_CONFIDENCE, args.detect_size)
    if detector and not args.annotations:
        summary = face_crops.prepare_detected_crops(args.source, args.destination, options, detector)
    else:
        summary = face_crops.prepare_annotated_crops(args.source, args.destination, options, args.annotations, detector)
    if background_folder:
        cleaning.warn_of_strangers(background_folder, summary.written)
    return summary


def find_background_folder(args: argparse.Namespace) -> Path:
    """Beside the destination, because a folder inside it would be taken for a class."""
    if args.background_to:
        return args.background_to
    destination = args.destination.resolve()  # "." has no name of its own
    return destination.with_name(f"{destination.name}_background")


def print_summary(summary: Summary, destination: Path) -> None:
    """Print how many images each folder got, and how many were left out for what."""
    from mask_detection.data.cleaning import LIST_NAME

    for folder, count in sorted(Counter(path.parent for path in summary.written).items()):
        print(f"{folder}: {count} images")
    kinds = ", ".join(f"{kind.value} {count}" for kind, count in summary.left_out.most_common())
    print(f"left out: {kinds or 'nothing'}; see {destination / LIST_NAME}")
