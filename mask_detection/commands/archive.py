"""Detect in archives of any size, on all cores of this machine or of a cluster that runs Ray, a row a photo.

python -m mask_detection archive --image photos --output archive
python -m mask_detection archive --image photos --output archive --resume
python -m mask_detection archive --image s3://bucket/photos --output s3://bucket/faces --address auto

Rows have the fields of detect_mask_image.py's JSON lines: image, width, height, faces, or error for a photo that
failed; paths are absolute. They lie in OUTPUT/records; the rest of OUTPUT is for --resume, which goes on with a run
that was interrupted or killed, each photo once. It needs `pip install -r requirements-cluster.txt`; docs/cluster.md
says when more than one machine is worth it, and how. Exit status: 0 all done, 1 some photos failed and the rest was
done, 2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mask_detection.commands import cli, options
from mask_detection.utils.text import printable

FORMATS = ("parquet", "jsonl")

logger = logging.getLogger("mask_detection.archive")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection archive"
    add = parser.add_argument
    add(
        "-i",
        "--image",
        nargs="+",
        required=True,
        metavar="PATH",
        help="photos, folders, globs, lists (.txt with a path a line, .parquet with a column image), s3:// addresses",
    )
    add("-o", "--output", required=True, metavar="FOLDER", help="new folder, or s3:// address, for the rows")
    add("--format", choices=FORMATS, default=FORMATS[0], help="of the rows (default: %(default)s)")
    add("--resume", action="store_true", help="go on with the job in --output; begin it if there is none")
    add(
        "--address",
        default=os.environ.get("RAY_ADDRESS"),
        metavar="HOST:PORT",
        help="Ray cluster to work on; auto is the one that this machine is a node of (default: the environment "
        "variable RAY_ADDRESS, which `ray job submit` sets, otherwise this machine alone)",
    )
    add(
        "--photos-per-file",
        type=options.positive_int,
        metavar="N",
        help="rows of a file in the output, and photos that a worker takes at a time (default: 500, fewer where that "
        "keeps all workers busy)",
    )
    options.add_detector_options(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    cli.require_ray()
    from mask_detection.distributed.run import process_archive

    outcome = process_archive(
        args.image,
        args.output,
        _settings(args),
        format_=args.format,
        address=args.address,
        resume=args.resume,
        photos_per_file=args.photos_per_file,
    )
    print(printable(outcome.totals.table()))
    if outcome.was_finished:
        return cli.EXIT_DONE
    totals, n_unlisted, _ = outcome
    for error in totals.examples:
        logger.error("error: %s", error)
    if totals.n_failed > len(totals.examples):
        logger.error("%d of %d photos failed; their rows say why", totals.n_failed, totals.n_photos)
    return cli.exit_status(totals.n_failed + n_unlisted, totals.n_photos + n_unlisted)


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """What workers load the detector with, wherever they run: absolute paths."""
    settings = options.detector_settings(args)
    return {name: value.absolute() if isinstance(value, Path) else value for name, value in settings.items()}
