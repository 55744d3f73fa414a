"""Find the faces in photos and show who wears a mask.

python detect_mask_image.py --image examples/group.jpg
python detect_mask_image.py --image photos --output annotated --json faces.jsonl --no-display
python detect_mask_image.py --image "holiday/*.jpg" --json - --no-display

In the window, any key shows the next photo; q or ESC closes it. Exit status: 0 all done, 1 some photos failed and the
rest was done, 2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli, options, outputs

if TYPE_CHECKING:
    from mask_detection.inference.sinks import PhotoSink

logger = logging.getLogger("mask_detection.image")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.add_argument(
        "-i",
        "--image",
        nargs="+",
        required=True,
        metavar="PATH",
        help="photos, folders of photos, globs such as 'a/*.jpg'",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="write the annotated photo here; a folder for several photos",
    )
    parser.add_argument(
        "--json",
        type=options.output_file,
        metavar="FILE",
        help="write one JSON object a line, one line a photo; - is standard output",
    )
    options.add_detection_options(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    from tqdm import tqdm

    from mask_detection.inference.pipeline import detected_photos
    from mask_detection.io.image_files import find_images

    images = find_images(args.image)
    paths = [image.path for image in images]
    targets = outputs.photo_outputs(images, args.image, args.output)
    outputs.check([args.model, args.face, *paths], targets, growing=[args.json])
    shows = cli.decide_display(args.no_display, bool(args.output or args.json), "--output PATH or --json FILE")
    failed: list[Path] = []
    with ExitStack() as stack:
        detector = options.mask_detector(args)
        results = stack.enter_context(detected_photos(paths, targets, detector.replica, shows, args.blur_faces))
        sinks = open_sinks(args, shows, stack)
        for result in tqdm(results, total=len(paths), unit="photo", disable=None):
            photo = result.saved()
            if "error" in photo.record:
                failed.append(photo.path)
                logger.error("error: %s", photo.record["error"])
            for sink in sinks:
                sink.write(photo)
    if failed and len(paths) > 1:
        logger.error("%d of %d photos failed: %s", len(failed), len(paths), ", ".join(map(str, failed)))
    return cli.exit_status(len(failed), len(paths))


def open_sinks(args: argparse.Namespace, shows: bool, stack: ExitStack) -> list[PhotoSink]:
    """Open what the arguments ask for; the stack closes it."""
    from mask_detection.inference.sinks import PhotoLines, PhotoLog, PhotoWindow
    from mask_detection.io.window import Window
    from mask_detection.io.writers import open_json_lines

    sinks: list[PhotoSink] = []
    if args.json:
        sinks.append(PhotoLog(stack.enter_context(open_json_lines(args.json))))
    if str(args.json) != "-":
        sinks.append(PhotoLines())
    if shows:
        sinks.append(PhotoWindow(stack.enter_context(Window("Face masks"))))
    return sinks


if __name__ == "__main__":
    sys.exit(main())
