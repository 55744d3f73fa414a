"""Find the faces in videos, at the webcam and at cameras, and show who wears a mask.

python detect_mask_video.py
python detect_mask_video.py --source street.mp4 --output annotated.mp4 --no-display
python detect_mask_video.py --source rtsp://camera.local/stream --log faces.jsonl --summary summary.json
python detect_mask_video.py --source 0 rtsp://camera.local/stream --name desk door --statistics faces.csv
python detect_mask_video.py --alert-command "paplay bell.oga" --alert-after 5

In the window, q or ESC stops. Exit status: 0 all done, 1 a source broke off and the rest was done, 2 nothing could be
done, 130 interrupted by Ctrl-C, SIGTERM or SIGHUP (what was written until then is kept).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

from mask_detection.commands import cli, options
from mask_detection.commands.video import config, paths, serving
from mask_detection.commands.video import options as video_options
from mask_detection.utils.errors import MaskDetectionError, OutputError

if TYPE_CHECKING:
    from mask_detection.commands.video.sinks import VideoSinks
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame, VideoSource

logger = logging.getLogger("mask_detection.video")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, and the configuration file that it names."""
    parser = options.argument_parser(__doc__)
    video_options.add_source_options(parser)
    options.add_detection_options(parser)
    video_options.add_output_options(parser)
    video_options.add_alarm_options(parser)
    video_options.add_recording_options(parser)
    serving.add_options(parser)
    args = config.parse_with_config(parser, argv)
    video_options.check(parser, args)
    serving.check(parser, args)
    return args


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see the top of the file."""
    args = parse_arguments(argv)
    from mask_detection.commands.video.sinks import Receivers, VideoSinks
    from mask_detection.inference.pipeline import tracked_frames
    from mask_detection.io.readers import Readers

    names = paths.source_names(args)
    paths.check_outputs(args, names)
    shows = cli.decide_display(args.no_display, video_options.has_output(args), "--output FILE or --log FILE")
    with ExitStack() as stack:
        sources = open_sources(args, names)
        readers = stack.enter_context(Readers(sources))
        detector = options.mask_detector(args).for_video()
        tracked = stack.enter_context(tracked_frames(readers, detector, args.every))
        receivers = Receivers()
        serving.open_serving(args, sources, detector.class_names, receivers, stack)
        sinks = VideoSinks(args, sources, detector.class_names, shows, stack, receivers)
        run(islice(tracked, args.max_frames), sinks, n_frames=n_frames(args, sources))
    if not any(summary.frames for summary in sinks.summaries) and readers.lost:
        raise MaskDetectionError(f"{', '.join(names)}: none of these sources gave a frame; see above")
    if str(args.log) != "-":
        for summary in sinks.summaries:
            print(summary)
    return cli.EXIT_SOME_FAILED if readers.lost or sinks.has_failed else cli.EXIT_DONE


def open_sources(args: argparse.Namespace, names: Sequence[str]) -> list[VideoSource]:
    """Open the source; several, and addresses, are opened by the threads that read them, and nothing waits for them."""
    from mask_detection.io.readers import LateSource
    from mask_detection.io.sources import open_source
    from mask_detection.utils.urls import scheme_of

    opens_at_once = len(names) == 1 and scheme_of(args.source[0]) in ("", "file")
    sources = [(open_source if opens_at_once else LateSource)(source, args.timeout) for source in args.source]
    for source, name in zip(sources, names, strict=True):
        source.name = name
    return sources


def n_frames(args: argparse.Namespace, sources: Sequence[VideoSource]) -> int | None:
    """How many frames to expect; None where that is unknown."""
    known = sources[0].frame_count if len(sources) == 1 else None
    return min(filter(None, (known, args.max_frames)), default=None)


def run(frames: Iterable[tuple[Frame, Detections]], sinks: VideoSinks, n_frames: int | None) -> None:
    """Pass all frames on.

    Raises:
        MaskDetectionError: an output cannot be written, or the only source gave nothing at all.
    """
    from tqdm import tqdm

    from mask_detection.inference.sinks import Stopped

    try:
        for frame, detections in (progress := tqdm(frames, total=n_frames, unit="frame", disable=None)):
            progress.set_postfix(faces=len(detections), refresh=False)
            sinks.write(frame, detections)
    except Stopped:
        pass
    except OutputError:
        raise
    except MaskDetectionError as error:
        if not any(summary.frames for summary in sinks.summaries):
            raise
        logger.error("error: %s", error)


if __name__ == "__main__":
    sys.exit(main())
