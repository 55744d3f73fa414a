"""Make a clean data set: all images as small JPEG files, broken and copied ones left out and listed.

python -m mask_detection.prepare raw clean                     # class folders in raw/ -> class folders in clean/
python -m mask_detection.prepare raw clean --size 160
python -m mask_detection.prepare street faces --crops          # cut the faces out of photos with boxes
python -m mask_detection.prepare photos faces --crops --annotations labels --margin 0.1 --leave-out-fold A

SRC holds a folder of images for each class, at any depth (raw/with_mask, raw/Train/with_mask); it is only read. DST
gets the same folders, where each image is a JPEG file turned upright, its shape kept, its smaller side --size pixels
or less: nothing is enlarged. Images are known by their content, whatever their names end in. a.png and a.jpg become
a.jpg and a_2.jpg.

Left out and listed with the reason in DST/left_out.csv: files that cannot be read, and byte-for-byte copies. Of copies
the first by path is kept; of copies in folders of different names, that is in two classes, none is.

With --crops, SRC holds photos, or is a folder with the subfolder images. Their boxes stand in VOC .xml or YOLO .txt
files of the same names, in --annotations, or in the folder annotations or labels beside the photos, or with them. The
face number 2 of group.jpg becomes DST/CLASS/group_2.jpg. Every photo belongs to one of the folds A to E by its name:
--leave-out-fold A keeps a fifth of the photos out of training, for an evaluation on photos never seen.

The same command again makes all files anew and goes on after an interruption: a file has its name only when it is
whole. Exit status: 0 all done (copies left out), 1 some images or annotations were faulty and the rest was done,
2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection import cli
from mask_detection.folds import FOLDS

if TYPE_CHECKING:
    from mask_detection.preparation import Summary

CROP_OPTIONS = ("annotations", "margin", "min_size", "leave_out_fold")
MIN_FACE_PIXELS = 12  # smaller side; below, people hardly see a mask either


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.argument_parser(__doc__)
    parser.prog = "python -m mask_detection.prepare"
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="folder of class folders; with --crops, of photos")
    add("destination", type=Path, metavar="DST", help="new folder, or one that an earlier run made")
    add("--size", type=cli.positive_int, default=224, help="smaller side at most, in pixels (default: %(default)s)")
    add("--crops", action="store_true", help="cut faces out of photos by their boxes; the rest is for --crops only")
    add("--annotations", type=Path, metavar="DIR", help="folder of the boxes (default: found beside the photos)")
    add(
        "--margin",
        type=cli.share,
        metavar="0..1",
        help="add this part of a box's width and height on each side (default: as detection does)",
    )
    add(
        "--min-size",
        type=cli.positive_int,
        metavar="PX",
        help=f"leave out faces whose smaller side has fewer pixels (default: {MIN_FACE_PIXELS})",
    )
    add(
        "--leave-out-fold",
        action="append",
        choices=FOLDS,
        help="leave out this fifth of the photos; may be given several times",
    )
    args = parser.parse_args(argv)
    if not args.crops:
        for name in CROP_OPTIONS:
            if getattr(args, name) is not None:
                parser.error(f"--{name.replace('_', '-')} has a meaning only with --crops")
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection import preparation
    from mask_detection.face_crops import CropOptions, prepare_crops
    from mask_detection.preprocessing import CROP_MARGIN

    preparation.check_folders(args.source, args.destination)
    if args.crops:
        options = CropOptions(
            size=args.size,
            margin=CROP_MARGIN if args.margin is None else args.margin,
            min_face_pixels=args.min_size or MIN_FACE_PIXELS,
            left_out_folds=args.leave_out_fold or (),
        )
        summary = prepare_crops(args.source, args.destination, options, args.annotations)
    else:
        summary = preparation.prepare_images(args.source, args.destination, args.size)
    print_summary(summary, args.destination)
    if not summary.written:
        return cli.EXIT_UNUSABLE
    return cli.EXIT_SOME_FAILED if summary.left_out[preparation.Kind.FAULTY] else cli.EXIT_DONE


def print_summary(summary: Summary, destination: Path) -> None:
    """Print how many images each folder got, and how many were left out for what."""
    from mask_detection.preparation import LIST_NAME

    for folder, count in sorted(Counter(path.parent for path in summary.written).items()):
        print(f"{folder}: {count} images")
    kinds = ", ".join(f"{kind.value} {count}" for kind, count in summary.left_out.most_common())
    print(f"left out: {kinds or 'nothing'}; see {destination / LIST_NAME}")


if __name__ == "__main__":
    sys.exit(main())
