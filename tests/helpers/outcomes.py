"""How a command ends, and a disk that fills up under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

GOOD_NEWS = ("face detector: ", "wrote its faster TFLite export")


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    printed: list[str]  # lines on standard error, without the good news

    @classmethod
    def of(cls, status: int, standard_error: str) -> Outcome:
        lines = standard_error.splitlines()
        return cls(status, [line for line in lines if not any(news in line for news in GOOD_NEWS)])


def the_only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What is on standard error, which is one line."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one error line on standard error, where other lines may say what is being done."""
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return error


@contextmanager
def disk_with_room_for(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, which is what a full disk looks like; SIGXFSZ is ignored by Python."""
    resource = pytest.importorskip("resource", reason="Windows limits no file sizes")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
