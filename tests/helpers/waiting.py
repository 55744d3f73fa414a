"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 15.0


def eventually(is_so: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Wait until something is so; tell whether it came in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
