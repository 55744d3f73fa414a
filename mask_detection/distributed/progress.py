"""A long run as its user sees it: how much is done, how fast, and that nothing hangs unseen."""

from __future__ import annotations

import _thread
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from tqdm import tqdm

from mask_detection.distributed.cluster import reason_of
from mask_detection.distributed.tracker import Counts
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.interrupts import SIGNALS

POLL_S = 1.0
LOG_S = 60.0  # between two lines where there is no terminal
STALLED_S = 120.0  # without a photo, after which the user hears of it
GIVEN_UP_S = 30 * 60.0

logger = logging.getLogger(__name__)


@contextmanager
def watched(
    counts: Callable[[], Counts | None], n_photos: int, n_before: int = 0, title: str | None = None
) -> Iterator[None]:
    """Show the progress of the job in this block, from a thread; signals interrupt the job itself.

    Args:
        counts: gives what has been done so far; None where that is not known.
        n_photos: of the whole job.
        n_before: how many of them an earlier run has done.
        title: of the progress bar.

    Raises:
        MaskDetectionError: the job failed, or did nothing for ``GIVEN_UP_S``.
    """
    ended = threading.Event()
    with tqdm(desc=title, total=n_photos, initial=n_before, unit="photo", disable=None) as bar:
        display = _Display(bar, n_photos, n_before)
        thread = threading.Thread(target=display.follow, args=(counts, ended), daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if display.gave_up:
                raise MaskDetectionError(f"{display.gave_up}; add --resume to go on") from None
            raise
        except Exception as error:  # Ray wraps what went wrong in many kinds
            raise MaskDetectionError(
                f"the run was stopped ({reason_of(error)}); what it finished is kept, add --resume to go on"
            ) from None
        finally:
            ended.set()
            thread.join()


def counts_of(tracker: Any) -> Counts | None:
    """What a :class:`mask_detection.distributed.tracker.Tracker` counted; None where that actor gives no answer."""
    try:
        return ray.get(tracker.counts.remote(), timeout=10)
    except ray.exceptions.RayError:  # at the start, or on a machine that is too busy
        return None


class _Display:
    """What the user sees.

    Attributes:
        gave_up: why the job was ended; empty while it goes on.
    """

    def __init__(self, bar: tqdm, n_photos: int, n_before: int) -> None:
        self._bar, self._n_photos, self._n_before = bar, n_photos, n_before
        self._began = self._logged = self._moved = self._warned = time.monotonic()
        self._seen = self._done = Counts(0, 0)
        self.gave_up = ""

    def follow(self, counts: Callable[[], Counts | None], ended: threading.Event) -> None:
        """Show counts until the job has ended, and end it where nothing moves."""
        while not ended.wait(POLL_S) and not self.gave_up:
            self.show(counts())
            if self.gave_up:
                _interrupt_main_thread()

    def show(self, counts: Counts | None) -> None:
        now = time.monotonic()
        if counts and counts != self._seen:
            before = self._seen if counts.n_photos >= self._seen.n_photos else Counts(0, 0)  # it was started anew
            gained = Counts(counts.n_photos - before.n_photos, counts.n_failed - before.n_failed)
            self._done = Counts(self._done.n_photos + gained.n_photos, self._done.n_failed + gained.n_failed)
            self._bar.update(gained.n_photos)
            self._bar.set_postfix(failed=self._done.n_failed, refresh=False)
            self._seen, self._moved = counts, now
        if self._bar.disable and now - self._logged >= LOG_S:
            self._logged = now
            n_photos, n_failed = self._done
            done, of = f"{self._n_before + n_photos:,}", f"{self._n_photos:,} photos"
            logger.info("%s of %s, %.1f a second, %d failed", done, of, n_photos / (now - self._began), n_failed)
        self._warn_of_stall(now)

    def _warn_of_stall(self, now: float) -> None:
        idle = now - self._moved
        if idle >= GIVEN_UP_S:
            self.gave_up = f"no photo was done for {idle / 60:.0f} minutes; {_free()}"
        elif idle >= STALLED_S and now - self._warned >= STALLED_S:
            self._warned = now
            logger.warning("no photo was done for %.0f minutes; %s; see `ray status`", idle / 60, _free())


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):  # which also wakes it where it waits
        heard = (number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
        signal.pthread_kill(threading.main_thread().ident or 0, next(heard, signal.SIGINT))
    else:
        _thread.interrupt_main()


def _free() -> str:
    free, there = (resources().get("CPU", 0.0) for resources in (ray.available_resources, ray.cluster_resources))
    return f"{free:g} of {there:g} CPUs are free"
