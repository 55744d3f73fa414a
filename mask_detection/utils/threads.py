"""Threads that work ahead of the loop that uses their results, and end with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from typing import Generic, TypeVar

import cv2

from mask_detection.utils.process_wide import process_wide

MAX_THREADS = 4  # more rarely find work: by then reading and writing, one frame after the other, take as long
MAX_WAITING = 2  # results that are finished before the loop asks for them

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(n_items: int | None = None) -> int:
    """How many threads keep this machine's cores busy with so many items, or with no end of them."""
    return min(os.cpu_count() or 1, MAX_THREADS, n_items or MAX_THREADS)


@contextmanager
def overlapped(
    make_function: Callable[[], Callable[[Item], Result]], items: Iterable[Item], n_threads: int
) -> Iterator[Iterator[Result]]:
    """Apply a function to items in threads, and give the results in the items' order.

    Each thread takes the next item when it is free: reading item 3 goes on beside computing with 1 and 2 and beside
    what the caller does with result 0. Whole items side by side keep all cores busier than the threads that OpenCV
    starts within one operation, which therefore rest meanwhile.

    Args:
        make_function: called once in each thread, one after the other: networks are not for two threads at once, and
            need less memory where they were loaded.
        items: taken by one thread at a time, in order, a few ahead of the results that were used.
        n_threads: how many threads.

    Yields:
        An iterator of the results. Where taking an item or the function failed, it raises that error in the item's
        place, after the results of those before. On leaving the context, what is under way is finished and dropped.

    Raises:
        Exception: whatever ``make_function`` raises.
    """
    pool = _WorkerPool(make_function, items, n_threads)
    with _opencv_in_one_thread() if n_threads > 1 else nullcontext():
        try:
            pool.start()
            yield pool.results()
        finally:
            pool.stop()


@process_wide
@contextmanager
def _opencv_in_one_thread() -> Iterator[None]:
    n_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(n_threads)


class _WorkerPool(Generic[Item, Result]):
    """The threads of :func:`overlapped`."""

    def __init__(
        self, make_function: Callable[[], Callable[[Item], Result]], items: Iterable[Item], n_threads: int
    ) -> None:
        self._make_function = make_function
        self._items = iter(items)
        self._function_lock = threading.Lock()
        self._function_made: SimpleQueue[BaseException | None] = SimpleQueue()
        self._item_lock = threading.Lock()  # to take an item and its place among the results
        self._free_slots = threading.Semaphore(n_threads + MAX_WAITING)
        self._results: SimpleQueue[Future[Result]] = SimpleQueue()
        self._ended = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(n_threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            if error := self._function_made.get():
                raise error

    def stop(self) -> None:
        self._ended = True
        self._free_slots.release(len(self._threads))
        for thread in self._threads:
            if thread.ident:  # it was started
                thread.join()

    def results(self) -> Iterator[Result]:
        while True:
            try:
                result = self._results.get().result()
            except StopIteration:
                return
            yield result
            self._free_slots.release()

    def _work(self) -> None:
        try:
            with self._function_lock:
                function = self._make_function()
        except BaseException as error:
            self._function_made.put(error)
            return
        self._function_made.put(None)
        while taken := self._take():
            item, result = taken
            try:
                result.set_result(function(item))
            except BaseException as error:  # Ctrl-C in a test, too: the caller is to meet it
                result.set_exception(error)

    def _take(self) -> tuple[Item, Future[Result]] | None:
        """The next item and where its result belongs; None when there are no more."""
        with self._item_lock:
            self._free_slots.acquire()
            if self._ended:
                return None
            result: Future[Result] = Future()
            self._results.put(result)
            try:
                return next(self._items), result
            except BaseException as error:  # StopIteration, too: it ends the results
                self._ended = True
                result.set_exception(error)
                return None
