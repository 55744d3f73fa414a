"""Ctrl-C, SIGTERM and SIGHUP: each ends a run once, and none ends it while its outputs are being finished."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from mask_detection.utils.errors import MaskDetectionError

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

logger = logging.getLogger(__name__)

Handler = Callable[[int, "FrameType | None"], object]


@contextmanager
def one_interrupt(for_good: bool = False) -> Iterator[None]:
    """Let SIGTERM (services, shutdowns) and SIGHUP (a closed terminal) do what Ctrl-C does: raise KeyboardInterrupt.

    The first one does; those after it find the outputs being finished, and are ignored. So are those that the program
    ignored before, as under ``nohup``.

    Args:
        for_good: ignore them also after the block, until the process, which is to end now, has ended.
    """
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        if len(came) == 1:
            raise KeyboardInterrupt

    with _handled(interrupt) as numbers:
        yield
    if for_good and came:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off the signals until the block has ended."""
    came: list[int] = []
    with _handled(lambda number, _: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])


@contextmanager
def finishing() -> Iterator[None]:
    """Finish an output undisturbed. Where its error would hide another that is on its way already, log it instead."""
    on_its_way = sys.exc_info()[1]
    with undisturbed():
        try:
            yield
        except MaskDetectionError as error:
            if not isinstance(on_its_way, (MaskDetectionError, OSError)):
                raise
            logger.error("error: %s", error)


@contextmanager
def _handled(handler: Handler) -> Iterator[Sequence[int]]:
    """Handle the signals that are not ignored, and yield their numbers; in other threads than the main one, none."""
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield numbers
    finally:
        for number, former in previous.items():
            signal.signal(number, former or signal.SIG_DFL)
