"""When the frames of a video file are, and the intervals of a day."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

SAME_S = 0.001  # containers such as Matroska round to milliseconds
LONGEST_GAP_S = 600.0  # between two frames; more is a fault of the file
SET_BACK_S = 1.0  # less is frames out of order


class FileClock:
    """Turns a file's timestamps into seconds from its first frame that never go back.

    Where they say what number and rate say, that is exact and they are rounded. Where there are none, or they leap, the
    frame comes one interval after the one before.

    Attributes:
        last_s: when the latest frame was.
        longest_gap_s: between two frames so far.
        is_regular: whether all frames so far came when number and rate say.
    """

    def __init__(self, frame_rate: float) -> None:
        self.last_s = 0.0
        self.longest_gap_s = 0.0
        self.is_regular = True
        self._frame_rate = frame_rate
        self._start_s = 0.0  # the timestamp of time 0
        self._stamp_s = 0.0  # the latest
        self._ahead_s = 0.0  # of what number and rate say

    def time_of(self, index: int, stamp_s: float) -> float:
        """Seconds from the start.

        Args:
            index: the frame's number; each in its turn, from 0 on.
            stamp_s: the file's timestamp in seconds; 0, as OpenCV has it, is none except at the start.
        """
        regular_s = index / self._frame_rate
        step_s = stamp_s - self._stamp_s
        if index == 0:
            self._start_s = stamp_s
        elif 0 < step_s <= LONGEST_GAP_S:
            ahead_s = stamp_s - self._start_s - regular_s
            self._ahead_s = ahead_s if abs(ahead_s) > SAME_S else 0.0
        elif stamp_s and not -SET_BACK_S < step_s <= 0:
            self._start_s = stamp_s - regular_s - self._ahead_s
        if stamp_s or index == 0:
            self._stamp_s = stamp_s
        self.is_regular = self.is_regular and not self._ahead_s
        time_s = max(self.last_s, regular_s + self._ahead_s)
        self.longest_gap_s = max(self.longest_gap_s, time_s - self.last_s)
        self.last_s = time_s
        return time_s


def interval_around(moment: datetime, length_s: float, zone: tzinfo | None = None) -> tuple[datetime, datetime]:
    """The interval of the day that a moment lies in: they follow one another from local midnight on.

    The last one of a day may be shorter. Where the clocks change, an interval that holds the change is an hour longer
    or shorter; those within the hour that comes twice come twice, too.

    Args:
        moment: any moment, with its offset.
        length_s: 1 second to 24 hours.
        zone: the time zone; None is the system's.

    Returns:
        Start, and end (which is the next one's start), in UTC.
    """
    length = timedelta(seconds=length_s)
    start, bounds = _start_and_bounds(moment, length, zone)
    bounds.append(start + length)  # where the clocks are put back, it begins as no local time says
    return start, min(end for end in bounds if end > moment and _start_and_bounds(end, length, zone)[0] == end)


def _start_and_bounds(moment: datetime, length: timedelta, zone: tzinfo | None) -> tuple[datetime, list[datetime]]:
    """Where the interval around a moment starts, and all that its local start and end stand for, in UTC."""
    local = moment.astimezone(zone).replace(tzinfo=None)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    start = midnight + (local - midnight) // length * length
    following = min(start + length, midnight + timedelta(days=1))
    bounds = [_instant(bound, fold, zone) for bound in (start, following) for fold in (0, 1)]
    return max(bound for bound in bounds if bound <= moment), bounds


def _instant(local: datetime, fold: int, zone: tzinfo | None) -> datetime:
    """What a local time without its offset stands for, at its first or second coming, in UTC."""
    return local.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)
