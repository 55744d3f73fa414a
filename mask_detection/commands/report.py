"""Draw the counts that detect_mask_video.py --statistics wrote, by hour and day.

python -m mask_detection report door.csv --output report.html
python -m mask_detection report front.csv back.csv --output report.png

A track is a face followed without a long break, not a person. Exit status: 0 done, 2 a file cannot be used.
"""

from __future__ import annotations

import argparse
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands import cli, options, outputs
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mask_detection.inference.statistics import Row

SUFFIXES = (".html", ".png")
CLASSES = ("with_mask", "without_mask", "worn_wrong")
UNCERTAIN = "uncertain"
COUNTED = (*CLASSES, UNCERTAIN)  # columns of tracks
MAX_SOURCES = 50  # in one report
MAX_BARS = 400
Z = 1.96  # standard deviations of a 95 % interval
NOTE = "A track is a face followed without a long break, not a person: who leaves and comes back is counted again."

Sums = dict[str, float]  # by column


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.csv", help="what --statistics wrote")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="one page (.html), or an image (.png) (default: %(default)s)",
    )
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the top of the file."""
    args = parse_arguments(argv)
    from mask_detection.inference.statistics import read_statistics
    from mask_detection.utils.files import atomic_write

    if args.output.suffix.lower() not in SUFFIXES:
        raise MaskDetectionError(f"{args.output}: is no name for a report; end it in {' or '.join(SUFFIXES)}")
    outputs.check(args.files, [args.output])
    by_source: defaultdict[str, list[Row]] = defaultdict(list)
    for path in args.files:
        for row in read_statistics(path):
            by_source[row["source"]].append(row)
    if not by_source:
        raise MaskDetectionError(f"{args.files[0]}: holds no row yet; wait until the first interval has ended")
    if len(by_source) > MAX_SOURCES:
        raise MaskDetectionError(f"{args.files[0]}: holds more than {MAX_SOURCES} sources; give fewer")
    image = draw_report(by_source)
    with atomic_write(args.output) as part:
        part.write_bytes(image if args.output.suffix.lower() == ".png" else page(by_source, image).encode())
    for source, rows in by_source.items():
        print(one_line(f"{source}: {describe(summed(rows))}"))
    return cli.EXIT_DONE


def draw_report(by_source: Mapping[str, Sequence[Row]]) -> bytes:
    """A row of charts a source, as PNG: counts by day, counts by hour, fraction with a mask by hour."""
    from matplotlib.figure import Figure

    figure: Figure = Figure(figsize=(15, 3.6 * len(by_source)), layout="constrained")
    all_axes = figure.subplots(len(by_source), 3, squeeze=False)
    for (source, rows), axes in zip(by_source.items(), all_axes, strict=True):
        with_times = [row for row in rows if row["time"]]
        days = grouped(with_times, lambda row: row["time"].date())
        hours = grouped(with_times, lambda row: row["time"].hour)
        if not with_times:  # a file, whose time is counted from its start
            days = grouped(rows, lambda row: round(row["time_s"] / 60, 2))
        _draw_counts(axes[0], days, "tracks by day" if with_times else "tracks by minute of the file")
        _draw_counts(axes[1], hours, "tracks by hour of the day")
        _draw_fractions(axes[2], hours, "fraction with a mask, by hour of the day")
        axes[0].set_ylabel(source.replace("$", r"\$"))
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def grouped(rows: Iterable[Row], key_of: Callable[[Row], Hashable]) -> dict[Hashable, Sums]:
    """The sums of the rows that have the same key, sorted by it."""
    groups: defaultdict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key_of(row)].append(row)
    return {key: summed(groups[key]) for key in sorted(groups, key=lambda key: (str(type(key)), key))}


def summed(rows: Iterable[Row]) -> Sums:
    """Tracks by class, the sample, and seconds, of some rows together."""
    sums: Sums = defaultdict(float)
    for row in rows:
        for name in ("tracks", "sample", "seconds", "seconds_without_picture", *COUNTED):
            sums[name] += row[name] or 0
    return sums


def wilson(successes: float, sample: float) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson 1927), which holds for small samples, too."""
    fraction = successes / sample
    middle = (fraction + Z**2 / (2 * sample)) / (1 + Z**2 / sample)
    half = Z / (1 + Z**2 / sample) * (fraction * (1 - fraction) / sample + Z**2 / (4 * sample**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _draw_counts(axes: Axes, groups: Mapping[Hashable, Sums], title: str) -> None:
    axes.set_title(title, fontsize="medium")
    shown = dict([*groups.items()][-MAX_BARS:])
    places, bottoms = range(len(shown)), [0.0] * len(shown)
    for column, color in _colors().items():
        heights = [sums[column] for sums in shown.values()]
        axes.bar(places, heights, bottom=bottoms, color=color, label=_title(column))
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    _label(axes, shown)
    if shown:
        axes.legend(fontsize="x-small")


def _draw_fractions(axes: Axes, groups: Mapping[Hashable, Sums], title: str) -> None:
    axes.set_title(title, fontsize="medium")
    axes.set_ylim(0, 1)
    known = {key: sums for key, sums in groups.items() if sums["sample"]}
    for place, sums in enumerate(known.values()):
        low, high = wilson(sums["with_mask"], sums["sample"])
        axes.vlines(place, low, high, color="#888888")
        axes.plot(place, sums["with_mask"] / sums["sample"], "o", color=_colors()["with_mask"])
        axes.annotate(f"{sums['sample']:.0f}", (place, high), ha="center", va="bottom", fontsize="x-small")
    _label(axes, known)


def _colors() -> dict[str, str]:
    """Those in which frames are drawn, by column."""
    from mask_detection.inference.drawing import GREY, class_colors, hex_color

    return {column: hex_color(color) for column, color in {**class_colors(CLASSES), UNCERTAIN: GREY}.items()}


def _title(column: str) -> str:
    return column.replace("_", " ")


def _label(axes: Axes, groups: Mapping[Hashable, Sums]) -> None:
    step = max(1, len(groups) // 12)
    axes.set_xticks([*range(len(groups))][::step], [str(key) for key in groups][::step], rotation=45, fontsize="small")
    if not groups:
        axes.text(0.5, 0.5, "no times of day", ha="center", transform=axes.transAxes)


def describe(sums: Sums) -> str:
    """Such as ``12 tracks: 8 with mask, 3 without mask, 1 uncertain; 73 % with a mask (of 11)``."""
    counts = ", ".join(f"{sums[column]:.0f} {_title(column)}" for column in COUNTED if sums[column])
    line = f"{sums['tracks']:.0f} tracks" + (f": {counts}" if counts else "")
    if not sums["sample"]:
        return line
    low, high = wilson(sums["with_mask"], sums["sample"])
    fraction = sums["with_mask"] / sums["sample"]
    return f"{line}; {fraction:.0%} with a mask (of {sums['sample']:.0f}; 95 % interval {low:.0%} to {high:.0%})"


def page(by_source: Mapping[str, Sequence[Row]], image: bytes) -> str:
    """One HTML page that needs nothing else."""
    lines = "".join(
        f"<li><b>{escape(source)}</b>: {escape(describe(summed(rows)))}; {_watched(summed(rows))}</li>\n"
        for source, rows in by_source.items()
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Face masks</title>\n'
        "<style>body{font-family:sans-serif;margin:2em auto;max-width:80em}img{width:100%}</style></head>\n"
        f"<body><h1>Face masks</h1>\n<ul>\n{lines}</ul>\n"
        f'<img alt="Charts by day and hour" src="data:image/png;base64,{b64encode(image).decode()}">\n'
        f"<p>{NOTE} Bars: 95 % intervals, with the size of the sample.</p>\n</body></html>\n"
    )


def _watched(sums: Sums) -> str:
    return f"{sums['seconds'] / 3600:.1f} h watched, {sums['seconds_without_picture'] / 3600:.1f} h without picture"
