"""Threads that work ahead of the loop that uses their results, and end with it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

import cv2

MAX_THREADS = 4  # more seldom find work: reading and writing, one frame after the other, take as long by then
MAX_WAITING = 2  # results that are finished before the loop asks for them

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count() -> int:
    """How many threads keep this machine's cores busy."""
    return min(os.cpu_count() or 1, MAX_THREADS)


@contextmanager
def overlapped(functions: Sequence[Callable[[Item], Result]], items: Iterable[Item]) -> Iterator[Iterator[Result]]:
    """Apply functions to items in threads of their own, and give the results in the items' order.

    Each thread takes the next item when it is free: reading item 3 goes on beside computing with 1 and 2 and beside
    what the caller does with result 0. Whole items side by side keep all cores busier than the threads that OpenCV
    starts within one operation, which therefore rest meanwhile.

    Args:
        functions: one a thread, each with networks of its own; any of them gets any item.
        items: taken by one thread at a time, in order, a few ahead of the results that were used.

    Yields:
        An iterator of the results. Where taking an item or a function failed, it raises that error in the item's
        place, after the results of those before. On leaving the context, what is under way is finished and dropped.
    """
    opencv_threads = cv2.getNumThreads()
    crew = _Crew(functions, items)
    cv2.setNumThreads(1)
    try:
        crew.start()
        yield crew.results()
    finally:
        crew.stop()
        cv2.setNumThreads(opencv_threads)


class _Crew(Generic[Item, Result]):
    """The threads of :func:`overlapped`."""

    def __init__(self, functions: Sequence[Callable[[Item], Result]], items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._turn = threading.Lock()  # to take an item and its place among the results
        self._room = threading.Semaphore(len(functions) + MAX_WAITING)
        self._results: SimpleQueue[Future[Result]] = SimpleQueue()
        self._ended = False
        self._threads = [threading.Thread(target=self._work, args=(function,), daemon=True) for function in functions]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended = True
        self._room.release(len(self._threads))
        for thread in self._threads:
            thread.join()

    def results(self) -> Iterator[Result]:
        while True:
            try:
                result = self._results.get().result()
            except StopIteration:
                return
            yield result
            self._room.release()

    def _work(self, function: Callable[[Item], Result]) -> None:
        while taken := self._take():
            item, result = taken
            try:
                result.set_result(function(item))
            except BaseException as error:  # Ctrl-C in a test, too: the caller is to meet it
                result.set_exception(error)

    def _take(self) -> tuple[Item, Future[Result]] | None:
        """The next item and where its result belongs; None when there are no more."""
        with self._turn:
            self._room.acquire()
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


@contextmanager
def newest(items: Iterable[Item]) -> Iterator[Iterator[Item]]:
    """Take items in a thread of its own as they come, and give the newest: those that nobody asked for are dropped.

    So frames of a camera are never older than the last one, however long each is worked on.

    Yields:
        An iterator of items, which waits where there is none since the last. An error of ``items`` is raised after
        the last item. On leaving the context, the item that is being waited for is the last to be taken.
    """
    keeper = _Keeper(items)
    thread = threading.Thread(target=keeper.take_all, daemon=True)
    thread.start()
    try:
        yield keeper
    finally:
        keeper.stop()
        thread.join()


class _Keeper(Iterator[Item]):
    """The newest item of :func:`newest`."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._newest: deque[Item] = deque(maxlen=1)
        self._end: BaseException | None = None
        self._changed = threading.Condition()

    def __next__(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._end)
            if self._newest:
                return self._newest.popleft()
            raise self._end or StopIteration

    def take_all(self) -> None:
        end: BaseException = StopIteration()
        try:
            for item in self._items:
                with self._changed:
                    if self._end:
                        return
                    self._newest.append(item)
                    self._changed.notify()
        except BaseException as error:
            end = error
        self._finish(end)

    def stop(self) -> None:
        self._finish(StopIteration())

    def _finish(self, end: BaseException) -> None:
        with self._changed:
            self._end = self._end or end
            self._changed.notify_all()
