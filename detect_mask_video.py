"""Find the faces in a video or at the webcam and tell who wears a mask.

python detect_mask_video.py
python detect_mask_video.py --source street.mp4 --output annotated.mp4 --no-display
python detect_mask_video.py --source rtsp://camera.local/stream --log seen.jsonl

In the window, q or ESC stops. Exit status: 0 all done, 1 the source broke off and the frames until then were done,
2 nothing could be done, 130 interrupted (what was written until then is kept).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection import cli
from mask_detection.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.detections import Detections
    from mask_detection.sinks import CsvRows, JsonLines, VideoFile, Window
    from mask_detection.sources import Frame

logger = logging.getLogger("mask_detection.video")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.argument_parser(__doc__)
    parser.add_argument(
        "-s",
        "--source",
        default="0",
        metavar="0|FILE|URL",
        help="camera's index, video file or stream (default: camera 0)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the annotated video here (.mp4, .avi, .mkv)"
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="write what is seen in each frame: .jsonl, .csv, or - for standard output",
    )
    parser.add_argument("--max-frames", type=cli.positive_int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--every",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="look for faces in each Nth frame only and hold the boxes in between: for slow machines",
    )
    cli.add_detection_arguments(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    from tqdm import tqdm

    from mask_detection.sinks import Window, open_log, open_video_file
    from mask_detection.sources import VideoSource
    from mask_detection.video import detected_frames

    refuse_output_over_source(args.source, args.output)
    shows = cli.decide_display(args.no_display, bool(args.output or args.log), "--output FILE or --log FILE")
    status, frames_done = cli.EXIT_DONE, 0
    faces: Counter[str] = Counter()
    with ExitStack() as stack:
        source = stack.enter_context(VideoSource(args.source))
        detected = stack.enter_context(detected_frames(source, cli.stage_loader(args), args.every))
        outputs = Outputs(
            video=stack.enter_context(open_video_file(args.output, source.frame_rate)) if args.output else None,
            log=stack.enter_context(open_log(args.log)) if args.log else None,
            window=stack.enter_context(Window("Face masks")) if shows else None,
        )
        total = min(filter(None, (source.frame_count, args.max_frames)), default=None)
        try:
            for frame, detections in tqdm(islice(detected, args.max_frames), total=total, unit="frame", disable=None):
                frames_done += 1
                faces.update(detections.labels)
                if not outputs.write(frame, detections):
                    break
        except MaskDetectionError as error:
            if not frames_done:
                raise
            logger.error("error: %s", error)
            status = cli.EXIT_SOME_FAILED
    if str(args.log) != "-":
        seen = ", ".join(f"{number} {label}" for label, number in sorted(faces.items())) or "none"
        print(f"{args.source}: {frames_done} frames; faces in all frames: {seen}")
    return status


@dataclass(frozen=True)
class Outputs:
    """Where the frames and what was seen in them go."""

    video: VideoFile | None
    log: JsonLines | CsvRows | None
    window: Window | None

    def write(self, frame: Frame, detections: Detections) -> bool:
        """Hand a frame to every output; False when the user has had enough."""
        from mask_detection.annotate import annotate

        if self.log:
            self.log.write({**frame.moment(), "faces": detections.to_records()})
        if not (self.video or self.window):
            return True
        annotated = annotate(frame.image, detections)
        if self.video:
            self.video.write(annotated)
        return self.window is None or self.window.show(annotated)


def refuse_output_over_source(source: str, output: Path | None) -> None:
    """Keep a video from being written over itself.

    Raises:
        MaskDetectionError: both are the same file.
    """
    if output and output.exists() and Path(source).exists() and output.samefile(source):
        raise MaskDetectionError(f"{output}: is the source and would be lost; name another --output")


if __name__ == "__main__":
    sys.exit(main())
