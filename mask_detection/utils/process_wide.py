"""Changes of what all threads of a process share, such as where standard error leads, from several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager


def process_wide(change: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Make a context manager for several threads: the first to enter makes the change, the last to leave undoes it.

    Otherwise, of two that overlap, the one that leaves last would bring back what it found, which is the change.
    """
    lock = threading.Lock()
    made = ExitStack()
    n_inside = 0

    @contextmanager
    def shared() -> Iterator[None]:
        nonlocal n_inside
        with lock:
            if not n_inside:
                made.enter_context(change())
            n_inside += 1
        try:
            yield
        finally:
            with lock:
                n_inside -= 1
                if not n_inside:
                    made.close()

    return shared
