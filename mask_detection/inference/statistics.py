"""Counts by the hour, or any other interval: how many tracks began, and how many of them wore a mask.

A track is a face followed without a long break, not a person: who leaves and comes back is counted again.
"""

from __future__ import annotations

import csv
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.inference.classes import is_bare, is_masked, is_worn_wrong
from mask_detection.inference.sinks import Sink
from mask_detection.io.clock import interval_around
from mask_detection.io.growing import GrowingText, growing_table
from mask_detection.utils.errors import MaskDetectionError, OutputError
from mask_detection.utils.files import read_whole
from mask_detection.utils.text import csv_cell

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.io.sources import Frame

COLUMNS = (
    *("source", "time", "time_s", "seconds", "tracks", "with_mask", "without_mask", "worn_wrong", "uncertain"),
    *("mean_in_view", "mask_fraction", "sample", "seconds_without_picture"),
)
MAX_VALUE = 1e15  # in a file that is read
SILENT_S = 10.0  # after the last frame of a live source, from which on there is no picture

Row = dict[str, Any]  # by COLUMNS
RowListener = Callable[[Row], None]


@dataclass
class _Interval:
    """What was counted in one interval.

    Attributes:
        start_s: its start in seconds of the source, or the source's own start if that came later.
        end_s: its end.
        start: the time of day of ``start_s``; None for a file.
        end: that of ``end_s``.
        labels: of each track that began in it, in how many frames it had which label; None for uncertain ones.
        seconds_seen: with a picture.
        seconds_missed: without one.
        face_seconds: faces in view, times seconds.
    """

    start_s: float
    end_s: float
    start: datetime | None = None
    end: datetime | None = None
    labels: defaultdict[int, Counter[str | None]] = field(default_factory=lambda: defaultdict(Counter))
    seconds_seen: float = 0.0
    seconds_missed: float = 0.0
    face_seconds: float = 0.0

    def to_row(self, source: str, zone: tzinfo | None) -> Row:
        """The counts as plain values, by ``COLUMNS``; None where something is undefined."""
        labels = [_label_of(counts) for counts in self.labels.values()]
        masked, bare, wrong = (
            sum(label is not None and is_class(label) for label in labels)
            for is_class in (is_masked, is_bare, is_worn_wrong)
        )
        sample = masked + bare + wrong
        moment = self.start and self.start.astimezone(zone).isoformat(timespec="seconds")
        in_view = round(self.face_seconds / self.seconds_seen, 3) if self.seconds_seen else None
        return {
            "source": source,
            "time": moment,
            "time_s": round(self.start_s, 3),
            "seconds": round(self.seconds_seen + self.seconds_missed, 3),
            "tracks": len(labels),
            "with_mask": masked,
            "without_mask": bare,
            "worn_wrong": wrong,
            "uncertain": labels.count(None),
            "mean_in_view": in_view,
            "mask_fraction": round(masked / sample, 4) if sample else None,
            "sample": sample,
            "seconds_without_picture": round(self.seconds_missed, 3),
        }


def _label_of(counts: Counter[str | None]) -> str | None:
    """The label that a track had in most of the frames in which it was certain; None where it never was."""
    certain = Counter({label: n for label, n in counts.items() if label is not None})
    return certain.most_common(1)[0][0] if certain else None


