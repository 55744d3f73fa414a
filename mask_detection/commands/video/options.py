"""The options of the video script, by groups."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from mask_detection.commands import options
from mask_detection.utils import defaults
from mask_detection.utils.errors import MaskDetectionError

SOURCE_VARIABLE = "MASK_SOURCE"  # of the environment
LONGEST_SOURCE = 10_000  # characters
NAME = re.compile(r"[^\W.-][\w.-]{0,59}")
SOURCE_MARK = "{source}"  # in a path: stands for the source's name
DEFAULT_AFTER_S = 3.0
DAY_S = 24 * 3600.0


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add where frames come from, and which of them are looked at."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "-s",
        "--source",
        nargs="+",
        default=[os.environ.get(SOURCE_VARIABLE) or "0"],
        metavar="0|FILE|DIR|URL",
        help="camera's index, video file, folder of frames, http:// or rtsp:// stream; or several (default: what the "
        f"environment variable {SOURCE_VARIABLE} names, otherwise camera 0)",
    )
    source.add_argument(
        "--source-file",
        dest="source",
        type=lambda name: [line_in_file(name)],
        metavar="FILE",
        help="text file that holds the source in one line: other users can see a password on the command line",
    )
    parser.add_argument(
        "--name",
        nargs="+",
        type=source_name,
        metavar="NAME",
        help="what to call the sources, in their order, in lines and file names (default: a short form of each)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file with any of these options, and a table [source.NAME] a source; the command line wins",
    )
    parser.add_argument(
        "--timeout",
        type=options.seconds,
        default=defaults.SOURCE_TIMEOUT_S,
        metavar="SECONDS",
        help="give up a camera or stream that gives no frame for so long, at first or after it dropped "
        "(default: %(default)g)",
    )
    parser.add_argument("--max-frames", type=options.positive_int, metavar="N", help="stop after N frames in all")
    parser.add_argument(
        "--every",
        type=options.positive_int,
        default=1,
        metavar="N",
        help="look for faces in each Nth frame only and hold the boxes in between: for slow machines",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add what is written; ``{source}`` in a path stands for the source's name."""
    group = parser.add_argument_group("outputs", f"{SOURCE_MARK} in a path stands for the source's name")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE|DIR",
        help="write the annotated video here (.mp4, .avi, .mkv), or its frames into a folder (no suffix)",
    )
    group.add_argument(
        "--log",
        type=options.output_file,
        metavar="FILE",
        help="write what is found in each frame: .jsonl, .csv, or - for standard output",
    )
    group.add_argument(
        "--summary", type=Path, metavar="FILE", help="write at the end what was found in all, and of each track: JSON"
    )
    group.add_argument("--statistics", type=Path, metavar="FILE.csv", help="count the tracks by the hour")
    group.add_argument(
        "--interval",
        type=options.between_seconds(1.0, DAY_S),
        default=3600.0,
        metavar="SECONDS",
        help="count them by intervals of 1s to 24h (default: 1h)",
    )
    group.add_argument("--no-overlay", action="store_true", help="draw no frames/s and counts into the corner")


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Add how recordings look after themselves."""
    group = parser.add_argument_group("recordings", "for runs that go on and on")
    group.add_argument(
        "--segment",
        type=options.between_seconds(1.0, options.MAX_SECONDS),
        metavar="SECONDS",
        help="cut the video of --output and the --log into files of this length, such as 10m",
    )
    group.add_argument(
        "--keep", type=options.n_bytes, metavar="SIZE", help="delete the oldest of these and of --clips beyond 10GB"
    )
    group.add_argument(
        "--keep-days", type=options.positive_int, metavar="N", help="delete those that are older than N days"
    )
    group.add_argument("--clips", type=Path, metavar="DIR", help="record what surrounds each alarm into this folder")
    group.add_argument(
        "--clip-before",
        type=options.seconds,
        default=5.0,
        metavar="SECONDS",
        help="what comes before the alarm, as far as 64 MB of JPEGs hold it (default: %(default)g)",
    )
    group.add_argument(
        "--clip-after",
        type=options.seconds,
        default=10.0,
        metavar="SECONDS",
        help="what comes after it (default: %(default)g)",
    )


def add_alarm_options(parser: argparse.ArgumentParser) -> None:
    """Add when to raise the alarm, and how."""
    group = parser.add_argument_group("alarm", "when a face was seen without a mask for too long, or too many were")
    group.add_argument(
        "--alert-command",
        metavar="COMMAND",
        help="program and arguments, run without a shell; the event comes as a line of JSON on its standard input",
    )
    group.add_argument(
        "--alert-after",
        type=options.seconds,
        metavar="SECONDS",
        help="how long a face has to be seen so; each track raises one alarm at most (default: "
        f"{DEFAULT_AFTER_S:g}; with --alert-fraction, one face raises none)",
    )
    group.add_argument(
        "--alert-cooldown",
        type=options.seconds,
        default=30.0,
        metavar="SECONDS",
        help="least time between two alarms of a source (default: %(default)g)",
    )
    group.add_argument(
        "--alert-class",
        nargs="+",
        metavar="NAME",
        help="the classes to raise it for (default: the model's classes without a mask and with one worn wrong)",
    )
    group.add_argument(
        "--alert-fraction",
        type=options.fraction,
        metavar="0..1",
        help="raise it when this fraction of the tracks seen lately are so, two of them at least",
    )
    group.add_argument(
        "--alert-window",
        type=options.seconds,
        default=300.0,
        metavar="SECONDS",
        help="how long tracks count for the fraction (default: 5m)",
    )
    group.add_argument(
        "--alert-minimum",
        type=options.whole_number(2, options.MAX_COUNT),
        default=5,
        metavar="N",
        help="least number of tracks for the fraction (default: %(default)s)",
    )


def has_alarm(args: argparse.Namespace) -> bool:
    """Tell whether alarms go anywhere."""
    return args.alert_command is not None or args.clips is not None or is_served(args)


def is_served(args: argparse.Namespace) -> bool:
    """Tell whether the run is to be seen from elsewhere."""
    return args.serve is not None or args.mqtt is not None


def has_output(args: argparse.Namespace) -> bool:
    """Tell whether there is something to do without a window."""
    return bool(args.output or args.log or args.summary or args.statistics or has_alarm(args))


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what contradicts itself, or means nothing by itself."""

    def is_given(*names: str) -> bool:
        return any(getattr(args, name) != parser.get_default(name) for name in names)

    if not has_alarm(args) and is_given("alert_after", "alert_cooldown", "alert_class", "alert_fraction"):
        parser.error(
            "conditions of an alarm are given, but not what to do: add --alert-command, --clips, --serve or --mqtt"
        )
    if args.alert_fraction is None and is_given("alert_window", "alert_minimum"):
        parser.error("--alert-window and --alert-minimum are of no use alone: add --alert-fraction")
    if args.clips is None and is_given("clip_before", "clip_after"):
        parser.error("--clip-before and --clip-after are of no use alone: add --clips")
    if args.statistics is None and not is_served(args) and is_given("interval"):
        parser.error("--interval is of no use alone: add --statistics")
    if args.segment and not (args.output or args.log):
        parser.error("--segment: there is nothing to cut; add --output or --log")
    if args.segment and args.output and not is_file(args.output):
        parser.error("--segment: cuts videos, and --output names a folder of frames; name a video such as door.mkv")
    if is_given("keep", "keep_days") and not (args.segment or args.clips):
        parser.error("--keep and --keep-days delete finished recordings: add --segment or --clips")
    if args.name and len(args.name) != len(args.source):
        parser.error(f"--name: {len(args.name)} names for {len(args.source)} sources; give one for each")
    if args.name and len({*args.name}) < len(args.name):
        parser.error("--name: two sources have the same name; give each its own")
    if len(args.source) > 1 and args.output and is_file(args.output) and SOURCE_MARK not in str(args.output):
        parser.error(f"--output: {args.output} is one file for several sources; put {SOURCE_MARK} into its name")


def is_file(output: Path) -> bool:
    """Tell whether an output is a video file rather than a folder of frames."""
    return bool(output.suffix) and not output.is_dir()


def source_name(text: str) -> str:
    """An argument's name of a source, which may stand in file names."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of up to 60 letters, digits, -, _ and .")
    return text


def line_in_file(name: str, option: str = "--source-file") -> str:
    """The one line of a text file, which holds a source or a password; it may be a pipe, such as ``<(pass show x)``.

    Args:
        name: the file.
        option: what named it, for messages.

    Raises:
        MaskDetectionError: it cannot be read, or is no such file; its content isn't shown.
    """
    try:
        with Path(name).open(encoding="utf-8-sig") as stream:
            lines = stream.read(LONGEST_SOURCE).strip().splitlines()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null in the name
        reason = getattr(error, "strerror", None) or "it is no text"
        raise MaskDetectionError(f"{option} {name}: cannot be read ({reason}); check the path") from None
    if len(lines) != 1:
        raise MaskDetectionError(f"{option} {name}: holds {len(lines)} lines; write one into it")
    return lines[0]
