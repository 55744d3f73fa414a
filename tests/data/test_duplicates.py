"""Copies and near-duplicates: what counts as one, what doesn't, and that results are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.data import duplicates
from mask_detection.data.duplicates import content_hashes, find_groups

SIZE = 160  # px, side of the generated scenes


def scene(seed: int) -> np.ndarray:
    """An image of 60 random shapes, (SIZE, SIZE, 3) BGR uint8; no two seeds give the same."""
    random = np.random.default_rng(seed)
    image = np.full((SIZE, SIZE, 3), random.integers(60, 200, 3), np.uint8)
    for _ in range(30):
        (x, y, x2, y2), radius = random.integers(0, SIZE, 4).tolist(), int(random.integers(3, 14))
        colours = random.integers(0, 256, (2, 3)).tolist()
        cv2.circle(image, (x, y), radius, colours[0], cv2.FILLED, cv2.LINE_AA)
        cv2.line(image, (x2, y2), (x2 + radius, y2 - 2 * radius), colours[1], 3, cv2.LINE_AA)
    return image


def turned(image: np.ndarray, degrees: float = 0, shift: float = 0, scale: float = 1) -> np.ndarray:
    """Turn and scale about the centre, and shift by a part of the side; the border repeats outwards."""
    height, width = image.shape[:2]
    affine = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    affine[:, 2] += shift * width, -shift * height
    return cv2.warpAffine(image, affine, (width, height), borderMode=cv2.BORDER_REPLICATE)


def encoded_anew(image: np.ndarray, quality: int = 40) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def with_drawing(image: np.ndarray) -> np.ndarray:
    """Paste the same drawing, rich in detail, on the lower middle: a quarter of the image."""
    result, side = image.copy(), SIZE // 2
    top, left = SIZE // 2 - 8, SIZE // 4
    result[top : top + side, left : left + side] = scene(10_000)[:side, :side]
    return result


def random_copy(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Turn by up to 20 degrees, shift by up to a tenth, mirror every other time, encode anew."""
    height, width = image.shape[:2]
    affine = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-20, 20), 1)
    affine[:, 2] += random.uniform(-0.1, 0.1, 2) * (width, height)
    border = int(random.choice([cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT]))
    copy = cv2.warpAffine(image, affine, (width, height), borderMode=border)
    return encoded_anew(cv2.flip(copy, 1) if random.random() < 0.5 else copy, int(random.integers(40, 90)))


COPIES = {
    "encoded anew": encoded_anew,
    "shifted": lambda image: turned(image, shift=0.1),
    "turned": lambda image: turned(image, degrees=20),
    "scaled": lambda image: turned(image, scale=1.3),
    "mirrored": lambda image: cv2.flip(image, 1),
    "smaller": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "stretched": lambda image: cv2.resize(image, None, fx=1.2, fy=0.9),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 1.5),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=0.7, beta=50),
    "drawn over": with_drawing,
    "all at once": lambda image: encoded_anew(cv2.flip(turned(image, -20, -0.1), 1)),
}


@pytest.fixture
def group(tmp_path: Path) -> Callable[..., list[int]]:
    """A function that writes images to files and groups them."""

    def of(*images: np.ndarray) -> list[int]:
        return find_groups(write(tmp_path, images), tmp_path / "cache").tolist()

    return of


def write(folder: Path, images: list[np.ndarray] | tuple[np.ndarray, ...]) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    return paths


def recompute_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(path: Path) -> np.ndarray:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(duplicates, "read_image", decode)


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_joins_its_original_and_nothing_else(kind: str, group) -> None:
    scenes = [scene(seed) for seed in range(8)]
    groups = group(*scenes, COPIES[kind](scenes[3]))
    assert groups[8] == groups[3]
    assert len(set(groups)) == 8


def test_copies_of_a_copy_are_one_group(group) -> None:
    first = turned(scene(0), degrees=15)
    groups = group(scene(0), first, turned(first, degrees=15), scene(1))
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_the_same_drawing_on_different_images_makes_no_copies(group) -> None:
    assert len(set(group(*(with_drawing(scene(seed)) for seed in range(8))))) == 8


def test_a_portrait_and_its_crop_are_near_copies_but_other_places_of_it_are_not(portrait: np.ndarray, group) -> None:
    face, closer = portrait[50:300, 120:370], portrait[70:270, 140:340]
    uniform, flag = portrait[350:600, 100:350], portrait[100:350, 0:120]
    groups = group(face, closer, cv2.flip(closer, 1), uniform, flag)
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 3


