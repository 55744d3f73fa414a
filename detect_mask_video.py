"""Find the faces in a video or at the webcam and tell who wears a mask.

python detect_mask_video.py
python detect_mask_video.py --source street.mp4 --output annotated.mp4 --no-display
python detect_mask_video.py --source rtsp://camera.local/stream --log seen.jsonl --summary summary.json
python detect_mask_video.py --alert-command "paplay bell.oga" --alert-after 5

In the window, q or ESC stops. Exit status: 0 all done, 1 the source broke off and the frames until then were done,
2 nothing could be done, 130 interrupted by Ctrl-C or SIGTERM (what was written until then is kept).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError

if TYPE_CHECKING:
    from mask_detection.inference.alarm import Alarm
    from mask_detection.inference.detections import Detections
    from mask_detection.inference.overlay import Overlay
    from mask_detection.inference.summary import Summary
    from mask_detection.io.sources import Frame, VideoSource
    from mask_detection.io.writers import CsvRows, FrameImages, JsonLines, VideoFile, Window

ALARM_CONDITIONS = ("alert_after", "alert_cooldown", "alert_class")

logger = logging.getLogger("mask_detection.inference.video")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.argument_parser(__doc__)
    parser.add_argument(
        "-s",
        "--source",
        default="0",
        metavar="0|FILE|DIR|URL",
        help="camera's index, video file, folder of frames, http:// or rtsp:// stream (default: camera 0)",
    )
    parser.add_argument(
        "--timeout",
        type=cli.seconds,
        default=defaults.SOURCE_TIMEOUT_S,
        metavar="SECONDS",
        help="give up a camera or stream that gives no picture for so long, at first or after it dropped "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE|DIR",
        help="write the annotated video here (.mp4, .avi, .mkv), or its frames into a folder (no suffix)",
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="write what is seen in each frame: .jsonl, .csv, or - for standard output",
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="write at the end what was seen in all, and of each track: JSON"
    )
    parser.add_argument("--no-overlay", action="store_true", help="draw no frames/s and counts into the corner")
    parser.add_argument("--max-frames", type=cli.positive_int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--every",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="look for faces in each Nth frame only and hold the boxes in between: for slow machines",
    )
    cli.add_detection_arguments(parser)
    add_alarm_arguments(parser)
    args = parser.parse_args(argv)
    if args.alert_command is None and any(getattr(args, name) != parser.get_default(name) for name in ALARM_CONDITIONS):
        parser.error("conditions of an alarm are given, but not what to do: add --alert-command")
    return args


def add_alarm_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says when to raise the alarm, and how."""
    alarm = parser.add_argument_group("alarm", "run a command when a face was seen without a mask for too long")
    alarm.add_argument(
        "--alert-command",
        metavar="COMMAND",
        help="program and arguments, run without a shell; the event comes as a line of JSON on its standard input",
    )
    alarm.add_argument(
        "--alert-after",
        type=cli.seconds,
        default=3.0,
        metavar="SECONDS",
        help="how long a face has to be seen so; each track raises one alarm at most (default: %(default)g)",
    )
    alarm.add_argument(
        "--alert-cooldown",
        type=cli.seconds,
        default=30.0,
        metavar="SECONDS",
        help="least time between two alarms (default: %(default)g)",
    )
    alarm.add_argument(
        "--alert-class",
        nargs="+",
        metavar="NAME",
        help="the classes to raise it for (default: the model's class without a mask)",
    )


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    from tqdm import tqdm

    from mask_detection.inference.tracking import Tracker
    from mask_detection.inference.video import detected_frames
    from mask_detection.io.sources import open_source

    refuse_output_over_source(args.source, args.output)
    writes = any((args.output, args.log, args.summary, args.alert_command is not None))
    shows = cli.decide_display(args.no_display, writes, "--output FILE or --log FILE")
    status = cli.EXIT_DONE
    with ExitStack() as stack:
        source = stack.enter_context(open_source(args.source, args.timeout))
        detected = stack.enter_context(detected_frames(source, cli.stage_loader(args), args.every))
        outputs = open_outputs(args, source, detected.class_names, shows, stack)
        tracker = Tracker()
        frames = islice(detected.frames, args.max_frames)
        total = min(filter(None, (source.frame_count, args.max_frames)), default=None)
        try:
            for frame, detections in (progress := tqdm(frames, total=total, unit="frame", disable=None)):
                progress.set_postfix(faces=len(detections), refresh=False)
                if not outputs.write(frame, tracker.update(detections, frame.time_s)):
                    break
        except MaskDetectionError as error:
            if not outputs.summary.frames:
                raise
            logger.error("error: %s", error)
            status = cli.EXIT_SOME_FAILED
    if str(args.log) != "-":
        print(outputs.summary)
    return status


@dataclass(frozen=True)
class Outputs:
    """Where the frames and what was seen in them go."""

    summary: Summary
    alarm: Alarm | None
    overlay: Overlay | None
    video: VideoFile | FrameImages | None
    log: JsonLines | CsvRows | None
    window: Window | None

    def write(self, frame: Frame, detections: Detections) -> bool:
        """Hand a frame to every output; False when the user has had enough."""
        from mask_detection.inference.drawing import annotate

        self.summary.add(frame, detections)
        if self.alarm:
            self.alarm.watch(frame, detections)
        if self.log:
            self.log.write({**frame.moment(), "faces": detections.to_records()})
        if not (self.video or self.window):
            return True
        annotated = annotate(frame.image, detections)
        if self.overlay:
            self.overlay.draw(annotated, detections)
        if self.video:
            self.video.write(annotated, frame.time_s - frame.gap_s)
        return self.window is None or self.window.show(annotated)


def open_outputs(
    args: argparse.Namespace, source: VideoSource, class_names: Sequence[str], shows: bool, stack: ExitStack
) -> Outputs:
    """Open what the arguments ask for; the stack closes it."""
    from mask_detection.inference.overlay import Overlay
    from mask_detection.inference.summary import open_summary
    from mask_detection.io.writers import Window, open_log, open_video

    alarm = start_alarm(args, source.name, class_names) if args.alert_command is not None else None
    return Outputs(
        summary=stack.enter_context(open_summary(args.summary, source.name)),
        alarm=stack.enter_context(alarm) if alarm else None,
        overlay=None if args.no_overlay else Overlay(),
        video=stack.enter_context(open_video(args.output, source.frame_rate)) if args.output else None,
        log=stack.enter_context(open_log(args.log)) if args.log else None,
        window=stack.enter_context(Window("Face masks")) if shows else None,
    )


def start_alarm(args: argparse.Namespace, source: str, class_names: Sequence[str]) -> AbstractContextManager[Alarm]:
    """The alarm that the arguments ask for, watching for some of the model's classes.

    Raises:
        MaskDetectionError: the model has no such class, or the command is none.
    """
    from mask_detection.inference.alarm import choose_alert_classes, open_alarm

    classes = choose_alert_classes(args.alert_class, class_names)
    return open_alarm(args.alert_command, source, classes, args.alert_after, args.alert_cooldown)


def refuse_output_over_source(source: str, output: Path | None) -> None:
    """Keep a video from being written over itself.

    Raises:
        MaskDetectionError: both are the same file.
    """
    is_path = "://" not in source
    if is_path and output and output.exists() and Path(source).exists() and output.samefile(source):
        raise MaskDetectionError(f"{output}: is the source and would be lost; name another --output")


if __name__ == "__main__":
    sys.exit(main())
