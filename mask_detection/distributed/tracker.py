"""Counts what the workers of a run have done, and which photo each is at where one may have ended its worker."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

MAX_DEATHS = 2  # of workers at the same photo, which then gets an error for a row


class Counts(NamedTuple):
    """What has been done so far."""

    n_photos: int
    n_failed: int


class Begun(NamedTuple):
    """What a worker has to know of the block that it begins.

    Attributes:
        is_again: another worker began it and perhaps died of one of its photos.
        fatal: photos at which workers died again and again.
    """

    is_again: bool
    fatal: frozenset[str]


class Tracker:
    """One for all workers of a run; it runs beside the driver, as an actor without a CPU of its own.

    A damaged photo may crash a library, and a huge one may have its worker killed for its memory. Ray then gives the
    block to another worker, for ever. So a block that is begun again is gone through with each photo announced, and a
    photo at which workers died twice is left out.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, Counts] = {}
        self._sums = Counts(0, 0)
        self._at: dict[str, str] = {}
        self._deaths: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def begin(self, block: str) -> Begun:
        """Take note that a worker begins a block, which goes by the name of its first photo."""
        is_again = block in self._blocks
        self._set(block, Counts(0, 0))
        if photo := self._at.pop(block, None):
            self._deaths[block][photo] += 1
        fatal = frozenset(photo for photo, n in self._deaths[block].items() if n >= MAX_DEATHS) if is_again else ()
        return Begun(is_again, frozenset(fatal))

    def announce(self, block: str, photo: str) -> None:
        """Take note that a worker begins a photo."""
        self._at[block] = photo

    def report(self, block: str, n_photos: int, n_failed: int, is_done: bool) -> None:
        """Take note of how far a worker is with a block."""
        self._set(block, Counts(n_photos, n_failed))
        if is_done:
            self._at.pop(block, None)
            self._deaths.pop(block, None)

    def counts(self) -> Counts:
        """What has been done so far; a block that is done again counts once."""
        return self._sums

    def _set(self, block: str, counts: Counts) -> None:
        before = self._blocks.get(block, Counts(0, 0))
        self._blocks[block] = counts
        self._sums = Counts(
            self._sums.n_photos + counts.n_photos - before.n_photos,
            self._sums.n_failed + counts.n_failed - before.n_failed,
        )