def test_same_bytes_are_copies_even_without_anything_to_compare(group) -> None:
    grey, darker = np.full((50, 60, 3), 128, np.uint8), np.full((50, 60, 3), 90, np.uint8)
    groups = group(grey, darker, grey)
    assert groups[0] == groups[2] != groups[1]


def test_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    paths = write(tmp_path, [scene(0), scene(1), cv2.flip(scene(0), 1), scene(2), turned(scene(1), 10)])
    forwards = find_groups(paths, tmp_path / "one")
    backwards = find_groups(paths[::-1], tmp_path / "other")[::-1]
    assert np.array_equal(forwards, backwards)
    assert sorted(set(forwards.tolist())) == [0, 1, 2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_odd_shapes_do_no_harm(shape: tuple[int, int], group) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert len(set(group(noise, scene(0), scene(1)))) == 3


def test_unreadable_files_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    paths = [*write(tmp_path, [scene(0), cv2.flip(scene(0), 1)]), tmp_path / "text.jpg", tmp_path / "missing.jpg"]
    groups = find_groups(paths, tmp_path / "cache")
    assert groups[0] == groups[1]
    assert len(set(groups.tolist())) == 3


@pytest.mark.parametrize("count", [0, 1])
def test_few_files(count: int, tmp_path: Path) -> None:
    groups = find_groups(write(tmp_path, [scene(0)] * count), tmp_path / "cache")
    assert groups.tolist() == [0] * count
    assert groups.dtype.kind == "i"


def test_content_hashes_tell_bytes_apart(tmp_path: Path) -> None:
    paths = write(tmp_path, [scene(0), scene(1), scene(0)])
    first, second, third = content_hashes(paths)
    assert first == third != second
    assert len(first) == 64


def test_progress_is_not_shown_where_no_terminal_is(group, capsys: pytest.CaptureFixture[str]) -> None:
    group(scene(0), scene(1))
    assert capsys.readouterr() == ("", "")


def test_a_second_run_reads_the_kept_result_wherever_the_files_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, moved = [scene(0), scene(1), cv2.flip(scene(1), 1)], tmp_path / "moved"
    moved.mkdir()
    groups = find_groups(write(tmp_path, images), tmp_path / "cache")
    recompute_nothing(monkeypatch)
    assert np.array_equal(find_groups(write(moved, images), tmp_path / "cache"), groups)


def test_the_users_cache_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "cache_folder", lambda: tmp_path / "cache")
    find_groups(write(tmp_path, [scene(0)]))
    assert list((tmp_path / "cache").iterdir())


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    before = find_groups(write(tmp_path, [scene(0), scene(1)]), tmp_path / "cache")
    after = find_groups(write(tmp_path, [scene(0), cv2.flip(scene(0), 1)]), tmp_path / "cache")
    assert before[0] != before[1]
    assert after[0] == after[1]


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_cache_is_ignored(damage: bytes | None, tmp_path: Path) -> None:
    paths, cache = write(tmp_path, [scene(0), scene(1), cv2.flip(scene(1), 1)]), tmp_path / "cache"
    groups = find_groups(paths, cache)
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-40] if damage is None else damage)
    assert np.array_equal(find_groups(paths, cache), groups)


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    paths = write(tmp_path, [scene(0), cv2.flip(scene(0), 1)])
    assert find_groups(paths, tmp_path / "file" / "cache").tolist() == [0, 0]


def test_small_face_crops(shared: Path, tmp_path: Path) -> None:
    """150 crops of each class with a made copy of each; in without_mask hardly a photo occurs twice."""
    random = np.random.default_rng(0)
    crops = {name: sorted((shared / "kaggle12k" / name).iterdir())[::6][:150] for name in ("without_mask", "with_mask")}
    originals = [path for paths in crops.values() for path in paths]
    copies = write(tmp_path, [random_copy(cv2.imread(str(path)), random) for path in originals])
    groups = find_groups([*originals, *copies], tmp_path / "cache")
    assert np.mean(groups[:300] == groups[300:]) >= 0.95
    with_partner = np.unique(groups[:150], return_counts=True)[1]
    assert with_partner[with_partner > 1].sum() <= 0.01 * 150
    assert not np.isin(groups[:150], groups[150:300]).any()
