"""A long run as its user sees it: how much is done, how fast, and that nothing hangs unseen."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
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


def watch(work: Callable[[], None], tracker: Any, n_photos: int, n_before: int) -> None:
    """Run a job in a thread and show its progress in this one, which signals can interrupt.

    Args:
        work: the job; it raises what went wrong.
        tracker: handle of the actor :class:`mask_detection.distributed.tracker.Tracker`.
        n_photos: of the whole job.
        n_before: how many of them an earlier run has done.

    Raises:
        MaskDetectionError: the job failed, or did nothing for ``GIVEN_UP_S``.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised below, in the thread that waits
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with tqdm(total=n_photos, initial=n_before, unit="photo", disable=None) as bar:
        display = _Display(bar, n_photos, n_before)
        while thread.is_alive():
            thread.join(POLL_S)
            display.show(_counts(tracker))
    if failures:
        raise MaskDetectionError(
            f"the run was stopped ({last_line(failures[0])}); what it finished is kept, add --resume to go on"
        )


def _counts(tracker: Any) -> Counts | None:
    try:
        return ray.get(tracker.counts.remote(), timeout=10)
    except ray.exceptions.RayError:  # at the start, or on a machine that is too busy
        return None


class _Display:
    def __init__(self, bar: tqdm, n_photos: int, n_before: int) -> None:
        self._bar, self._n_photos, self._n_before = bar, n_photos, n_before
        self._began = self._logged = self._moved = self._warned = time.monotonic()
        self._seen = Counts(0, 0)

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
            raise MaskDetectionError(f"no photo was done for {idle / 60:.0f} minutes; {_free()}; add --resume to go on")
        if idle >= STALLED_S and now - self._warned >= STALLED_S:
            self._warned = now
            logger.warning("no photo was done for %.0f minutes; %s; see `ray status`", idle / 60, _free())


def _free() -> str:
    free, there = (resources().get("CPU", 0.0) for resources in (ray.available_resources, ray.cluster_resources))
    return f"{free:g} of {there:g} CPUs are free"
