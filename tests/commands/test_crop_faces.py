"""Faces cut out of annotated photos."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mask_detection.__main__ import main as run_command
from mask_detection.commands.crop_faces import main
from mask_detection.data.folds import FOLDS, fold_of
from tests.helpers.data_sets import (
    EXIF_ORIENTATION,
    gradient,
    hashes,
    left_out,
    made,
    rows,
    save,
    size_of,
    write,
)
from tests.helpers.outcomes import the_only_line
from tests.helpers.paths import SHARED

STREET = SHARED / "street"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "clean"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """Two VOC photos of 200 x 100: one with two faces, one with a small face."""
    folder = tmp_path / "street"
    save(folder / "images" / "group.jpg", 200, 100, seed=1)
    save(folder / "images" / "far.png", 200, 100, seed=2)
    faces = ("with_mask", 20, 10, 60, 70), ("without_mask", 100, 0, 200, 100)
    write(folder / "annotations" / "group.xml", voc(*faces))
    write(folder / "annotations" / "far.xml", voc(("with_mask", 0, 0, 11, 30), ("with_mask", 20, 20, 32, 40)))
    return folder


def voc(*faces: tuple[str, int, int, int, int]) -> str:
    tags = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in faces
    )
    return f"<annotation><size><width>200</width><height>100</height></size>{tags}</annotation>"


def test_faces_become_class_folders(street, destination):
    before = hashes(street)

    assert run(street, destination, "--margin", 0) == 0
    assert made(destination) == ["with_mask/far_2.jpg", "with_mask/group_1.jpg", "without_mask/group_2.jpg"]
    assert size_of(destination / "with_mask" / "group_1.jpg") == (60, 60)  # the square around 40 x 60
    crop = cv2.imread(str(destination / "with_mask" / "group_1.jpg"))
    photo = cv2.imread(str(street / "images" / "group.jpg"))
    assert np.abs(crop - photo[10:70, 10:70].astype(int)).mean() < 4
    assert left_out(destination) == {"images/far.png": ("face 1, with_mask, has only 11 x 30 pixels", "")}
    assert hashes(street) == before


@pytest.mark.parametrize("where", ["images", "."])
def test_the_source_may_be_the_photos_or_the_folder_above(street, destination, where):
    assert run(street / where, destination) == 0
    assert len(made(destination)) == 3


def test_the_older_spelling_still_works(street, destination):
    assert run_command(["prepare", str(street), str(destination), "--crops", "--margin", "0"]) == 0
    assert len(made(destination)) == 3


def test_size_margin_and_min_size(street, destination):
    assert run(street, destination, "--size", 50, "--margin", 0.5, "--min-size", 10) == 0
    sizes = {name: size_of(destination / name) for name in made(destination)}
    assert sizes == {
        "with_mask/far_1.jpg": (36, 45),  # cut off at the photo's left and upper edge
        "with_mask/far_2.jpg": (40, 40),
        "with_mask/group_1.jpg": (50, 50),  # 100 x 100 scaled down
        "without_mask/group_2.jpg": (75, 50),  # 150 x 100
    }


def test_yolo_labels_of_nested_folders(tmp_path, destination):
    for seed, name in enumerate(("train/1", "val/1")):
        save(tmp_path / "set" / "images" / f"{name}.jpg", 200, 100, seed=seed)
        write(tmp_path / "set" / "labels" / f"{name}.txt", f"{seed} 0.5 0.5 0.2 0.4\n")
    write(tmp_path / "set" / "data.yaml", "names: [with_mask, without_mask]\n")

    assert run(tmp_path / "set", destination, "--margin", 0) == 0
    assert made(destination) == ["with_mask/train_1_1.jpg", "without_mask/val_1_1.jpg"]
    assert size_of(destination / "with_mask" / "train_1_1.jpg") == (40, 40)


def test_annotations_may_lie_with_the_photos_or_be_named(street, tmp_path, destination):
    for file in (street / "annotations").iterdir():
        file.rename(street / "images" / file.name)
    (street / "annotations").rmdir()

    assert run(street / "images", destination) == 0
    assert len(made(destination)) == 3
    assert run(street, tmp_path / "again", "--annotations", street / "images") == 0
    assert len(made(tmp_path / "again")) == 3


def test_boxes_belong_to_the_photo_turned_upright(street, destination):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    save(street / "images" / "turned.jpg", 100, 200, seed=3, exif=exif)
    write(street / "annotations" / "turned.xml", voc(("with_mask", 120, 0, 200, 60)))

    assert run(street, destination, "--margin", 0) == 0
    crop = cv2.imread(str(destination / "with_mask" / "turned_1.jpg"))
    upright = np.asarray(gradient(100, 200, seed=3).transpose(Image.Transpose.ROTATE_270))[..., ::-1]
    assert np.abs(crop - upright[0:70, 120:200].astype(int)).mean() < 8


def test_photos_without_boxes_and_faulty_ones_are_listed(street, destination):
    for seed, name in enumerate(("no_file", "no_face", "broken", "outside")):
        save(street / "images" / f"{name}.jpg", 200, 100, seed=10 + seed)
    write(street / "annotations" / "no_face.xml", voc())
    write(street / "annotations" / "broken.xml", "<annotation>")
    write(street / "annotations" / "outside.xml", voc(("with_mask", 150, 0, 300, 50)))

    assert run(street, destination) == 1
    assert len(made(destination)) == 3
    reasons = {path: reason for path, (reason, _) in left_out(destination).items()}
    assert reasons["images/no_file.jpg"] == "has no annotation file"
    assert reasons["images/no_face.jpg"] == "has no marked face"
    assert "is broken XML" in reasons["images/broken.jpg"]
    assert "is not inside the photo" in reasons["images/outside.jpg"]


@pytest.mark.parametrize("label", ["../evil", "a/b", "..", ".hidden", "c:evil", "a\\b"])
def test_class_names_cannot_lead_elsewhere(street, destination, label):
    write(street / "annotations" / "group.xml", voc((label, 20, 10, 60, 70)))

    assert run(street, destination) == 1
    assert made(destination.parent / "clean") == ["with_mask/far_2.jpg"]
    assert "cannot be a class folder's name" in left_out(destination)["images/group.jpg"][0]


def test_copied_photos_are_cut_up_once(street, destination):
    for folder, suffix in (("images", "jpg"), ("annotations", "xml")):
        write(street / folder / f"group again.{suffix}", (street / folder / f"group.{suffix}").read_bytes())

    assert run(street, destination) == 0
    assert len(made(destination)) == 3
    assert left_out(destination)["images/group.jpg"] == ("is a copy", "images/group again.jpg")


def test_a_fold_can_be_left_out_with_all_its_copies(street, destination):
    folds = {name: FOLDS[fold_of(name)] for name in ("group.jpg", "far.png")}
    copy = next(name for i in range(99) if FOLDS[fold_of(name := f"{i}.jpg")] != folds["group.jpg"])
    write(street / "images" / copy, (street / "images" / "group.jpg").read_bytes())
    write(street / "annotations" / f"{Path(copy).stem}.xml", voc(("with_mask", 20, 10, 60, 70)))
    assert folds["far.png"] != folds["group.jpg"]

    assert run(street, destination, "--leave-out-fold", folds["group.jpg"]) == 0
    assert made(destination) == ["with_mask/far_2.jpg"]
    reason = f"is in fold {folds['group.jpg']}"
    listed = left_out(destination)
    assert listed["images/group.jpg"][0] == listed[f"images/{copy}"][0] == reason


def test_photos_that_pair_with_nothing_are_an_error(tmp_path, destination, capsys):
    save(tmp_path / "raw" / "1.jpg")
    assert run(tmp_path / "raw", destination) == 2
    assert "--annotations" in the_only_line(capsys)


@pytest.mark.skipif(not STREET.is_dir(), reason="no street photos in ../shared")
def test_real_street_photos(tmp_path, destination):
    (tmp_path / "images").mkdir()
    for photo in sorted((STREET / "images").iterdir())[:12]:
        shutil.copy(photo, tmp_path / "images")

    assert run(tmp_path / "images", destination, "--annotations", STREET / "annotations") == 0
    names = made(destination)
    texts = [(STREET / "annotations" / f"{photo.stem}.xml").read_text() for photo in (tmp_path / "images").iterdir()]
    assert len(names) + len(rows(destination)) == sum(text.count("<object>") for text in texts)
    assert len(names) >= 12
    assert all(12 <= min(size_of(destination / name)) <= 224 for name in names)


# Links, and names that are more than names


not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names and links")


@not_on_windows
def test_photos_and_annotations_behind_links_to_elsewhere_are_left_alone(street, destination, tmp_path):
    photo = save(tmp_path / "private.jpg", 200, 100, seed=3)
    boxes = write(tmp_path / "private.xml", voc(("with_mask", 20, 10, 60, 70)))
    (street / "images" / "photo.jpg").symlink_to(photo)
    write(street / "annotations" / "photo.xml", boxes.read_text())
    save(street / "images" / "boxes.jpg", 200, 100, seed=4)
    (street / "annotations" / "boxes.xml").symlink_to(boxes)

    assert run(street, destination) == 0
    listed = left_out(destination)
    assert listed["images/photo.jpg"][0].startswith("is a link out of the folder")
    assert listed["images/boxes.jpg"][0] == "has no annotation file"
    assert not [name for name in made(destination) if "photo" in name or "boxes" in name]


@not_on_windows
def test_a_folder_of_photos_that_is_a_link_to_elsewhere_is_refused(street, destination, tmp_path, capsys):
    (street / "images").rename(tmp_path / "elsewhere")
    (street / "images").symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    assert run(street, destination) == 2
    assert f"is a link out of {street}; name the folder that it leads to" in the_only_line(capsys)


@pytest.mark.parametrize("label", ["with\x1b[2Jmask", "with\u202emask"])
def test_class_names_that_command_a_terminal_are_faulty(street, destination, label, capsys):
    write(street / "labels" / "classes.txt", f"{label}\n")
    write(street / "labels" / "group.txt", "0 0.5 0.5 0.3 0.3\n")

    assert run(street, destination, "--annotations", street / "labels") == 2
    printed = capsys.readouterr().err
    assert "cannot be a class folder's name" in printed
    assert not {"\x1b", "\u202e"} & {*printed}
