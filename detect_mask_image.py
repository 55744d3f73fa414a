"""Find the faces in photos and tell who wears a mask.

python detect_mask_image.py --image examples/group.jpg
python detect_mask_image.py --image photos --output annotated --json answers.jsonl --no-display
python detect_mask_image.py --image "holiday/*.jpg" --json - --no-display

In the window, any key shows the next photo; q or ESC closes it. Exit status: 0 all done, 1 some photos failed and the
rest was done, 2 nothing could be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.commands import cli
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.io.image_files import ImageFile

logger = logging.getLogger("mask_detection.image")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.argument_parser(__doc__)
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
        type=Path,
        metavar="FILE",
        help="write one JSON object a line, one line a photo; - is standard output",
    )
    cli.add_detection_arguments(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    from tqdm import tqdm

    from mask_detection.inference.photos import detected_photos
    from mask_detection.io.image_files import find_images
    from mask_detection.io.writers import Window, open_json_lines

    images = find_images(args.image)
    outputs = output_paths(images, args.image, args.output)
    refuse_overwriting([args.model, *(image.path for image in images)], [*outputs, args.json])
    shows = cli.decide_display(args.no_display, bool(args.output or args.json), "--output PATH or --json FILE")
    prints = str(args.json) != "-"
    failed: list[Path] = []
    with ExitStack() as stack:
        paths = [image.path for image in images]
        photos = stack.enter_context(detected_photos(paths, outputs, cli.stage_loader(args), shows))
        log = stack.enter_context(open_json_lines(args.json)) if args.json else None
        window = stack.enter_context(Window("Face masks")) if shows else None
        for photo in tqdm(photos, total=len(paths), unit="photo", disable=None):
            record = photo.saved().record
            if "error" in record:
                failed.append(photo.path)
                logger.error("error: %s", record["error"])
            if log:
                log.write(record)
            if prints and "faces" in record:
                tqdm.write(f"{photo.path}: {summary(record['faces'])}")
            if window and photo.annotated is not None and not window.show(photo.annotated, wait_ms=0):
                window = None
    if failed and len(images) > 1:
        logger.error("%d of %d photos failed: %s", len(failed), len(images), ", ".join(map(str, failed)))
    return cli.exit_status(len(failed), len(images))


def output_paths(images: list[ImageFile], inputs: Sequence[str], output: Path | None) -> list[Path | None]:
    """Where each annotated photo goes: to ``output`` itself for one photo, otherwise below it by relative name.

    Raises:
        MaskDetectionError: nothing can be written there.
    """
    from mask_detection.io.images import can_write_format
    from mask_detection.utils.files import check_can_fill

    if output is None:
        return [None] * len(images)
    is_one_photo = len(inputs) == 1 and images[0].path == Path(inputs[0])
    if is_one_photo and output.suffix and not output.is_dir():
        targets = [output]
    else:
        names = (image.name for image in images)
        targets = [output / (name if can_write_format(name) else f"{name}.png") for name in names]
    for folder in dict.fromkeys(target.parent for target in targets):
        check_can_fill(folder)
    return [*targets]


def refuse_overwriting(inputs: Sequence[Path], outputs: Sequence[Path | None]) -> None:
    """Keep inputs from being lost to what is made of them.

    Raises:
        MaskDetectionError: an output is one of the inputs.
    """
    read = {os.path.realpath(path) for path in inputs}  # Path.resolve() fails at links that go in a circle
    for output in filter(None, outputs):
        if os.path.realpath(output) in read:
            raise MaskDetectionError(f"{output}: is an input and would be lost; name another output")


def summary(faces: list[dict[str, Any]]) -> str:
    """Such as ``2 with_mask, 1 without_mask``."""
    counts = Counter(face["label"] for face in faces)
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items())) or "no faces"


if __name__ == "__main__":
    sys.exit(main())
