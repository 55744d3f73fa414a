"""A live page that runs, and what looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from mask_detection.serving.page.server import live_page
from mask_detection.serving.pictures import Pictures
from mask_detection.serving.state import LiveState
from tests.helpers.live import live_state

LOOPBACK = ("127.0.0.1", 0)


class Page(NamedTuple):
    """A page, and the run behind it."""

    url: str
    state: LiveState
    pictures: Pictures

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rstrip("/").rpartition(":")
        return host, int(port)


@pytest.fixture
def serve() -> Iterator[Callable[..., Page]]:
    """A function that serves a page of sources with these names until the test ends."""
    with ExitStack() as stack:

        def start(*names: str, token: str | None = None, shows_crops: bool = False, **options: Any) -> Page:
            state, pictures = live_state(*names, **options), Pictures()
            url = stack.enter_context(live_page(LOOPBACK, token, state, pictures, shows_crops))
            return Page(url, state, pictures)

        yield start


@pytest.fixture
def page(serve: Callable[..., Page]) -> Page:
    """A page of one source, for which nothing is needed."""
    return serve("door")
