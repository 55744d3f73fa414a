"""Measure what following faces does to the labels in videos: how often they change, and how late.

python benchmarks/tracking.py --source party.mp4 street.mp4 --detector yunet --every 1 5
python benchmarks/tracking.py --source party.mp4 --shrink 6 --detect-size 640

For each video and pace it prints how many tracks there are, how often the label changes from one sighting of a track to
the next, as the classifier says in each frame and averaged, how many changes last, and after how many sightings more
these show; and which fraction of the sightings is classified for the average.
A change lasts if in the half seconds before and after it the predictions are, on average, certain of one class.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_FOLDER))

from mask_detection.commands import cli, options  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.inference.detections import Detections
    from mask_detection.inference.detector import MaskDetector
    from mask_detection.io.sources import VideoSource

HALF_WINDOW = 0.5  # seconds


class Sighting(NamedTuple):
    """The probabilities of the classes, (n_classes,), of the frame and averaged."""

    raw: np.ndarray
    averaged: np.ndarray


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

    detector = options.mask_detector(args).for_video()
    print(
        f"{'video':<28}{'every':>6}{'tracks':>8}{'classified':>12}"
        f"{'raw':>6}{'averaged':>10}{'lasting':>9}{'delay':>7}{'longest':>9}"
    )
    for name in args.source:
        with open_source(name) as source:
            title = Path(source.address).name  # without secrets
            half_window = HALF_WINDOW * source.frame_rate
            followed = follow(source, detector, args.every, args.shrink)
        for every, (tracks, fraction) in followed.items():
            raw, averaged = (sum(len(changes(track, column)) for track in tracks) for column in ("raw", "averaged"))
            late = [delay for track in tracks for delay in delays(track, max(1, round(half_window / every)))]
            mean, longest = (f"{sum(late) / len(late):.1f}", f"{max(late)}") if late else ("-", "-")
            print(
                f"{title:<28}{every:>6}{len(tracks):>8}{fraction:>12.0%}"
                f"{raw:>6}{averaged:>10}{len(late):>9}{mean:>7}{longest:>9}",
                flush=True,
            )
    return cli.EXIT_DONE


def follow(
    source: VideoSource, detector: MaskDetector, paces: Sequence[int], shrink: int
) -> dict[int, tuple[list[list[Sighting]], float]]:
    """Track the faces at each pace in frames that are so many times smaller.

    Returns:
        For each pace, the sightings of each track, and the fraction of them that were classified for it.
    """
    import cv2

    from mask_detection.inference.tracking import Tracker

    trackers = {every: Tracker() for every in paces}
    tracks: dict[int, dict[int | None, list[Sighting]]] = {every: defaultdict(list) for every in paces}
    classified: Counter[int] = Counter()
    for number, frame in enumerate(source):
        image = cv2.resize(frame.image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        found = detector.find(image)
        raw = detector.classify_found(image, found)
        for every in (every for every in paces if number % every == 0):

            def classify(faces: Detections, image: np.ndarray = image, every: int = every) -> Detections:
                classified[every] += len(faces)
                return detector.classify_found(image, faces)

            averaged = trackers[every].update(found, frame.time_s, classify)
            for track_id, *sighting in zip(averaged.tracks, raw.probabilities, averaged.probabilities, strict=True):
                tracks[every][track_id].append(Sighting(*sighting))
    n_sightings = {every: sum(map(len, tracks[every].values())) for every in paces}
    return {every: (list(tracks[every].values()), classified[every] / max(n_sightings[every], 1)) for every in paces}


def changes(track: list[Sighting], column: str) -> list[int]:
    """The places in a track at which the label is another one than before."""
    labels = [getattr(sighting, column).argmax() for sighting in track]
    return [i for i in range(1, len(labels)) if labels[i] != labels[i - 1]]


def delays(track: list[Sighting], half_window: int) -> Iterator[int]:
    """How many sightings after each lasting change the averaged label has changed too."""
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
        shown = (delay for delay, sighting in enumerate(track[i:]) if sighting.averaged.argmax() == label)
        yield next(shown, len(track) - i)


if __name__ == "__main__":
    sys.exit(main())
