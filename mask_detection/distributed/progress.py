"""A long run as its user sees it: how much is done, how fast, and that nothing hangs unseen."""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from tqdm import tqdm

from mask_detection.distributed.cluster import last_line
from mask_detection.distributed.tracker import Counts
from mask_detection.utils.errors import MaskDetectionError

POLL_S = 1.0
LOG_S = 60.0  # between two lines where there is no terminal
STALLED_S = 120.0  # without a photo, after which the user hears of it
GIVEN_UP_S = 30 * 60.0

logger = logging.getLogger(__name__)


@contextmanager
def watched(tracker: Any, n_photos: int, n_before: int) -> Iterator[None]:
    """Show the progress of the job in this block, from a thread; signals interrupt the job itself.

    Args:
        tracker: handle of the actor :class:`mask_detection.distributed.tracker.Tracker`.
        n_photos: of the whole job.
        n_before: how many of them an earlier run has done.

    Raises:
        MaskDetectionError: the job failed, or did nothing for ``GIVEN_UP_S``.
    """
    ended = threading.Event()
    with tqdm(total=n_photos, initial=n_before, unit="photo", disable=None) as bar:
        display = _Display(bar, n_photos, n_before)
        thread = threading.Thread(target=display.follow, args=(tracker, ended), daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if display.gave_up:
                raise MaskDetectionError(f"{display.gave_up}; add --resume to go on") from None
            raise
        except Exception as error:  # Ray wraps what went wrong in many kinds
            raise MaskDetectionError(
                f"the run was stopped ({last_line(error)}); what it finished is kept, add --resume to go on"
            ) from None
        finally:
            ended.set()
            thread.join()


def _counts(tracker: Any) -> Counts | None:
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
        self._seen = Counts(0, 0)
        self.gave_up = ""

    def follow(self, tracker: Any, ended: threading.Event) -> None:
        """Show counts until the job has ended, and end it where nothing moves."""
        while not ended.wait(POLL_S) and not self.gave_up:
            self.show(_counts(tracker))
            if self.gave_up:
                _thread.interrupt_main()

    def show(self, counts: Counts | None) -> None:
        now = time.monotonic()
        if counts and counts != self._seen:
            self._bar.update(counts.n_photos - self._seen.n_photos)
            self._bar.set_postfix(failed=counts.n_failed, refresh=False)
            self._seen, self._moved = counts, now
        if self._bar.disable and now - self._logged >= LOG_S:
            self._logged = now
            done, per_second = self._n_before + self._seen.n_photos, self._seen.n_photos / (now - self._began)
            logger.info(
                "%s of %s photos, %.1f a second, %s failed",
                f"{done:,}",
                f"{self._n_photos:,}",
                per_second,
                f"{self._seen.n_failed:,}",
            )
        self._warn_of_stall(now)

    def _warn_of_stall(self, now: float) -> None:
        idle = now - self._moved
        if idle >= GIVEN_UP_S:
            self.gave_up = f"no photo was done for {idle / 60:.0f} minutes; {_free()}"
        elif idle >= STALLED_S and now - self._warned >= STALLED_S:
            self._warned = now
            logger.warning("no photo was done for %.0f minutes; %s; see `ray status`", idle / 60, _free())


def _free() -> str:
    free, there = (resources().get("CPU", 0.0) for resources in (ray.available_resources, ray.cluster_resources))
    return f"{free:g} of {there:g} CPUs are free"
