"""The camera in the browser: frames, tracks, counts, memory, and what can be wrong with it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.browser import FAKE_CAMERA, TIMEOUT_MS, downloaded, look_at, open_page, true_counts
from tests.helpers.paths import EXAMPLES, GROUP

pytestmark = pytest.mark.xdist_group("browser")

N_FRAMES = 300
SETTLED_AFTER = 50  # frames


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Arguments for a Chromium whose camera shows the people of the example, who sway."""
    image = cv2.imread(str(GROUP))
    video = tmp_path_factory.mktemp("camera") / "group.mjpeg"
    shifts = [*range(0, 40, 8), *range(40, 0, -8)]
    frames = (np.roll(image, shift, axis=1) for shift in shifts)
    video.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames))
    return tuple(argument.format(video=video) for argument in FAKE_CAMERA)


def test_the_camera_shows_boxes_and_counts(new_page, server, camera):
    from playwright.sync_api import expect

    page = new_page(camera, permissions=["camera"])
    open_page(page, server.address)
    page.get_by_role("button", name="Start camera").click()
    counts = page.get_by_role("list", name="Counts").get_by_role("listitem")
    expect(counts).to_have_text(true_counts("group.jpg"), timeout=TIMEOUT_MS)

    record = json.loads(downloaded(page, "Download JSON").read_text("utf-8"))
    assert record["image"] == "camera"
    tracks = [face["track"] for face in record["faces"]]
    assert len({*tracks}) == len(tracks) >= 3
    assert min(tracks) >= 1
    shown = cv2.imread(str(downloaded(page, "Download image")))
    assert shown.shape[:2] == (record["height"], record["width"])

    page.get_by_role("button", name="Stop camera").click()
    expect(page.get_by_role("status")).to_have_text("The camera is off.")
    look_at(page, EXAMPLES / "with_mask.jpg")


def test_the_camera_can_be_changed_while_it_runs(new_page, server, camera):
    from playwright.sync_api import expect

    page = new_page(camera, permissions=["camera"])
    open_page(page, server.address)
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("img", name=re.compile("camera: ")).wait_for()
    page.get_by_role("combobox", name="Camera").select_option("back")
    expect(page.get_by_role("status")).to_have_text(re.compile("[3-9] faces"), timeout=TIMEOUT_MS)
    expect(page.get_by_role("button", name="Stop camera")).to_be_visible()


def test_memory_stays_as_it_is_over_many_frames(new_page, server):
    """A strip of faces, which costs a tenth of a whole frame: the same calls to LiteRT.js."""
    page = new_page()
    page.goto(f"{server.address}settings.json")
    image = cv2.imread(str(GROUP))[120:520]
    strip = cv2.resize(image, (288, 96), interpolation=cv2.INTER_AREA)
    strip = cv2.copyMakeBorder(strip, 0, 0, 64, 64, cv2.BORDER_CONSTANT, value=(90, 90, 90))
    png = b64encode(cv2.imencode(".png", strip)[1].tobytes()).decode()

    found = page.evaluate(
        """async ([png, count]) => {
            const worker = new Worker("worker.js");
            const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
            const found = [];
            for (let id = 1; id <= count; id++) {
                const bitmap = await createImageBitmap(new Blob([bytes]));
                const answered = new Promise((resolve) => (worker.onmessage = resolve));
                worker.postMessage({ id, job: "frame", bitmap, time: id / 25, isTwoStage: true }, [bitmap]);
                const { result, fault } = (await answered).data;
                if (fault) throw new Error(fault);
                result.bitmap.close();
                found.push([result.faces.length, result.heapBytes]);
            }
            return found;
        }""",
        [png, N_FRAMES],
    )

    n_faces, heap = np.array(found).T
    assert len(found) == N_FRAMES
    assert n_faces.min() >= 1
    assert set(heap[SETTLED_AFTER:]) == {heap[-1]}


# --- what can be wrong ---


def start_camera(page) -> str:
    """Press the button, and give what the page says is wrong."""
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("alert").wait_for()
    return page.get_by_role("alert").inner_text()


def check_photos_work(page) -> None:
    look_at(page, EXAMPLES / "with_mask.jpg")
    assert not page.get_by_role("alert").is_visible()


def test_no_camera(new_page, server):
    page = new_page(permissions=["camera"])
    open_page(page, server.address)
    assert start_camera(page) == "No camera was found: connect one, or choose a photo."
    check_photos_work(page)


def test_a_camera_that_is_denied(new_page, server, camera):
    page = new_page(camera)
    open_page(page, server.address)
    assert start_camera(page).startswith("The camera is denied to this page: allow it")
    check_photos_work(page)


def test_a_camera_that_is_unplugged(new_page, server, camera):
    page = new_page(camera, permissions=["camera"])
    open_page(page, server.address)
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("img", name=re.compile("camera: ")).wait_for()
    page.evaluate(
        """() => {
            const [track] = document.getElementById("video").srcObject.getVideoTracks();
            track.stop();
            track.dispatchEvent(new Event("ended"));
        }"""
    )
    page.get_by_text("The camera has stopped: connect it, and start again.").wait_for()
    assert page.get_by_role("button", name="Start camera").is_visible()


def test_plain_http_on_another_address(new_page, server):
    page = new_page(("--host-resolver-rules=MAP lan.example 127.0.0.1",))
    open_page(page, server.address.replace("127.0.0.1", "lan.example"))
    assert start_camera(page).startswith("The camera needs an https address, or localhost")
    check_photos_work(page)


def test_the_files_of_the_fake_camera_are_what_they_seem(camera):
    """A fake camera without a video shows a test card, on which all of these tests would fail."""
    assert Path(camera[1].partition("=")[2]).stat().st_size > 100_000
