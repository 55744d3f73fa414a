"""The page as the command puts it together, and a browser to open it in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

from mask_detection.commands.site import LITERT, assemble
from mask_detection.commands.web import SiteServer
from mask_detection.utils.defaults import BUILTIN_DETECTOR_FILE, FACE_FOLDER
from mask_detection.utils.downloads import fetch
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import make_folder
from tests.helpers.browser import TIMEOUT_MS, open_page, served
from tests.helpers.chromium import launcher
from tests.helpers.paths import FIXTURES, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOWNLOAD_TIMEOUT_S = 10.0


@pytest.fixture(scope="session")
def litert(cache_folder: Path) -> None:
    """LiteRT.js, out of the user's own cache folder; it is fetched into that where it lacks."""
    own = platformdirs.user_cache_path("face-mask-detection", appauthor=False)
    try:
        make_folder(own)
        for package in LITERT:
            shutil.copy(fetch(package, own, DOWNLOAD_TIMEOUT_S), cache_folder)
    except MaskDetectionError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(litert: None) -> dict[str, bytes]:
    """The page with the shipped models."""
    return assemble(ROOT / "mask_detector.tflite", FACE_FOLDER)


@pytest.fixture(scope="session")
def three_class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a face detector of three classes."""
    folder = tmp_path_factory.mktemp("three")
    shutil.copy(FIXTURES / "three_classes_detector.tflite", folder / BUILTIN_DETECTOR_FILE.name)
    return folder


@pytest.fixture(scope="session")
def server(site: dict[str, bytes]) -> Iterator[SiteServer]:
    """The page with the shipped models, served."""
    with served(site) as server:
        yield server


@pytest.fixture(scope="module")  # while Playwright is there, nothing else can use asyncio
def launch() -> Iterator[Callable[..., Browser]]:
    """A function that starts Chromium with some switches, or gives the one that runs with them."""
    with launcher() as launch:
        yield launch


@pytest.fixture
def new_page(launch: Callable[..., Browser]) -> Iterator[Callable[..., Page]]:
    """A function that opens an empty page in a context of its own; the rest of its arguments are Playwright's."""
    contexts = []

    def open_one(switches: tuple[str, ...] = (), **options: object) -> Page:
        context = launch(*switches).new_context(**options)
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        return context.new_page()

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_page: Callable[..., Page], server: SiteServer) -> Page:
    """The page with the shipped models, ready."""
    page = new_page()
    open_page(page, server.address)
    return page
