"""Photos in the browser: the same faces, to the digit, as the command line finds on the same machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import detect_mask_image
from mask_detection.commands.site import assemble
from mask_detection.utils.defaults import FACE_FOLDER
from tests.helpers.browser import downloaded, look_at, open_page, served, true_counts
from tests.helpers.paths import EXAMPLES, FIXTURES

pytestmark = pytest.mark.xdist_group("browser")

PHOTOS = [EXAMPLES / name for name in ("group.jpg", "with_mask.jpg", "without_mask.jpg")]
ONE_STAGE = "Detector alone: one-stage, faster"


def by_command_line(photos: Sequence[Path], folder: Path, *options: object) -> list[dict]:
    """What detect_mask_image.py writes of photos, with their bare names."""
    log = folder / "faces.jsonl"
    words = ["--image", *photos, "--json", log, "--no-display", "--detector", "builtin", *options]
    assert detect_mask_image.main([str(word) for word in words]) == 0
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    return [{**line, "image": Path(line["image"]).name} for line in lines]


def in_browser(page, photos: Sequence[Path], is_one_stage: bool = False) -> str:
    """What the page's button downloads of photos."""
    if is_one_stage:
        page.get_by_label(ONE_STAGE).check()
    look_at(page, *photos)
    return downloaded(page, "Download JSON").read_text("utf-8")


def as_lines(records: Sequence[dict]) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


@pytest.mark.parametrize("is_one_stage", [False, True], ids=["two-stage", "one-stage"])
def test_the_json_of_the_examples_is_the_command_lines(page, tmp_path, is_one_stage):
    expected = by_command_line(PHOTOS, tmp_path, *["--one-stage"] * is_one_stage)
    assert sum(len(photo["faces"]) for photo in expected) >= 7
    assert in_browser(page, PHOTOS, is_one_stage) == as_lines(expected)


@pytest.fixture
def odd_photos(tmp_path: Path, portrait: np.ndarray) -> list[Path]:
    """Photos that are easily read in another way: turned ones, a transparent one, odd sizes, a name in no ASCII."""
    rgb = Image.fromarray(portrait[..., ::-1].copy())
    photos = []
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photos.append(tmp_path / f"turned_{orientation}.jpg")
        angle = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
        rgb.transpose(angle).save(photos[-1], exif=exif, quality=95)
    images = {
        "transparent.png": np.dstack([portrait, np.zeros((600, 512), np.uint8)]),
        "groß 😀.png": cv2.resize(portrait, (701, 911), interpolation=cv2.INTER_CUBIC),
        "tiny.png": cv2.resize(portrait, (61, 73), interpolation=cv2.INTER_AREA),
        "close-up.png": portrait[100:340, 170:360],
        "grey.png": cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY),
        "nobody.png": np.full((200, 301, 3), 90, np.uint8),
    }
    for name, image in images.items():
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        photos.append(tmp_path / name)
    return photos


def test_turned_transparent_and_odd_photos_give_the_same_faces(page, odd_photos, tmp_path):
    expected = by_command_line(odd_photos, tmp_path)
    assert [len(photo["faces"]) for photo in expected] == [1, 1, 1, 1, 1, 1, 1, 0]
    found = [json.loads(line) for line in in_browser(page, odd_photos).splitlines()]
    check_nearly_the_same(found, expected)


def check_nearly_the_same(found: Sequence[dict], expected: Sequence[dict]) -> None:
    for photo, other in zip(found, expected, strict=True):
        assert {**photo, "faces": []} == {**other, "faces": []}
        for face, same in zip(photo["faces"], other["faces"], strict=True):
            assert face.keys() == same.keys()
            assert face["label"] == same["label"]
            np.testing.assert_allclose(face["box"], same["box"], atol=1)
            np.testing.assert_allclose(face["face_confidence"], same["face_confidence"], atol=1e-3)
            for name, probability in same["probabilities"].items():
                assert face["probabilities"][name] == pytest.approx(probability, abs=1e-3)


@pytest.mark.parametrize("is_one_stage", [False, True], ids=["two-stage", "one-stage"])
@pytest.mark.parametrize("is_shipped", [True, False], ids=["shipped-detector", "three-class-detector"])
def test_three_classes(litert, new_page, three_class_folder, tmp_path, is_shipped, is_one_stage):
    folder, classifier = (FACE_FOLDER if is_shipped else three_class_folder), FIXTURES / "three_classes.tflite"
    mode = ["--one-stage"] if is_one_stage else ["--model", classifier]
    expected = by_command_line(PHOTOS, tmp_path, "--face", folder, *mode)
    page = new_page()
    with served(assemble(classifier, folder)) as server:
        open_page(page, server.address)
        found = [json.loads(line) for line in in_browser(page, PHOTOS, is_one_stage).splitlines()]

    assert sum(len(photo["faces"]) for photo in expected) >= 7
    if not (is_shipped and is_one_stage):
        assert {len(face["probabilities"]) for photo in expected for face in photo["faces"]} == {3}
    check_nearly_the_same(found, expected)


def test_the_page_shows_counts_boxes_and_names(page: Callable, tmp_path):
    look_at(page, PHOTOS[0])
    counts = page.get_by_role("list", name="Counts").get_by_role("listitem").all_inner_texts()
    assert counts == true_counts("group.jpg")
    n_faces = sum(int(count.split()[0]) for count in counts)
    assert page.get_by_role("img", name=f"group.jpg: {n_faces} faces: {', '.join(counts)}").is_visible()
    assert len(page.get_by_role("table").get_by_role("row").all()) == 1 + n_faces


def test_the_image_that_is_downloaded_has_boxes_where_the_command_line_draws_them(page, tmp_path):
    look_at(page, PHOTOS[0])
    image = cv2.imread(str(downloaded(page, "Download image")))
    by_command_line(PHOTOS[:1], tmp_path, "--output", tmp_path / "drawn.png")
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    plain = cv2.imread(str(PHOTOS[0]))
    assert image.shape == drawn.shape
    is_changed, is_drawn = (np.abs(other.astype(int) - plain).max(axis=2) > 60 for other in (image, drawn))
    shared = (is_changed & is_drawn).sum() / (is_changed | is_drawn).sum()
    assert shared > 0.7  # the letters have another font's shapes


def test_photos_are_dropped_and_pasted(page):
    for number, event in enumerate(("drop", "paste")):
        name = f"{number}.jpg"
        page.evaluate(
            """async ([event, name, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
                const init = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
                document.body.dispatchEvent(new (event === "drop" ? DragEvent : ClipboardEvent)(event, init));
            }""",
            [event, name, [*PHOTOS[1].read_bytes()]],
        )
        page.get_by_role("img", name=f"{name}: 1 face: 1 with_mask").wait_for()


def test_several_photos_can_be_gone_through(page):
    look_at(page, *PHOTOS)
    page.get_by_role("button", name="group.jpg").click()
    page.get_by_role("img", name=re.compile("group.jpg: . faces")).wait_for()
    assert page.get_by_role("button", name="group.jpg").get_attribute("aria-current") == "true"


def test_switching_the_classifier_looks_again(page):
    look_at(page, PHOTOS[1])
    before = downloaded(page, "Download JSON").read_text("utf-8")
    page.get_by_role("status").evaluate("(status) => (status.textContent = '')")
    page.get_by_label(ONE_STAGE).check()
    page.get_by_text("with_mask.jpg: 1 face").first.wait_for()
    assert downloaded(page, "Download JSON").read_text("utf-8") != before
