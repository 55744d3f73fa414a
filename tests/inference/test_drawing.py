"""Drawn detections: the right colour in the right place, legible and within the image whatever its size."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from mask_detection.inference.detections import Detections
from mask_detection.inference.drawing import GREEN, PURPLE, RED, class_colors, draw

NAMES = ("with_mask", "without_mask")
GREY = 128
MASKED, BARE = (0.97, 0.03), (0.1, 0.9)


def plain(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def seen(*faces: tuple[Sequence[int], Sequence[float]], class_names: tuple[str, ...] = NAMES) -> Detections:
    """Detections from boxes and probabilities."""
    boxes = np.array([box for box, _ in faces], np.int32).reshape(-1, 4)
    probabilities = np.array([row for _, row in faces], np.float32).reshape(-1, len(class_names))
    return Detections(boxes, np.ones(len(faces), np.float32), probabilities, class_names)


def changed(image: np.ndarray) -> np.ndarray:
    """Where something is drawn, (H, W) bool."""
    return (image != GREY).any(axis=2)


def label_drawn(text_of: str) -> np.ndarray:
    """The label of a class of that name, cut out of a image: of the same height and for the same box always."""
    class_names = (text_of, "another class")
    image = draw(plain(600, 200), seen(((20, 100, 80, 190), (0.9, 0.1)), class_names=class_names))
    return image[:100]


def test_the_image_given_is_left_alone():
    frame = plain(320, 240)
    frame.setflags(write=False)
    annotated = draw(frame, seen(((50, 60, 150, 200), MASKED)))
    assert annotated is not frame
    assert annotated.shape == frame.shape
    assert annotated.dtype == np.uint8
    assert not changed(frame).any()


def test_no_faces_leave_the_image_as_it_is():
    assert not changed(draw(plain(320, 240), seen())).any()


@pytest.mark.parametrize(("probabilities", "color"), [(MASKED, GREEN), (BARE, RED)])
def test_the_box_is_drawn_along_its_edges_in_the_class_colour(probabilities, color):
    x1, y1, x2, y2 = 50, 80, 150, 200
    annotated = draw(plain(320, 240), seen(((x1, y1, x2, y2), probabilities)))
    edges = [annotated[140, x1], annotated[140, x2 - 1], annotated[y2 - 1, 100]]
    np.testing.assert_array_equal(edges, [color] * 3)
    assert not changed(annotated[y1 + 5 : y2 - 5, x1 + 5 : x2 - 5]).any()
    assert not changed(annotated[:, :40]).any()
    assert not changed(annotated[y2 + 5 :]).any()


@pytest.mark.parametrize(("probabilities", "color"), [(MASKED, GREEN), (BARE, RED)])
def test_the_label_is_light_on_the_class_colour_above_the_box(probabilities, color):
    annotated = draw(plain(320, 240), seen(((50, 80, 150, 200), probabilities)))
    label = annotated[60:76, 50:130]
    assert (label == color).all(axis=2).mean() > 0.3
    assert (label.min(axis=2) > 200).mean() > 0.03


def test_different_answers_read_differently():
    box = (20, 100, 80, 190)
    certain, uncertain = (draw(plain(300, 200), seen((box, (p, 1 - p)))) for p in (0.99, 0.91))
    assert (certain != uncertain).any()
    np.testing.assert_array_equal(certain[105:], uncertain[105:])


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1280, 720), (3840, 2160)])
@pytest.mark.parametrize("corner", ["top left", "top right", "bottom left", "bottom right", "whole image"])
def test_labels_are_whole_at_every_edge(width, height, corner):
    side = height // 3
    x = width - side if "right" in corner else 0
    y = height - side if "bottom" in corner else 0
    middle = (width // 2 - side // 2, height // 2 - side // 2, width // 2 + side // 2, height // 2 + side // 2)
    box = (0, 0, width, height) if corner == "whole image" else (x, y, x + side, y + side)
    free = draw(plain(width, height), seen((middle, MASKED)))
    bottom = middle[1] - height // 100  # above the box's line, which lies astride its edge
    rows, columns = np.nonzero(changed(free[:bottom]))
    label = free[rows.min() : bottom, columns.min() : columns.max() + 1]

    annotated = draw(plain(width, height), seen((box, MASKED)))

    assert cv2.matchTemplate(annotated, label, cv2.TM_SQDIFF_NORMED).min() < 0.01


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (16, 16), (5, 400), (400, 5), (60, 60)])
def test_images_smaller_than_a_label(width, height):
    annotated = draw(plain(width, height), seen(((0, 0, width, height), MASKED)))
    assert annotated.shape == (height, width, 3)
    assert changed(annotated).any()


def test_letters_grow_with_the_image():
    heights = []
    for scale in (1, 2, 4):
        frame = plain(960 * scale, 540 * scale)
        annotated = draw(frame, seen((np.array((300, 200, 500, 400)) * scale, MASKED)))
        heights.append(np.count_nonzero(changed(annotated[: 200 * scale]).any(axis=1)))
    assert heights[0] < heights[1] < heights[2]
    assert 10 <= heights[0] <= 40


def test_the_surest_face_is_drawn_on_top():
    first, second = ((50, 80, 150, 200), MASKED), ((52, 80, 152, 200), BARE)
    label = (slice(60, 76), slice(55, 120))
    alone = draw(plain(320, 240), seen(first))
    both = draw(plain(320, 240), seen(first, second))
    np.testing.assert_array_equal(both[label], alone[label])


# --- class names ---


@pytest.mark.parametrize(
    ("one", "other"), [("маска", "каска"), ("μάσκα", "μούσι"), ("Größe", "Grüße"), ("ñandú", "ñandá")]
)
def test_names_of_other_alphabets_are_drawn_letter_by_letter(one, other):
    """Missing letters are drawn as equal boxes: two names of one length would then look the same."""
    assert (label_drawn(one) != label_drawn(other)).any()


@pytest.mark.parametrize("name", ["戴口罩", "😷", "\u200b", "x" * 500, "a b/c%s{}"])
def test_any_name_is_drawn_somehow(name):
    assert changed(label_drawn(name)).any()


@pytest.mark.parametrize("name", ["with_mask", "With Mask", "mask", "WithMask", "with-mask", "masked"])
def test_spellings_of_the_class_with_mask_are_green(name):
    assert class_colors((name, "other"))[name] == GREEN


@pytest.mark.parametrize("name", ["without_mask", "Without Mask", "no_mask", "WithoutMask", "unmasked"])
def test_spellings_of_the_class_without_mask_are_red(name):
    assert class_colors(("other", name))[name] == RED


def test_other_classes_have_colours_of_their_own():
    names = ("with_mask", "without_mask", "mask_weared_incorrect", "mask_below_nose", "visor", "scarf")
    colors = [np.array(color) for color in class_colors(names).values()]
    for i, color in enumerate(colors):
        for other in colors[:i]:
            assert np.abs(color - other).max() > 50


def test_in_a_crowd_labels_shrink_rather_than_hide_other_faces():
    face, beside = (100, 100, 140, 150), (150, 85, 190, 135)  # the full label of the first would reach over the other
    alone = draw(plain(400, 300), seen((face, MASKED)))
    crowd = draw(plain(400, 300), seen((face, MASKED), (beside, BARE)))
    x1, y1, x2, y2 = beside
    assert changed(alone)[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].any()
    assert not changed(crowd)[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].any()
    assert changed(crowd)[:100, 100:140].any()  # the per cent is still there


def test_the_outline_of_an_uncertain_answer_is_grey():
    certain, uncertain = (draw(plain(300, 200), seen(((50, 80, 150, 180), row))) for row in ((0.9, 0.1), (0.7, 0.3)))
    assert certain[179, 100].tolist() == list(GREEN)
    assert len(set(uncertain[179, 100].tolist())) == 1
    assert (uncertain[:80] == GREEN).all(axis=2).any()  # the label keeps the class's colour


THREE = (*NAMES, "mask_weared_incorrect")


def test_worn_wrong_is_drawn_in_dashes_of_its_own_colour():
    x1, y1, x2, y2 = 50, 80, 170, 220
    annotated = draw(plain(320, 240), seen(((x1, y1, x2, y2), (0.05, 0.03, 0.92)), class_names=THREE))
    bottom, side = annotated[y2 - 1, x1:x2], annotated[y1:y2, x1]
    for edge in (bottom, side):
        is_drawn = (edge == PURPLE).all(axis=1)
        assert 0.4 < is_drawn.mean() < 0.8
        assert is_drawn[0]
        assert is_drawn[-1]
    solid = draw(plain(320, 240), seen(((x1, y1, x2, y2), (0.05, 0.92, 0.03)), class_names=THREE))
    assert (solid[y2 - 1, x1:x2] == RED).all()


def test_a_tiny_face_with_a_mask_worn_wrong_is_drawn_too():
    assert changed(draw(plain(40, 40), seen(((10, 20, 12, 21), (0.0, 0.1, 0.9)), class_names=THREE))).any()


def test_the_data_sets_spelling_of_worn_wrong_is_shown_in_plain_words():
    np.testing.assert_array_equal(
        draw(plain(600, 200), seen(((20, 100, 80, 190), (0, 0, 1)), class_names=THREE)),
        draw(plain(600, 200), seen(((20, 100, 80, 190), (0, 0, 1)), class_names=(*NAMES, "worn wrong"))),
    )


# How people without one of the three kinds of cones see linear RGB: Machado et al. 2009, severity 1.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("other", [GREEN, RED], ids=["green", "red"])
def test_colour_blind_people_can_tell_worn_wrong_from_the_others(kind, other):
    """By the distance in CIELAB, of which 2.3 can just be noticed; 40 can't be overlooked."""

    def seen_as(color: tuple[int, int, int]) -> np.ndarray:
        rgb = np.array(color[::-1]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        linear = np.clip(BLINDNESS[kind] @ linear, 0, 1)
        shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return cv2.cvtColor(np.float32(shown).reshape(1, 1, 3), cv2.COLOR_RGB2LAB).ravel()

    assert np.linalg.norm(seen_as(PURPLE) - seen_as(other)) > 40
