"""Make a clean data set: all images as small JPEG files, broken and copied ones excluded and listed.

python -m mask_detection prepare raw clean                     # class folders in raw/ -> class folders in clean/
python -m mask_detection prepare raw clean --size 160

SRC holds a folder of images for each class, at any depth (raw/with_mask, raw/Train/with_mask); it is only read. DST
gets the same folders, where each image is a JPEG file turned upright, its shape kept, its smaller side --size pixels
or less: nothing is enlarged. Images are known by their content, whatever their names end in. a.png and a.jpg become
a.jpg and a_2.jpg. The command crop-faces cuts faces out of photos first.

Excluded and listed with the reason in DST/left_out.csv: files that cannot be read, links that lead out of SRC, and
byte-for-byte copies. Of copies the first by path is kept; of copies in folders of different names, that is in two
classes, none is.

The same command again makes all files anew and goes on after an interruption: a file has its name only when it is
whole. Exit status: 0 all done (copies excluded), 1 some images were faulty and the rest was done, 2 nothing could be
done, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mask_detection.commands import cli, options, outputs


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection prepare"
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="folder of class folders")
    add("destination", type=Path, metavar="DST", help="new folder, or one that an earlier run made")
    add("--size", type=options.positive_int, default=224, help="smaller side at most, in pixels (default: %(default)s)")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.data import cleaning, jobs

    jobs.check_folders(args.source, args.destination)
    summary = cleaning.prepare_images(args.source, args.destination, args.size)
    return outputs.report_data_set(summary, args.source, args.destination)
