"""Where masks are put on a face, what they look like there, and cloth that is cut out of photos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mask_detection.data.synthesis import light
from mask_detection.data.synthesis.cloth import Look, random_look
from mask_detection.data.synthesis.geometry import (
    CANONICAL_LANDMARKS,
    Pose,
    fit_pose,
    loop_lines,
    mask_points,
    random_shape,
    surface_z,
)
from mask_detection.data.synthesis.kinds import KINDS
from mask_detection.data.synthesis.render import COARSE_GRID, draw_on, put_on
from mask_detection.data.synthesis.swatches import cut_swatch
from tests.helpers.portrait import LANDMARKS

BLACK, WHITE, GREEN = (40, 40, 40), (240, 240, 238), (60, 200, 60)
SKIN = (120, 150, 190)
# Places on the middle line of a face, y in D.
EYES, NOSE_TIP, MOUTH, CHIN_TIP = 0.0, 0.5, 1.05, 1.62


@pytest.fixture
def pose() -> Pose:
    found = fit_pose(LANDMARKS)
    assert found
    return found


def posed(yaw: float = 0, pitch: float = 0, roll: float = 0, unit: float = 60) -> Pose:
    """A head turned by so many degrees, in the middle of an image of 400 x 400."""
    a, b, c = np.radians([yaw, pitch, roll])
    around_y = np.array([(np.cos(a), 0, np.sin(a)), (0, 1, 0), (-np.sin(a), 0, np.cos(a))])
    around_x = np.array([(1, 0, 0), (0, np.cos(b), np.sin(b)), (0, -np.sin(b), np.cos(b))])
    around_z = np.array([(np.cos(c), -np.sin(c), 0), (np.sin(c), np.cos(c), 0), (0, 0, 1)])
    turned = around_z @ around_x @ around_y
    return Pose(np.array([200.0, 150.0]), unit * turned[:2].T)


def surgical(colour: tuple[int, int, int]) -> Look:
    return Look("surgical", "", colour, colour, "plain", colour)


def worn(image: np.ndarray, pose: Pose, colour: tuple[int, int, int], kind: str = "correct", seed: int = 0):
    rng = np.random.default_rng(seed)
    return draw_on(image, pose, random_shape(kind, False, rng), surgical(colour), 1.0, rng).image


def mouth_of(image: np.ndarray, pose: Pose) -> np.ndarray:
    """The median colour over the mouth, BGR."""
    x, y = pose.project(np.array([0, MOUTH, 0.3])).astype(int)
    return np.median(image[y - 8 : y + 8, x - 20 : x + 20].reshape(-1, 3), axis=0)


# Pose


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (-25, 10, 0), (0, -20, 30), (15, 5, -40)])
@pytest.mark.parametrize("unit", [8, 70])
def test_landmarks_give_back_the_pose_that_they_were_projected_with(angles, unit):
    expected = posed(*angles, unit)
    found = fit_pose(expected.project(CANONICAL_LANDMARKS))
    assert found
    np.testing.assert_allclose(found.axes, expected.axes, atol=1e-6)
    np.testing.assert_allclose(found.origin, expected.origin, atol=1e-6)


@pytest.mark.parametrize(("index", "angles"), [(0, (20, 0, 0)), (1, (0, 20, 0)), (2, (0, 0, 20))])
def test_angles_are_those_of_the_head(index, angles):
    assert posed(*angles).angles[index] == pytest.approx(20, abs=1)


@pytest.mark.parametrize(
    ("landmarks", "why"),
    [
        (LANDMARKS * 0.06, "too small"),
        (LANDMARKS * [-1, 1], "mirrored"),
        (posed(yaw=75).project(CANONICAL_LANDMARKS), "in profile"),
        (np.zeros((5, 2)), "all in one place"),
    ],
)
def test_faces_that_no_mask_can_be_put_on_are_refused(landmarks, why):
    assert fit_pose(landmarks) is None, why


@pytest.mark.parametrize("yaw", [-30, 30])
def test_loops_behind_the_head_are_not_drawn(yaw):
    points = mask_points(random_shape("correct", False, np.random.default_rng(0)), 9, 9)
    assert len(loop_lines(points, posed())) == 4
    visible = loop_lines(points, posed(yaw))
    assert [np.sign(line[-1, 0]) for line in visible] == [-np.sign(yaw)] * 2


# Where the mask is


@pytest.mark.parametrize(
    ("kind", "covered", "bare"),
    [
        ("correct", (NOSE_TIP, MOUTH), (EYES,)),
        ("tip", (MOUTH,), (EYES, 0.3)),
        ("nose", (MOUTH,), (EYES, NOSE_TIP)),
        ("chin", (CHIN_TIP,), (EYES, NOSE_TIP, MOUTH - 0.1)),
    ],
)
def test_each_kind_covers_its_part_of_the_face(portrait, pose, kind, covered, bare):
    skin = np.full_like(portrait, SKIN)  # whatever is green is mask
    for seed in range(10):
        image = worn(skin, pose, GREEN, kind, seed).astype(int)
        is_green = image[..., 1] - image[..., 2] > 60

        def shows_mask(y: float, is_green: np.ndarray = is_green) -> bool:
            column, row = pose.project(np.array([0, y, surface_z(0.0, y)])).astype(int)
            return bool(is_green[row, column])

        assert [shows_mask(y) for y in covered] == [True] * len(covered)
        assert [shows_mask(y) for y in bare] == [False] * len(bare)


@pytest.mark.parametrize("angles", [(0, 0, 0), (35, 0, 10), (-35, 15, 0), (0, -25, 0), (0, 38, 0)])
def test_a_mask_has_no_holes(angles):
    magenta = np.full((400, 400, 3), (255, 0, 255), np.uint8)
    turned = posed(*angles)
    rng = np.random.default_rng(3)
    drawn = draw_on(magenta, turned, random_shape("correct", True, rng), surgical(BLACK), 2.2, rng)
    grid = drawn.points.reshape(*COARSE_GRID, 2)
    outline = np.concatenate([grid[0], grid[:, -1], grid[-1, ::-1], grid[::-1, 0]])
    covered = cv2.fillPoly(np.zeros((400, 400), np.uint8), [outline.round().astype(np.int32)], 1)
    inside = cv2.erode(covered, np.ones((9, 9), np.uint8)) > 0
    assert inside.sum() > 3000
    assert drawn.image[inside].max() < 65


def test_only_the_surroundings_of_the_mask_change_and_the_photo_stays(portrait, pose):
    before = portrait.copy()
    drawn = put_on(portrait, pose, "nose", np.random.default_rng(0))
    np.testing.assert_array_equal(portrait, before)
    changed = np.argwhere((drawn.image != portrait).any(axis=2))[:, ::-1]
    eyes = LANDMARKS[:2].mean(axis=0)
    assert (np.abs(changed - eyes) < [2 * pose.unit, 3 * pose.unit]).all()
    assert changed[:, 1].min() > 150  # the loops reach no higher than the ears


def test_a_mask_may_leave_the_photo(portrait, pose):
    closer = portrait[100:260, 200:330]  # the mouth is below, the ears are beside
    drawn = put_on(closer, pose.moved(np.array([200, 100]), np.ones(2)), "chin", np.random.default_rng(0))
    assert drawn.image.shape == closer.shape
    assert (drawn.points[:, 1] > 160).all()


# What it looks like


def test_the_same_chance_gives_the_same_mask_and_another_one_another(portrait, pose):
    one, same, other = (put_on(portrait, pose, "tip", np.random.default_rng(seed)).image for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_white_is_white_and_black_is_black(portrait, pose):
    whites = np.array([mouth_of(worn(portrait, pose, WHITE, seed=seed), pose) for seed in range(6)])
    blacks = np.array([mouth_of(worn(portrait, pose, BLACK, seed=seed), pose) for seed in range(6)])
    assert whites.mean() > mouth_of(portrait, pose).mean() + 60
    assert whites.mean() > 205
    assert np.ptp(whites.mean(axis=0)) < 25
    assert blacks.max() < 80


def test_masks_are_darker_in_dark_photos_but_less_so_than_faces(portrait, pose):
    dark = (portrait * 0.4).astype(np.uint8)
    white, dimmed = (mouth_of(worn(image, pose, WHITE), pose).mean() for image in (portrait, dark))
    assert 0.45 * white < dimmed < 0.9 * white


def test_masks_have_no_colour_in_photos_without_any(portrait, pose):
    grey = cv2.cvtColor(cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert np.ptp(mouth_of(worn(grey, pose, GREEN), pose)) <= 3
    assert np.ptp(mouth_of(worn(portrait, pose, GREEN), pose)) > 60


def test_masks_are_as_blurred_as_the_photo(portrait, pose):
    blurred = cv2.GaussianBlur(portrait, (0, 0), 2.5)
    sharpness = [
        cv2.Laplacian(worn(image, pose, WHITE)[240:300, 225:305], cv2.CV_32F).std() for image in (portrait, blurred)
    ]
    assert sharpness[1] < 0.5 * sharpness[0]


def test_blur_and_noise_of_a_photo_are_measured(portrait):
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    blurs = [light.photo_blur(light.blurred(grey, sigma)) for sigma in (0, 1.0, 2.0)]
    assert blurs == sorted(blurs)
    assert blurs[0] < blurs[1] - 0.3
    rng = np.random.default_rng(0)
    flat = np.full((80, 80, 3), 120.0)
    strengths = [
        light.photo_noise(np.clip(flat + sigma * rng.standard_normal(flat.shape), 0, 255).astype(np.uint8), rng).std()
        for sigma in (0, 3, 6)
    ]
    assert strengths == sorted(strengths)
    assert strengths[2] > 2 * strengths[0]


def test_there_are_masks_of_many_kinds():
    looks = [random_look(np.random.default_rng(seed)) for seed in range(200)]
    assert {look.style for look in looks} == {"surgical", "ffp2", "cloth"}
    assert len({(look.style, look.colour_name) for look in looks}) > 12
    assert len({look.pattern for look in looks}) == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [5, 12, 150])
def test_faces_of_every_size_get_masks_in_every_style(kind, unit):
    skin = np.full((400, 400, 3), SKIN, np.uint8)
    for seed in range(4):
        drawn = put_on(skin, posed(unit=unit), kind, np.random.default_rng(seed))
        assert (drawn.image != skin).any()


# Cloth from photos


def test_cloth_is_cut_out_of_a_worn_mask_and_worn_by_another_face(portrait, pose):
    masked = worn(portrait, pose, GREEN)
    swatch = cut_swatch(masked, pose, "green.jpg")
    assert swatch
    assert swatch.photo == "green.jpg"
    blue, green, red = np.median(swatch.pixels.reshape(-1, 3), axis=0)
    assert green > 1.6 * max(blue, red)

    looks = [random_look(np.random.default_rng(seed), [swatch]) for seed in range(40)]
    photographed = [look for look in looks if look.swatch]
    assert 10 < len(photographed) < 30
    rng = np.random.default_rng(0)
    image = draw_on(portrait, pose, random_shape("correct", False, rng), photographed[0], 1.0, rng).image
    blue, green, red = mouth_of(image, pose)
    assert green > 1.4 * max(blue, red)


def test_cloth_comes_from_large_masked_faces_that_look_into_the_camera(portrait, pose):
    masked = worn(portrait, pose, GREEN)
    assert cut_swatch(portrait, pose, "bare.jpg") is None
    small = cv2.resize(masked, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert cut_swatch(small, pose.moved(np.zeros(2), np.full(2, 0.25)), "small.jpg") is None
    assert cut_swatch(masked, Pose(pose.origin, posed(yaw=35).axes), "turned.jpg") is None
    assert cut_swatch(masked[:300], pose, "cut off.jpg") is None
