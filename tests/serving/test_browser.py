"""The page in a real browser: the picture moves, counts change, the chart is drawn, the token lets in."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mask_detection.serving.page.access import MAX_TRIES
from tests.helpers.chromium import chromium
from tests.helpers.live import BARE, MASKED, alarm_event, faces, frame_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

pytestmark = pytest.mark.xdist_group("browser")  # one browser for all

TOKEN = "0123456789abcdef" * 4
EVIL = '<script>document.title = "broken"</script>'
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
MIDDLE = """() => {
    const picture = document.querySelector("img.picture"), canvas = document.createElement("canvas");
    if (!picture.naturalWidth) return -1;
    canvas.width = canvas.height = 1;
    canvas.getContext("2d").drawImage(picture, 0, 0, 1, 1);
    return canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """A function that opens a page in a browser of its own; faults of the page's script fail the test."""
    contexts, faults = [], []

    def start(url: str, **options: Any) -> Tab:
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda fault: faults.append(fault))  # Playwright marks its handlers
        tab.goto(url, wait_until="domcontentloaded")
        return tab

    yield start
    for context in contexts:
        context.close()
    assert not faults


@contextmanager
def running(page) -> Iterator[list[int]]:
    """A run at 25 frames a second; frames get lighter all the time. Gives the number of masked faces that it sees."""
    ended, seen = threading.Event(), [1]

    def run() -> None:
        for i in range(100_000):
            if ended.wait(0.04):
                return
            for source in page.state.views():
                shown = frame_of(source.name, i / 25, level=i * 4 % 256)
                rows = [(track, MASKED) for track in range(seen[0])]
                page.state.write(shown, faces((1000, BARE), *rows))
                page.pictures.write(shown, faces())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def number_of(tab: Tab, label: str) -> str:
    return tab.inner_text(f'dd[data-label="{label}"]')


def wait_until(tab: Tab, is_so: Callable[[], bool], tries: int = 400) -> None:
    """Ask again and again; Playwright's own way is what the page's rules against foreign scripts forbid."""
    while not is_so():
        tries -= 1
        assert tries, "it never came"
        tab.wait_for_timeout(50)


def test_the_picture_moves_counts_change_and_the_chart_is_drawn(serve, open_tab):
    page = serve("door")
    with running(page) as seen:
        tab = open_tab(page.url)
        wait_until(tab, lambda: tab.evaluate(MIDDLE) > 0)
        first = tab.evaluate(MIDDLE)
        wait_until(tab, lambda: tab.evaluate(MIDDLE) != first)
        wait_until(tab, lambda: number_of(tab, "with_mask") == "1")
        seen[0] = 4
        wait_until(tab, lambda: number_of(tab, "with_mask") == "4")
        assert number_of(tab, "without_mask") == "1"
        bars = tab.locator("svg.chart rect")
        heights = [bars.nth(i).bounding_box()["height"] for i in range(bars.count())]
        assert len(heights) >= 2
        assert min(heights) > 5


def test_an_alarm_appears_with_its_face(serve, open_tab):
    page = serve("door", keeps_crops=True, shows_crops=True)
    with running(page):
        tab = open_tab(page.url)
        assert "none so far" in tab.inner_text("#alarms")
        page.state.add_alarm(alarm_event("door"))
        tab.wait_for_selector("#alarms img")
        wait_until(tab, lambda: tab.evaluate("document.querySelector('#alarms img')?.naturalWidth > 0"))


def test_the_token_lets_in_and_stays_a_cookie_that_scripts_cannot_read(serve, open_tab):
    page = serve("door", token=TOKEN)
    tab = open_tab(page.url)
    assert tab.locator("img").count() == 0
    tab.fill("#token", "wrong")
    tab.click("button")
    assert "not the token" in tab.inner_text("[role=alert] >> nth=-1")
    tab.fill("#token", TOKEN)
    tab.click("button")
    tab.wait_for_selector("img.picture", state="attached")
    assert TOKEN not in tab.url
    assert tab.evaluate("document.cookie") == ""
    tab.goto(page.url, wait_until="domcontentloaded")
    assert tab.locator("img.picture").count() == 1
    (cookie,) = tab.context.cookies()
    assert cookie["httpOnly"]
    assert (cookie["sameSite"], cookie["value"] == TOKEN) == ("Lax", False)


def test_too_many_wrong_tokens_are_refused(serve, open_tab):
    page = serve("door", token=TOKEN)
    tab = open_tab(f"{page.url}login")
    for _ in range(MAX_TRIES - 1):
        tab.fill("#token", "wrong")
        tab.click("button")
    tab.fill("#token", "wrong")
    tab.click("button")
    assert "Too many" in tab.inner_text("body")


def test_a_script_in_a_name_is_text(serve, open_tab):
    page = serve(EVIL)
    page.state.write(frame_of(EVIL), faces((1, BARE)))
    page.state.add_alarm(alarm_event(EVIL))
    tab = open_tab(page.url)
    assert tab.title() == "Face masks"
    assert tab.inner_text("h2 >> nth=0") == EVIL
    tab.wait_for_timeout(2500)  # renewed once
    assert tab.title() == "Face masks"


def test_the_picture_moves_without_scripts(serve, open_tab):
    page = serve("door")
    with running(page):
        tab = open_tab(page.url, java_script_enabled=False)
        first, deadline = tab.locator("img.picture").screenshot(), 50
        while tab.locator("img.picture").screenshot() == first and deadline:
            tab.wait_for_timeout(100)
            deadline -= 1
        assert deadline


def test_a_server_that_is_gone_is_said_and_comes_back(serve, open_tab):
    page = serve("door")
    tab = open_tab(page.url)
    assert tab.locator("#lost").is_hidden()
    tab.route("**/now", lambda route: route.abort())
    tab.wait_for_selector("#lost", state="visible")
    tab.unroute("**/now")
    tab.wait_for_selector("#lost", state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_the_screen(serve, open_tab, size, scheme, tmp_path):
    page = serve("front door", "a-source-with-a-name-that-is-much-too-long-" * 3, keeps_crops=True, shows_crops=True)
    with running(page):
        tab = open_tab(page.url, viewport=SIZES[size], color_scheme=scheme)
        page.state.add_alarm(alarm_event("front door"))
        tab.wait_for_selector("#alarms img")
        width = tab.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"]
        back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(back.removeprefix("rgb(").split(",")[0])
        assert (red > 128) == (scheme == "light")
        folder = Path(os.environ.get("MASK_SCREENSHOTS", tmp_path))
        tab.screenshot(path=folder / f"{size}-{scheme}.png", full_page=True)
        assert np.unique(np.frombuffer((folder / f"{size}-{scheme}.png").read_bytes(), np.uint8)).size > 100
