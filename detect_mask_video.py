"""Find the faces in a video or at the webcam and show who wears a mask.

python detect_mask_video.py
python detect_mask_video.py --source street.mp4 --output annotated.mp4 --no-display
python detect_mask_video.py --source rtsp://camera.local/stream --log faces.jsonl --summary summary.json
python detect_mask_video.py --alert-command "paplay bell.oga" --alert-after 5

In the window, q or ESC stops. Exit status: 0 all done, 1 the source broke off and the frames until then were done,
2 nothing could be done, 130 interrupted by Ctrl-C, SIGTERM or SIGHUP (what was written until then is kept).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.commands import cli, options, outputs
from mask_detection.utils.errors import MaskDetectionError, OutputError

if TYPE_CHECKING:
    from mask_detection.inference.sinks import Sink
    from mask_detection.io.sources import VideoSource

logger = logging.getLogger("mask_detection.video")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    options.add_source_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE|DIR",
        help="write the annotated video here (.mp4, .avi, .mkv), or its frames into a folder (no suffix)",
    )
    parser.add_argument(
        "--log",
        type=options.output_file,
        metavar="FILE",
        help="write what is found in each frame: .jsonl, .csv, or - for standard output",
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="write at the end what was found in all, and of each track: JSON"
    )
    parser.add_argument("--no-overlay", action="store_true", help="draw no frames/s and counts into the corner")
    options.add_detection_options(parser)
    options.add_alarm_options(parser)
    args = parser.parse_args(argv)
    options.check_alarm_options(parser, args)
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    from tqdm import tqdm

    from mask_detection.inference.pipeline import tracked_frames
    from mask_detection.inference.sinks import Stopped
    from mask_detection.inference.summary import open_summary
    from mask_detection.io.readers import Readers
    from mask_detection.io.sources import open_source

    outputs.check([args.source, args.model, args.face], [args.summary], growing=[args.output, args.log])
    writes = any((args.output, args.log, args.summary, args.alert_command is not None))
    shows = cli.decide_display(args.no_display, writes, "--output FILE or --log FILE")
    status = cli.EXIT_DONE
    with ExitStack() as stack:
        source = open_source(args.source, args.timeout)
        readers = stack.enter_context(Readers([source]))
        detector = options.mask_detector(args).for_video()
        tracked = stack.enter_context(tracked_frames(readers, detector, args.every))
        summary = stack.enter_context(open_summary(args.summary, source.address))
        sinks = [summary, *open_sinks(args, source, detector.class_names, shows, stack)]
        frames = islice(tracked, args.max_frames)
        total = min(filter(None, (source.frame_count, args.max_frames)), default=None)
        try:
            for frame, detections in (progress := tqdm(frames, total=total, unit="frame", disable=None)):
                progress.set_postfix(faces=len(detections), refresh=False)
                for sink in sinks:
                    sink.write(frame, detections)
        except Stopped:
            pass
        except OutputError:
            raise
        except MaskDetectionError as error:
            if not summary.frames:
                raise
            logger.error("error: %s", error)
            status = cli.EXIT_SOME_FAILED
    if str(args.log) != "-":
        print(summary)
    return status


def open_sinks(
    args: argparse.Namespace, source: VideoSource, class_names: Sequence[str], shows: bool, stack: ExitStack
) -> list[Sink]:
    """Open what the arguments ask for; the stack closes it."""
    from mask_detection.inference.alarm import Alarm, choose_alert_classes, open_alarm_command
    from mask_detection.inference.overlay import Overlay
    from mask_detection.inference.sinks import AnnotatedFrames, Log
    from mask_detection.io.window import Window
    from mask_detection.io.writers import open_log, open_video

    sinks: list[Sink] = []
    if args.alert_command is not None:
        classes = choose_alert_classes(args.alert_class, class_names)
        command = stack.enter_context(open_alarm_command(args.alert_command))

        def run_command(event: dict[str, Any]) -> None:
            command.start({**event, "source": source.address})

        sinks += [command, Alarm([run_command], classes, args.alert_after, args.alert_cooldown)]
    video = None
    if args.output:  # every frame of a camera is kept, however early it comes
        video = stack.enter_context(open_video(args.output, source.recording_rate, drops_early=not source.is_live))
    if args.log:
        sinks.append(Log(stack.enter_context(open_log(args.log, class_names))))
    window = stack.enter_context(Window("Face masks")) if shows else None
    if video or window:
        sinks.append(AnnotatedFrames(None if args.no_overlay else Overlay(), video, window))
    return sinks


if __name__ == "__main__":
    sys.exit(main())
