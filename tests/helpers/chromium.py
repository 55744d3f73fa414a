"""A real browser: an installed Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
]  # for root in containers


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, closed at the end; the test is skipped where none is installed."""
    with launcher() as launch:
        yield launch()


@contextmanager
def launcher() -> Iterator[Callable[..., Browser]]:
    """A function that starts Chromium with some switches besides, or gives the one that runs with them already."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed here (apt install chromium)")
    with sync_api.sync_playwright() as playwright:

        @cache
        def launch(*switches: str) -> Browser:
            return playwright.chromium.launch(executable_path=program, args=[*SWITCHES, *switches])

        yield launch  # when Playwright ends, so do its browsers
