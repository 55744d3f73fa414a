"""How many tracks of each class began in each interval of the last hours."""

from __future__ import annotations

from collections import Counter, deque

INTERVAL_S = 300.0
N_INTERVALS = 72  # six hours


class History:
    """Counts the tracks of one source, each once: in the interval in which it began, with its latest label."""

    def __init__(self) -> None:
        self._intervals: deque[tuple[float, Counter[str]]] = deque(maxlen=N_INTERVALS)
        self._in_view: dict[int, tuple[Counter[str], str]] = {}  # the interval of each track that is in view, its label

    def see(self, track: int, label: str, now: float) -> None:
        """Take in the label of a track.

        Args:
            track: its number.
            label: its class, or any other word for what it is.
            now: seconds since 1970.
        """
        counts, old_label = self._in_view.get(track) or (self._counts_at(now), label)
        if track not in self._in_view or old_label != label:
            counts[old_label] -= track in self._in_view
            counts[label] += 1
            self._in_view[track] = (counts, label)

    def end(self, track: int) -> None:
        """Forget a track that is over; it stays counted."""
        self._in_view.pop(track, None)

    def intervals(self, now: float) -> list[tuple[float, Counter[str]]]:
        """All intervals until now, without gaps: when each began, in seconds since 1970, and its tracks by label."""
        known = {start: +counts for start, counts in self._intervals}
        last = _start_of(now)
        starts = [last - i * INTERVAL_S for i in reversed(range(N_INTERVALS))]
        return [(start, known.get(start, Counter())) for start in starts]

    def _counts_at(self, now: float) -> Counter[str]:
        start = _start_of(now)
        if not self._intervals or self._intervals[-1][0] != start:
            self._intervals.append((start, Counter()))
        return self._intervals[-1][1]


def _start_of(now: float) -> float:
    return now // INTERVAL_S * INTERVAL_S
