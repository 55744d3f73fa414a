"""Measure what following faces does to the labels in videos: how often they change, and how late.

python benchmarks/tracking.py --source party.mp4 street.mp4 --detector yunet --every 1 5
python benchmarks/tracking.py --source party.mp4 --shrink 6 --detect-size 640

For each video and pace it prints how many tracks there are, how often the label changes from one sighting of a track to
the next, as the classifier says and smoothed, how many changes last, and after how many sightings more these show.
A change lasts if in the half seconds before and after it the predictions are, on average, certain of one class.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_FOLDER))

from mask_detection.commands import cli, options  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.inference.detections import Detections
    from mask_detection.inference.detector import MaskDetector
    from mask_detection.io.sources import Frame, VideoSource

HALF_WINDOW = 0.5  # seconds


class Sighting(NamedTuple):
    """The probabilities of the classes, (n_classes,), as they came and smoothed."""

    raw: np.ndarray
    smoothed: np.ndarray


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.add_argument("-s", "--source", nargs="+", required=True, metavar="FILE", help="videos")
    parser.add_argument(
        "--every",
        type=options.positive_int,
        nargs="+",
        default=[1],
        metavar="N",
        help="look at each Nth frame (default: 1)",
    )
    parser.add_argument(
        "--shrink", type=options.positive_int, default=1, metavar="N", help="make the frames N times smaller first"
    )
    options.add_detector_options(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the top of the file."""
    args = parse_arguments(argv)
    from mask_detection.io.sources import open_source

    detector = options.mask_detector(args)
    print(f"{'video':<28}{'every':>6}{'tracks':>8}{'raw':>6}{'smoothed':>10}{'lasting':>9}{'delay':>7}{'longest':>9}")
    for name in args.source:
        with open_source(name) as source:
            title = Path(source.name).name  # without secrets
            half_window = HALF_WINDOW * source.frame_rate
            seen = list(detect(source, detector, args.shrink))
        for every in args.every:
            tracks = follow(seen[::every])
            raw, smoothed = (sum(len(changes(track, column)) for track in tracks) for column in ("raw", "smoothed"))
            late = [delay for track in tracks for delay in delays(track, max(1, round(half_window / every)))]
            mean, longest = (f"{sum(late) / len(late):.1f}", f"{max(late)}") if late else ("-", "-")
            print(
                f"{title:<28}{every:>6}{len(tracks):>8}{raw:>6}{smoothed:>10}{len(late):>9}{mean:>7}{longest:>9}",
                flush=True,
            )
    return cli.EXIT_DONE


def detect(source: VideoSource, detector: MaskDetector, shrink: int) -> Iterator[tuple[Frame, Detections]]:
    """Yield each frame and what is seen in it when it is that many times smaller."""
    import cv2

    for frame in source:
        image = cv2.resize(frame.image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        yield frame, detector(image)


def follow(seen: Iterable[tuple[Frame, Detections]]) -> list[list[Sighting]]:
    """The sightings of each track."""
    from mask_detection.inference.tracking import Tracker

    tracker = Tracker()
    tracks: dict[int | None, list[Sighting]] = defaultdict(list)
    for frame, detections in seen:
        followed = tracker.update(detections, frame.time_s)
        for track_id, raw, smoothed in zip(
            followed.tracks, detections.probabilities, followed.probabilities, strict=True
        ):
            tracks[track_id].append(Sighting(raw, smoothed))
    return list(tracks.values())


def changes(track: list[Sighting], column: str) -> list[int]:
    """The places in a track at which the label is another one than before."""
    labels = [getattr(sighting, column).argmax() for sighting in track]
    return [i for i in range(1, len(labels)) if labels[i] != labels[i - 1]]


def delays(track: list[Sighting], half_window: int) -> Iterator[int]:
    """How many sightings after each lasting change the smoothed label has changed too."""
    import numpy as np

    from mask_detection.inference.detections import CERTAIN_FROM

    for i in changes(track, "raw"):
        before, after = (
            np.mean([sighting.raw for sighting in part], axis=0)
            for part in (track[max(0, i - half_window) : i], track[i : i + half_window])
        )
        label = after.argmax()
        if label == before.argmax() or min(before.max(), after.max()) < CERTAIN_FROM:
            continue
        shown = (delay for delay, sighting in enumerate(track[i:]) if sighting.smoothed.argmax() == label)
        yield next(shown, len(track) - i)


if __name__ == "__main__":
    sys.exit(main())
