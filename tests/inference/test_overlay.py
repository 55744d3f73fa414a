"""The overlay: what it says, legible on any image, and not over faces where there is another place."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from mask_detection.inference.detections import Detections
from mask_detection.inference.drawing import GREEN, RED
from mask_detection.inference.overlay import Overlay

NAMES = ("with_mask", "without_mask")
GREY = 128
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def seen(*boxes: Sequence[int], class_names: tuple[str, ...] = NAMES, class_id: int = 0) -> Detections:
    probabilities = np.zeros((len(boxes), len(class_names)), np.float32)
    probabilities[:, class_id] = 1
    return Detections(
        np.array(boxes, np.int32).reshape(-1, 4), np.ones(len(boxes), np.float32), probabilities, class_names
    )


def drawn(width: int, height: int, detections: Detections, overlay: Overlay | None = None) -> np.ndarray:
    image = np.full((height, width, 3), GREY, np.uint8)
    (overlay or Overlay()).draw(image, detections)
    return image


def changed(image: np.ndarray) -> np.ndarray:
    return (image != GREY).any(axis=2)


def corner_of(image: np.ndarray) -> str:
    """Where in the image something is drawn."""
    rows, columns = np.nonzero(changed(image))
    vertical = "top" if rows.mean() < image.shape[0] / 2 else "bottom"
    return f"{vertical} {'left' if columns.mean() < image.shape[1] / 2 else 'right'}"


def in_corner(width: int, height: int, corner: str) -> tuple[int, int, int, int]:
    """A box of a quarter of the image."""
    x, y = ("right" in corner) * width // 2, ("bottom" in corner) * height // 2
    return x, y, x + width // 2, y + height // 2


@pytest.mark.parametrize(("width", "height"), [(240, 240), (640, 480), (1920, 1080), (3840, 2160)])
def test_there_is_a_line_for_the_rate_and_one_for_each_class(width, height):
    image = drawn(width, height, seen())
    rows = changed(image).any(axis=1)
    height_of_text = max(12, 0.028 * min(width, height))
    assert 3 * height_of_text <= rows.sum() <= 6 * height_of_text
    for color in (GREEN, RED):
        assert (image == color).all(axis=2).sum() > height_of_text**2
    assert (image.min(axis=2) > 200).sum() > height_of_text  # the letters


def test_other_counts_read_differently():
    one, two = (drawn(640, 480, seen(*[(300, 300, 350, 350)] * count)) for count in (1, 2))
    assert (one != two).any()


def test_any_classes_are_counted():
    names = ("hat", "cap", "crown", "helmet")
    lines = np.count_nonzero(changed(drawn(640, 480, seen(class_names=names))).any(axis=1))
    assert lines > 1.4 * np.count_nonzero(changed(drawn(640, 480, seen())).any(axis=1))


@pytest.mark.parametrize("free", CORNERS)
def test_it_goes_where_no_face_is(free):
    faces = [in_corner(640, 480, corner) for corner in CORNERS if corner != free]
    image = drawn(640, 480, seen(*faces))
    assert corner_of(image) == free
    x1, y1, x2, y2 = in_corner(640, 480, free)
    assert changed(image).sum() == changed(image)[y1:y2, x1:x2].sum()


def test_where_faces_are_everywhere_it_hides_the_least_of_them():
    small = (600, 440, 630, 470)
    image = drawn(640, 480, seen(*(in_corner(640, 480, corner) for corner in CORNERS[:3]), small))
    assert corner_of(image) == "bottom right"


def test_it_stays_in_its_corner_until_a_face_comes():
    overlay, face = Overlay(), in_corner(640, 480, "top left")
    wide = seen(face), seen(), seen(in_corner(640, 480, "bottom right"))
    assert [corner_of(drawn(640, 480, faces, overlay)) for faces in wide] == ["top right"] * 3
    assert corner_of(drawn(640, 480, seen(in_corner(640, 480, "top right")), overlay)) == "top left"


@pytest.mark.parametrize(("width", "height"), [(140, 100), (120, 160), (60, 100)])
def test_on_small_images_the_numbers_alone_are_left(width, height):
    image = drawn(width, height, seen())
    rows, columns = np.nonzero(changed(image))
    assert len(rows) > 0
    assert rows.max() < height / 2 + 1
    assert columns.max() < width / 2 + 1
    assert (image == GREEN).all(axis=2).any()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 20), (5, 400), (400, 5), (96, 60)])
def test_on_smaller_ones_there_is_nothing(width, height):
    assert not changed(drawn(width, height, seen())).any()


def test_the_rate_is_that_of_the_last_frames():
    times = iter([*np.arange(40) / 10, *(4 + np.arange(40) / 25)])
    overlay = Overlay(clock=lambda: next(times))
    assert overlay.frames_per_second == 0
    for expected in (10, 25):
        for _ in range(40):
            drawn(320, 240, seen(), overlay)
        assert overlay.frames_per_second == pytest.approx(expected)


def test_a_clock_that_stands_still_is_no_error():
    overlay = Overlay(clock=lambda: 5.0)
    for _ in range(3):
        drawn(320, 240, seen(), overlay)
    assert overlay.frames_per_second == 0


# --- through the script ---


def frames_of(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    return [frame for arrived, frame in iter(capture.read, (False, None)) if arrived]


def test_the_video_has_it_unless_it_is_not_wanted(play_cards, tmp_path):
    play_cards("M" * 3, "--output", tmp_path / "with.avi")
    play_cards("M" * 3, "--output", tmp_path / "without.avi", "--no-overlay")
    for with_it, without in zip(frames_of(tmp_path / "with.avi"), frames_of(tmp_path / "without.avi"), strict=True):
        different = (np.abs(with_it.astype(int) - without) > 60).any(axis=2)
        rows, columns = np.nonzero(different)
        assert rows.max() < 60
        assert columns.max() < 130
        assert without[:40].max() < 100  # nothing above the card and its label
