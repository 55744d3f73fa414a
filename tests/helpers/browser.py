"""The page for browsers and phones, served and opened."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mask_detection.commands.web import SiteServer
from mask_detection.inference.classes import shown
from tests.helpers.paths import EXAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Page

TIMEOUT_MS = 240_000  # the machine may be busy with much else
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-file-for-fake-video-capture={video}")


@contextmanager
def served(site: Mapping[str, bytes]) -> Iterator[SiteServer]:
    """Serve a site while the block runs."""
    with SiteServer(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def open_page(page: Page, address: str) -> None:
    """Open the page and wait until it is ready."""
    from playwright.sync_api import expect

    page.goto(address)
    expect(page.get_by_role("status")).to_have_text("Ready.", timeout=TIMEOUT_MS)


def look_at(page: Page, *photos: Path) -> None:
    """Choose photos and wait until the last of them has been looked at."""
    from playwright.sync_api import expect

    page.get_by_label("Choose photos").set_input_files(photos)
    expect(page.get_by_role("status")).to_contain_text(f"{photos[-1].name}: ", timeout=TIMEOUT_MS)


def downloaded(page: Page, button: str) -> Path:
    """What a button of the page downloads."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path())


def true_counts(example: str) -> list[str]:
    """How the page counts the faces of an example, by class."""
    faces = json.loads((EXAMPLES / "expected.json").read_text("utf-8"))[example]
    counts = Counter(face["label"] for face in faces)
    return [f"{counts[label]} {shown(label)}" for label in sorted(counts)]
