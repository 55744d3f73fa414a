"""Threads that work ahead: order, bounds, errors, ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import cv2
import pytest

from mask_detection.utils.threads import MAX_WAITING, overlapped

PATIENCE_S = 30  # for what should come at once


class FaultError(Exception):
    pass


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def square(number: int) -> int:
    return number * number


def numbers_then(error: BaseException, count: int) -> Iterator[int]:
    yield from range(count)
    raise error


# --- several items side by side ---


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_every_item_has_its_result_in_order(n_threads):
    with overlapped(lambda: square, range(200), n_threads) as results:
        assert list(results) == [square(number) for number in range(200)]


def test_no_items_give_no_results():
    with overlapped(lambda: square, [], 2) as results:
        assert list(results) == []


def test_a_slow_item_keeps_its_place():
    later_one_done = threading.Event()

    def hold_up_the_first(number: int) -> int:
        if number:
            later_one_done.set()
        else:
            assert later_one_done.wait(PATIENCE_S)
        return number

    with overlapped(lambda: hold_up_the_first, range(3), 2) as results:
        assert list(results) == [0, 1, 2]


def test_work_goes_on_while_a_result_is_used():
    done = [threading.Event() for _ in range(3)]
    with overlapped(lambda: lambda number: done[number].set(), range(3), 1) as results:
        next(results)
        assert done[2].wait(PATIENCE_S)  # before it was asked for


def test_it_never_runs_far_ahead():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with overlapped(lambda: square, items(), 2) as results:
        for n_used, _ in enumerate(results):
            assert len(taken) <= n_used + 2 + MAX_WAITING


def test_each_thread_has_a_function_of_its_own():
    n_made = iter(range(2))
    both_at_work = threading.Barrier(2)

    def make() -> Callable[[int], tuple[int, int, int]]:
        number, maker = next(n_made), threading.get_ident()

        def tell(_: int) -> tuple[int, int, int]:
            both_at_work.wait(PATIENCE_S)
            return number, maker, threading.get_ident()

        return tell

    with overlapped(make, range(2), 2) as results:
        results_seen = list(results)
    assert {number for number, _, _ in results_seen} == {0, 1}
    assert all(maker == user for _, maker, user in results_seen)


@pytest.mark.parametrize("error", [FaultError("items"), KeyboardInterrupt()])
def test_an_error_of_the_items_comes_in_its_place(error):
    with overlapped(lambda: square, numbers_then(error, 3), 2) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        with pytest.raises(type(error)):
            next(results)


def test_an_error_of_the_function_comes_in_its_place():
    def fail_at_3(number: int) -> int:
        if number == 3:
            raise FaultError
        return number

    with overlapped(lambda: fail_at_3, range(9), 2) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(FaultError):
            next(results)


@pytest.mark.parametrize("n_that_work", [0, 1])
def test_an_error_in_making_a_function_comes_before_anything_is_given(n_that_work):
    functions = iter([square] * n_that_work)

    def make() -> Callable[[int], int]:
        for function in functions:
            return function
        raise FaultError

    with pytest.raises(FaultError), overlapped(make, range(9), 2):
        pytest.fail("it was entered")


@pytest.mark.parametrize("error", [FaultError(), KeyboardInterrupt()])
def test_leaving_early_ends_the_threads(error):
    endless = iter(int, None)
    with overlapped(lambda: square, endless, 3) as results:
        next(results)
    with pytest.raises(type(error)), overlapped(lambda: square, endless, 3) as results:
        next(results)
        raise error


def test_opencv_starts_no_threads_of_its_own_meanwhile():
    before = cv2.getNumThreads()
    with overlapped(lambda: lambda _: cv2.getNumThreads(), range(2), 2) as results:
        assert list(results) == [1, 1]
    assert cv2.getNumThreads() == before