class Statistics(Sink):
    """Counts the tracks of one source, whose numbers have to grow; each belongs to the interval in which it began."""

    def __init__(
        self, source: str, interval_s: float, listeners: Sequence[RowListener], zone: tzinfo | None = None
    ) -> None:
        """Start counting.

        Args:
            source: its name, for the rows.
            interval_s: 1 second to 24 hours. Those of live sources follow the clock from midnight on, see
                :func:`mask_detection.io.clock.interval_around`; those of files count from their start.
            listeners: each is given a row as soon as its interval has ended, and the last one at the end.
            zone: whose clock live sources follow; None is the system's.
        """
        self._source = source
        self._interval_s = interval_s
        self._listeners = listeners
        self._zone = zone
        self._interval: _Interval | None = None
        self._now_s = 0.0
        self._gap_s = 0.0
        self._n_in_view = 0
        self._last_track = 0
        self._last_wall_s: float | None = None  # of a live source's latest frame

    def write(self, frame: Frame, detections: Detections) -> None:
        """Count the next frame."""
        wall = datetime.fromisoformat(frame.time) if frame.time else None
        if self._interval is None:
            self._now_s, self._interval = frame.time_s, self._first_interval(frame.time_s, wall)
        elif wall and self._interval.end:  # the system's clock may have been set
            self._interval.end_s = max(self._now_s, frame.time_s + (self._interval.end - wall).total_seconds())
        self._advance(frame.time_s - (frame.gap_s - self._gap_s), has_picture=True)
        self._advance(frame.time_s, has_picture=False)
        self._gap_s, self._n_in_view = frame.gap_s, len(detections)
        self._last_wall_s = wall.timestamp() if wall else None
        for track, label, uncertain in zip(detections.tracks, detections.labels, detections.uncertain, strict=True):
            if track is not None and (track > self._last_track or track in self._interval.labels):
                self._interval.labels[track][None if uncertain else label] += 1
        self._last_track = max((self._last_track, *filter(None, detections.tracks)))

    def close(self) -> None:
        """End the interval that goes on; a live source that gave nothing at last had no picture until now."""
        if self._interval is None:
            return
        silent_s = time.time() - self._last_wall_s if self._last_wall_s else 0.0
        if silent_s > SILENT_S:
            self._advance(self._now_s + silent_s, has_picture=False)
        self._end_interval()

    def _first_interval(self, time_s: float, wall: datetime | None) -> _Interval:
        if wall is None:
            return _Interval(time_s, (time_s // self._interval_s + 1) * self._interval_s)
        _, end = interval_around(wall, self._interval_s, self._zone)
        return _Interval(time_s, time_s + (end - wall).total_seconds(), wall, end)

    def _advance(self, to_s: float, has_picture: bool) -> None:
        """Count the time until then, and end the intervals that end before."""
        while self._interval and self._interval.end_s <= to_s:
            ended = self._interval
            self._add(ended.end_s - self._now_s, has_picture)
            self._end_interval()
            self._interval = self._following(ended)
        self._add(to_s - self._now_s, has_picture)

    def _add(self, seconds: float, has_picture: bool) -> None:
        if seconds <= 0 or self._interval is None:
            return
        self._now_s += seconds
        if has_picture:
            self._interval.seconds_seen += seconds
            self._interval.face_seconds += seconds * self._n_in_view
        else:
            self._interval.seconds_missed += seconds

    def _following(self, ended: _Interval) -> _Interval:
        if ended.end is None:
            return _Interval(ended.end_s, ended.end_s + self._interval_s)
        start, end = interval_around(ended.end, self._interval_s, self._zone)
        return _Interval(ended.end_s, ended.end_s + (end - start).total_seconds(), start, end)

    def _end_interval(self) -> None:
        if self._interval is None:
            return
        row = self._interval.to_row(self._source, self._zone)
        self._interval = None
        for listener in self._listeners:
            listener(row)


class StatisticsFile:
    """Rows as CSV, each flushed at once."""

    def __init__(self, stream: GrowingText) -> None:
        self._stream = stream
        self._writer = csv.DictWriter(stream, COLUMNS)

    def write(self, row: Row) -> None:
        """Append a row."""
        if self._stream.is_empty:
            self._writer.writeheader()
        self._writer.writerow({name: csv_cell(value) for name, value in row.items()})
        self._stream.flush()


@contextmanager
def open_statistics(path: Path) -> Iterator[StatisticsFile]:
    """Open a file of statistics under its own name; the rows of earlier runs stay, so that a service may restart.

    Raises:
        OutputError: it is no .csv, holds something else, another run is writing it, or the place cannot be written.
    """
    if path.suffix.lower() != ".csv":
        raise OutputError(f"{path}: is not a name for statistics; end it in .csv")
    with growing_table(path, ",".join(COLUMNS)) as stream:
        yield StatisticsFile(stream)


def read_statistics(path: Path) -> list[Row]:
    """The rows of a file of statistics: ``source`` text, ``time`` a datetime, all else numbers; None for empty cells.

    Raises:
        MaskDetectionError: it cannot be read, or is no such file.
    """
    text = read_whole(path, "statistics").decode("utf-8", errors="replace")
    reader = csv.DictReader(text.splitlines())
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise MaskDetectionError(f"{path}: has no column {missing[0]}; give a file that --statistics wrote")
    rows = []
    for number, cells in enumerate(reader, 2):
        try:
            rows.append({name: _value(name, cells[name]) for name in COLUMNS})
        except (TypeError, ValueError):
            raise MaskDetectionError(f"{path}: line {number} is no row of statistics; remove it") from None
    return rows


def _value(name: str, cell: str | None) -> str | float | datetime | None:
    if cell is None:  # the line is too short
        raise ValueError(name)
    if name == "source":
        return cell
    if not cell:
        return None
    if name == "time":
        return datetime.fromisoformat(cell)
    value = float(cell)
    if not 0 <= value < MAX_VALUE:
        raise ValueError(name)
    return value
