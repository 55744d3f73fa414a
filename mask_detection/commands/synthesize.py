"""Put masks on bare faces, correctly and wrongly: training crops for the class that photos seldom show.

python -m mask_detection synthesize without_mask synthetic
python -m mask_detection synthesize without_mask synthetic --kinds nose chin tip --per-face 2 --seed 1
python -m mask_detection synthesize without_mask synthetic --cloth-from with_mask
python -m mask_detection synthesize street/images synthetic --annotations street/annotations --leave-out-fold A

SRC holds photos of bare faces, at any depth; it is only read. YuNet finds the faces and their landmarks. With
--annotations, masks are put on those faces only whose box is of the class without_mask, and the masks of those of the
class with_mask serve as cloth, too. --cloth-from names further photos of people with masks: then half of the masks
are made of cloth cut out of photos of the same fold, and the other half is drawn.

The kinds say where the mask's upper edge lies: correct (over the nose), tip (at the tip of the nose, which shows),
nose (below the nose), chin (below the mouth). DST gets face crops, cut out as detection does it, in the class folders
with_mask (correct) and mask_weared_incorrect (the others): face 2 of group.jpg becomes group_2_nose.jpg. A second crop
of the same kind is called group_2_nose_2.jpg, with the box moved and scaled. DST/faces.csv lists what was done to
which face; DST/left_out.csv what was excluded and why; DST/contact_sheet.png shows some crops of each kind.

A crop depends on the photo's bytes, the seed and the cloth, not on the other photos, nor on the number of cores. Every
photo belongs to one of the folds A to E by its name: --leave-out-fold A keeps a fifth of the photos out of training.

The same command again makes all files anew and goes on after an interruption: a file has its name only when it is
whole. Exit status: 0 all done, 1 some images or annotations were faulty and the rest was done, 2 nothing could be
done, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mask_detection.commands import cli, options, outputs
from mask_detection.data.folds import FOLDS
from mask_detection.data.synthesis.kinds import KINDS

if TYPE_CHECKING:
    from mask_detection.models.opencv_detectors import YuNetFaceDetector

MIN_FACE_PIXELS = 16  # smaller side; below, people hardly see where a mask ends
MIN_CONFIDENCE = 0.6  # of YuNet, that there is a face


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection synthesize"
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="folder of photos of bare faces")
    add("destination", type=Path, metavar="DST", help="new folder, or one that an earlier run made")
    add(
        "--kinds",
        nargs="+",
        choices=KINDS,
        default=list(KINDS),
        metavar="KIND",
        help=f"of {', '.join(KINDS)}; one that is named twice is taken twice as often (default: all)",
    )
    add(
        "--per-face",
        type=options.whole_number(1, options.MAX_COPIES),
        default=1,
        metavar="N",
        help="crops of a face (default: %(default)s)",
    )
    add("--seed", type=options.seed, default=1, help="another one gives other masks (default: %(default)s)")
    add("--size", type=options.positive_int, default=224, help="smaller side at most, in pixels (default: %(default)s)")
    add(
        "--min-size",
        type=options.positive_int,
        default=MIN_FACE_PIXELS,
        metavar="PX",
        help="exclude faces whose smaller side has fewer pixels (default: %(default)s)",
    )
    add("--annotations", type=Path, metavar="DIR", help="folder of VOC .xml or YOLO .txt files, named as the photos")
    add("--cloth-from", type=Path, metavar="DIR", help="folder of photos of people with masks")
    add(
        "--leave-out-fold",
        action="append",
        choices=FOLDS,
        default=[],
        help="exclude this fifth of the photos; may be given several times",
    )
    options.add_face_folder_option(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.data import jobs
    from mask_detection.data.synthesis import photos
    from mask_detection.models.load import load_face_detector

    jobs.check_folders(args.source, args.destination)
    yunet = cast("YuNetFaceDetector", load_face_detector("yunet", args.face, MIN_CONFIDENCE))
    wanted = photos.SynthesisOptions(
        kinds=args.kinds,
        per_face=args.per_face,
        seed=args.seed,
        size=args.size,
        min_face_pixels=args.min_size,
        excluded_folds=args.leave_out_fold,
    )
    summary = photos.synthesize(
        args.source, args.destination, wanted, yunet.find_landmarks, args.annotations, args.cloth_from
    )
    return outputs.report_data_set(summary, args.source, args.destination)
