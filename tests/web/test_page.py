"""The page itself: offline, without other hosts, by keyboard and screen reader, and with what cannot be read."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mask_detection.commands import site as sites
from tests.helpers.browser import TIMEOUT_MS, look_at, open_page, served
from tests.helpers.images import png
from tests.helpers.paths import EXAMPLES, GROUP

pytestmark = pytest.mark.xdist_group("browser")

PHOTO = EXAMPLES / "with_mask.jpg"
IS_KEPT = "navigator.serviceWorker.ready.then((registration) => registration.active.state)"


def test_it_works_offline_after_one_visit_and_asks_no_other_host(new_page, site):
    from playwright.sync_api import expect

    page = new_page()
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    with served(site) as server:
        open_page(page, server.address)
        assert page.evaluate(IS_KEPT) in ("activating", "activated")
        look_at(page, PHOTO)
        kept = page.evaluate("caches.keys().then(async ([name]) => (await (await caches.open(name)).keys()).length)")
    assert kept == len(site) - 1  # all but the list of files itself

    page.context.set_offline(True)
    page.close()
    page = page.context.new_page()
    open_page(page, server.address)
    page.get_by_text("About").click()
    expect(page.get_by_label("Apache License 2.0")).to_contain_text("TERMS AND CONDITIONS FOR USE")
    look_at(page, PHOTO)
    assert page.get_by_role("list", name="Counts").inner_text() == "1 with_mask"

    hosts = {urlsplit(address).netloc for address in asked if not address.startswith("blob:")}
    assert len(asked) > 10
    assert hosts == {urlsplit(server.address).netloc}


def test_another_version_takes_the_place_of_the_one_that_is_kept(new_page, site):
    page = new_page()
    other = {**site, "index.html": site["index.html"].replace(b"<h1>Face masks</h1>", b"<h1>Newer</h1>")}
    del other[sites.FILE_LIST]
    other[sites.FILE_LIST] = sites.file_list(other)
    with served(site) as server:
        open_page(page, server.address)
        page.evaluate(IS_KEPT)
        server.site = other
        page.evaluate("navigator.serviceWorker.ready.then((registration) => registration.update())")
        page.evaluate(
            """async () => {
                const registration = await navigator.serviceWorker.ready;
                while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 100));
            }"""
        )
        context = page.context
        page.close()
        for _ in range(50):  # the older one ends when its last page has gone
            page = context.new_page()
            page.goto(server.address)
            title = page.get_by_role("heading", level=1).inner_text()
            names = page.evaluate("caches.keys()")
            page.close()
            if title == "Newer" and len(names) == 1:
                break
    assert title == "Newer"
    assert len(names) == 1


def test_it_can_be_installed(page):
    manifest = page.evaluate("fetch('manifest.webmanifest').then((response) => response.json())")
    assert manifest["display"] == "standalone"
    for icon in manifest["icons"][:2]:
        size = page.evaluate(
            """async (source) => {
                const bitmap = await createImageBitmap(await (await fetch(source)).blob());
                return `${bitmap.width}x${bitmap.height}`;
            }""",
            icon["src"],
        )
        assert size == icon["sizes"]
    faults = page.context.new_cdp_session(page).send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [fault["errorId"] for fault in faults if fault["errorId"] != "in-incognito"] == []


def test_everything_is_reached_by_keyboard_and_has_a_name(page):
    look_at(page, PHOTO)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.value || document.activeElement.tagName")
        )
    assert reached[:4] == ["files", "camera", "facing", "two"]
    assert {"save-image", "save-json", "SUMMARY"} <= {*reached}
    for role, name in (
        ("button", "Choose photos"),
        ("button", "Start camera"),
        ("combobox", "Camera"),
        ("radio", "Detector and classifier"),
        ("group", "Who classifies the faces"),
        ("img", "with_mask.jpg: 1 face: 1 with_mask"),
        ("table", "Faces, the most confident first; boxes are x1, y1, x2, y2 in pixels"),
    ):
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1280, "light")])
def test_nothing_runs_over_the_edge(new_page, server, width, scheme):
    page = new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    open_page(page, server.address)
    look_at(page, GROUP)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground, ink = page.evaluate(
        """() => [document.documentElement, document.body].map((element, i) =>
            getComputedStyle(element)[i ? "color" : "backgroundColor"].match(/\\d+/g).map(Number))"""
    )
    assert (sum(ground) < sum(ink)) == (scheme == "dark")


# --- what can be wrong ---


@pytest.fixture
def bad_photos(tmp_path: Path) -> list[Path]:
    """A text, half a photo, one of 108 megapixels, and a good one."""
    text, half, huge = tmp_path / "notes.jpg", tmp_path / "half.png", tmp_path / "huge.png"
    text.write_text("no photo")
    half.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    huge.write_bytes(png(12_000, 9_000, bytes((12_000 // 8 + 1) * 9_000)))
    return [text, half, huge, PHOTO]


def test_what_cannot_be_read_is_named_and_the_rest_is_done(page, bad_photos):
    look_at(page, *bad_photos)
    assert page.get_by_role("alert").inner_text().splitlines() == [
        "notes.jpg is no image that this browser can read; save it as JPEG or PNG.",
        "half.png is no image that this browser can read; save it as JPEG or PNG.",
        "huge.png has 108 megapixels, and 64 are the most; scale it down.",
    ]
    look_at(page, EXAMPLES / "without_mask.jpg")
    assert not page.get_by_role("alert").is_visible()


def test_no_simd(new_page, server):
    page = new_page()
    page.add_init_script("WebAssembly.validate = () => false;")
    page.goto(server.address)
    page.get_by_text("This browser lacks WebAssembly SIMD").wait_for()
    assert page.get_by_role("button", name="Start camera").is_disabled()


def test_a_model_that_does_not_arrive(new_page, site):
    page = new_page()
    with served({name: data for name, data in site.items() if name != sites.CLASSIFIER}) as server:
        page.goto(server.address)
        page.get_by_text("models/mask_detector.tflite could not be loaded (404)): reload the page.").wait_for(
            timeout=TIMEOUT_MS
        )
