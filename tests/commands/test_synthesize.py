"""The command that puts masks on bare faces: what it writes, that it is the same every time, and what goes wrong."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands.synthesize import main
from mask_detection.data import dataset
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.data.synthesis import photos
from mask_detection.models.load import load_face_detector
from tests.helpers import portrait as sitter

GREEN = (60, 190, 60)


class StandIn:
    """Knows the portrait's landmarks."""

    find_landmarks = staticmethod(sitter.find_landmarks)


@pytest.fixture
def known_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mask_detection.models.load.load_face_detector", lambda *_: StandIn())


@pytest.fixture
def source(tmp_path: Path, portrait: np.ndarray, known_face: None) -> Path:
    """Three photos of one bare face each, all different, one of them in a subfolder."""
    folder = tmp_path / "bare"
    for name, gain in (("a.png", 1.0), ("b.png", 0.8), ("more/c.png", 0.6)):
        save(folder / name, portrait, gain)
    return folder


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "synthetic"


def save(path: Path, portrait: np.ndarray, gain: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), cv2.convertScaleAbs(small, alpha=gain))
    return path


def synthesize(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "faces.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def left_out(folder: Path) -> dict[str, str]:
    with (folder / "left_out.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def crops(folder: Path) -> dict[str, str]:
    """The crops' hashes by their names."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.jpg"))
    }


# What it writes


def test_each_face_gets_a_crop_of_each_kind_in_its_class_folder(source, destination, capsys):
    assert synthesize(source, destination, "--per-face", 4) == 0
    names = ("a_1", "b_1", "more_c_1")
    wrong = [f"mask_weared_incorrect/{name}_{kind}.jpg" for name in names for kind in ("chin", "nose", "tip")]
    assert list(crops(destination)) == wrong + [f"with_mask/{name}_correct.jpg" for name in names]
    assert capsys.readouterr().out.splitlines() == [
        f"{destination / 'mask_weared_incorrect'}: 9 images",
        f"{destination / 'with_mask'}: 3 images",
        f"excluded: nothing; see {destination / 'left_out.csv'}",
    ]
    assert dataset.scan([destination]).class_counts == {"mask_weared_incorrect": 9, "with_mask": 3}


def test_a_list_says_what_was_done_to_which_face(source, destination):
    assert synthesize(source, destination, "--kinds", "nose", "--seed", 7) == 0
    first = rows(destination)[0]
    assert list(first) == list(photos.FACE_COLUMNS)
    box = [int(first[name]) for name in ("x1", "y1", "x2", "y2")]
    assert box == (sitter.BOX * 0.5).round().astype(int).tolist()
    assert [row["photo"] for row in rows(destination)] == ["a.png", "b.png", "more/c.png"]
    assert [row["fold"] for row in rows(destination)] == [FOLDS[fold_of(name)] for name in ("a.png", "b.png", "c.png")]
    assert (first["file"], first["face"], first["kind"]) == ("mask_weared_incorrect/a_1_nose.jpg", "1", "nose")
    assert first["style"] in ("surgical", "ffp2", "cloth")
    assert abs(float(first["yaw"])) < 15
    assert abs(float(first["roll"])) < 5
    assert len({row["seed"] for row in rows(destination)}) == 3


def test_a_crop_is_the_square_that_detection_cuts_out_with_a_mask_in_it(source, destination, portrait):
    assert synthesize(source, destination, "--kinds", "correct") == 0
    crop = cv2.imread(str(destination / "with_mask" / "a_1_correct.jpg"))
    x1, y1, x2, y2 = 63, 40, 200, 178  # of the box at half size, 87 x 106 pixels, with 0.15 of 106 around it
    bare = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[y1:y2, x1:x2]
    assert crop.shape == bare.shape
    difference = np.abs(crop.astype(int) - bare).mean(axis=2)
    assert difference[:25].mean() < 4  # brow and hair
    assert difference[75:110, 50:90].mean() > 25  # the mouth


def test_a_face_gets_different_kinds_first_and_then_moved_boxes(source, destination):
    assert synthesize(source, destination, "--kinds", "nose", "tip", "--per-face", 4) == 0
    kinds = [row["kind"] for row in rows(destination) if row["photo"] == "a.png"]
    assert sorted(kinds[:2]) == sorted(kinds[2:]) == ["nose", "tip"]
    boxes = {
        Path(row["file"]).name: (row["x1"], row["y1"], row["x2"], row["y2"])
        for row in rows(destination)
        if row["photo"] == "a.png"
    }
    assert boxes["a_1_nose.jpg"] == boxes["a_1_tip.jpg"] != boxes["a_1_nose_2.jpg"]


def test_large_faces_are_scaled_down(source, destination):
    assert synthesize(source, destination, "--kinds", "tip", "--size", 48) == 0
    for path in destination.rglob("*.jpg"):
        assert min(cv2.imread(str(path)).shape[:2]) == 48


def test_a_contact_sheet_shows_the_kinds_below_each_other(source, destination):
    assert synthesize(source, destination, "--per-face", 4) == 0
    sheet = cv2.imread(str(destination / "contact_sheet.png"))
    assert sheet.shape == (4 * photos.SHEET_TILE, photos.SHEET_COLUMNS * photos.SHEET_TILE, 3)
    tiles = sheet.reshape(4, photos.SHEET_TILE, photos.SHEET_COLUMNS, photos.SHEET_TILE, 3)
    assert (tiles[:, :, :3].std(axis=(1, 3, 4)) > 10).all()
    assert (tiles[:, :, 3:] == photos.SHEET_GREY).all()


# The same every time


def test_crops_depend_neither_on_other_photos_nor_on_names_nor_on_threads(
    source, destination, tmp_path, portrait, monkeypatch
):
    assert synthesize(source, destination, "--per-face", 3) == 0
    alone = tmp_path / "alone"
    save(alone / "renamed.png", portrait, 0.8)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert synthesize(alone, tmp_path / "again", "--per-face", 3) == 0
    renamed = {name.replace("renamed", "b"): digest for name, digest in crops(tmp_path / "again").items()}
    assert renamed
    assert renamed.items() <= crops(destination).items()


def test_another_seed_gives_other_masks(source, destination, tmp_path):
    assert synthesize(source, destination, "--kinds", "nose") == 0
    assert synthesize(source, tmp_path / "other", "--kinds", "nose", "--seed", 2) == 0
    assert crops(destination).keys() == crops(tmp_path / "other").keys()
    assert not set(crops(destination).values()) & set(crops(tmp_path / "other").values())


def test_a_second_run_finishes_the_first_and_gives_the_same_bytes(source, destination, run):
    assert synthesize(source, destination, "--per-face", 2) == 0
    whole = {path: path.read_bytes() for path in destination.rglob("*") if path.is_file()}
    lost = [*sorted(destination.rglob("*.jpg"))[:4], destination / "faces.csv"]
    for path in lost:
        path.unlink()

    outcome = run(main, source, destination, "--per-face", 2)

    assert outcome == (0, [])  # its own files are no strangers
    assert {path: path.read_bytes() for path in destination.rglob("*") if path.is_file()} == whole


def test_interrupted_it_leaves_whole_crops_and_a_list_of_them(source, destination, monkeypatch, capsys):
    drawn = photos.put_on
    calls: Iterator[int] = iter(range(100))

    def interrupted(*arguments):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return drawn(*arguments)

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(photos, "put_on", interrupted)
    assert synthesize(source, destination, "--per-face", 3) == 130
    assert capsys.readouterr().err.splitlines() == ["interrupted"]
    listed = [row["file"] for row in rows(destination)]
    assert len(listed) == 3
    assert set(listed) <= crops(destination).keys()
    assert all(cv2.imread(str(path)) is not None for path in destination.rglob("*.jpg"))


# Which faces, and cloth


def annotate(folder: Path, stem: str, labels: tuple[str, ...]) -> None:
    """Write a VOC file for photos of the portrait, one below the other, at half size."""
    boxes = [(sitter.BOX + np.array([0, 600 * i, 0, 600 * i])) // 2 for i in range(len(labels))]
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, (x1, y1, x2, y2) in zip(labels, boxes, strict=True)
    )
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}.xml").write_text(f"<annotation>{objects}</annotation>")


def with_green_mask(portrait: np.ndarray) -> np.ndarray:
    masked = portrait.copy()
    cv2.fillConvexPoly(masked, np.array([(190, 225), (345, 225), (335, 300), (270, 345), (200, 300)]), GREEN)
    return masked


def test_with_annotations_only_bare_faces_get_masks_and_masked_ones_give_cloth(
    tmp_path, destination, portrait, known_face
):
    save(tmp_path / "street" / "two.png", np.vstack([with_green_mask(portrait), portrait]))
    annotate(tmp_path / "boxes", "two", ("with_mask", "without_mask"))
    arguments = tmp_path / "street", destination, "--annotations", tmp_path / "boxes"
    assert synthesize(*arguments, "--kinds", "tip", "--per-face", 8) == 0
    assert {row["face"] for row in rows(destination)} == {"2"}
    photographed = [row for row in rows(destination) if row["style"] == "photographed"]
    assert 0 < len(photographed) < 8
    for row in photographed:
        assert row["cloth_from"] == "two.png"
        assert int(row["green"]) > 1.5 * max(int(row["blue"]), int(row["red"]))


def test_cloth_comes_from_photos_of_the_same_fold(source, destination, tmp_path, portrait):
    names = [f"{number}.png" for number in range(40)]
    same, other = (
        next(name for name in names if (fold_of(name) == fold_of("a.png")) is wanted) for wanted in (True, False)
    )
    for name in (same, other):
        save(tmp_path / "cloth" / name, with_green_mask(portrait))
    assert synthesize(source, destination, "--cloth-from", tmp_path / "cloth", "--kinds", "nose", "--per-face", 8) == 0
    used = {(row["photo"], row["cloth_from"]) for row in rows(destination) if row["style"] == "photographed"}
    assert ("a.png", same) in used
    assert ("a.png", other) not in used


def test_a_fold_can_be_excluded(source, destination):
    fold = FOLDS[fold_of("a.png")]
    expected = [name for name in ("a.png", "b.png", "c.png") if FOLDS[fold_of(name)] != fold]
    assert synthesize(source, destination, "--leave-out-fold", fold) == 0
    assert [Path(row["photo"]).name for row in rows(destination)] == expected
    assert left_out(destination)["a.png"] == f"is in fold {fold}"


def test_masks_that_would_leave_the_crop_are_excluded(tmp_path, destination, portrait, known_face, monkeypatch):
    tight = portrait[60:320, 140:390]  # ends at the chin
    save(tmp_path / "tight" / "a.png", tight)
    monkeypatch.setattr(StandIn, "find_landmarks", staticmethod(lambda image: shifted(image, (140, 60))))
    assert synthesize(tmp_path / "tight", destination, "--kinds", "chin", "nose", "--per-face", 2) == 0
    assert [row["kind"] for row in rows(destination)] == ["nose"]
    assert left_out(destination) == {"a.png": "face 1, chin, would leave the crop"}


def shifted(image: np.ndarray, corner: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The portrait's face in a part of it at half size."""
    box = np.clip((sitter.BOX - np.tile(corner, 2)) // 2, 0, np.tile(image.shape[1::-1], 2))
    return box[None], np.ones(1, np.float32), ((sitter.LANDMARKS - corner) / 2)[None]


def test_small_faces_are_excluded(source, destination, errors):
    assert synthesize(source, destination, "--min-size", 200) == 2
    (error,) = errors()
    assert error.endswith(f"nothing of it is left to write; see the reasons in {destination / 'left_out.csv'}")
    assert left_out(destination)["b.png"] == "face 1, has only 87 x 106 pixels"


# What goes wrong


def test_what_cannot_be_read_is_named_and_the_rest_done(source, destination, tmp_path, errors):
    (source / "broken.jpg").write_bytes(b"no image")
    (source / "empty.png").touch()
    (tmp_path / "cloth").mkdir()
    (tmp_path / "cloth" / "torn.jpg").write_bytes(b"no image")
    assert synthesize(source, destination, "--cloth-from", tmp_path / "cloth") == 1
    assert [line.split(": ")[1] for line in errors()] == [
        str(tmp_path / "cloth" / "torn.jpg"), str(source / "broken.jpg"), str(source / "empty.png"),
    ]  # fmt: skip
    assert len(crops(destination)) == 3


def test_photos_without_faces_are_listed(source, destination):
    cv2.imwrite(str(source / "wall.png"), np.full((90, 200, 3), 120, np.uint8))
    assert synthesize(source, destination) == 0
    assert left_out(destination) == {"wall.png": "has no bare face that the detector finds"}


@pytest.mark.parametrize(
    ("prepare", "fault"),
    [
        (lambda source, destination: (source / "nowhere", destination), "there is no such folder"),
        (lambda source, destination: (source, source / "inside"), "overlaps with"),
        (lambda source, destination: (source, source.parent), "overlaps with"),
        (lambda source, destination: (source, destination, "--annotations", source), "no .xml or .txt file"),
        (lambda source, destination: (source, destination, "--cloth-from", source / "nowhere"), "holds no images"),
    ],
)
def test_nothing_can_be_done(source, destination, errors, prepare, fault):
    assert synthesize(*prepare(source, destination)) == 2
    (error,) = errors()
    assert fault in error


def test_a_folder_with_other_things_in_it_is_refused(source, destination, errors):
    destination.mkdir()
    (destination / "mine.txt").write_text("keep me")
    assert synthesize(source, destination) == 2
    (error,) = errors()
    assert "is not empty and not of an earlier run" in error


@pytest.mark.parametrize("arguments", [("--kinds", "ear"), ("--per-face", 0), ("--leave-out-fold", "F")])
def test_wrong_arguments_are_refused(source, destination, arguments):
    with pytest.raises(SystemExit) as exit_:
        synthesize(source, destination, *arguments)
    assert exit_.value.code == 2


# With the real network


def test_yunet_finds_the_face_to_put_masks_on(tmp_path, destination, portrait, shared):
    save(tmp_path / "bare" / "a.png", portrait)
    arguments = tmp_path / "bare", destination, "--face", shared / "face_detector"
    assert synthesize(*arguments, "--per-face", 4) == 0
    assert len(crops(destination)) == 4


def test_yunets_landmarks_are_where_they_are(portrait, shared):
    yunet = load_face_detector("yunet", shared / "face_detector", 0.6)
    boxes, confidences, landmarks = yunet.find_landmarks(portrait)
    assert (boxes.shape, confidences.shape, landmarks.shape) == ((1, 4), (1,), (1, 5, 2))
    np.testing.assert_array_equal(boxes, yunet.detect(portrait)[0])
    np.testing.assert_allclose(landmarks[0], sitter.LANDMARKS, atol=4)
    nothing = yunet.find_landmarks(np.full((300, 400, 3), 90, np.uint8))
    assert [found.shape for found in nothing] == [(0, 4), (0,), (0, 5, 2)]
