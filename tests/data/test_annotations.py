from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mask_detection.data import annotations
from mask_detection.data.annotations import read_annotation, read_annotations, read_class_names
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import SHARED

STREET = SHARED / "street"
EXIF_ORIENTATION = 0x0112
NAMES = {0: "with_mask", 1: "without_mask"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.new("RGB", (200, 100)).save(path)
    return path


def voc(*objects: tuple[str, object, object, object, object], size: tuple[int, int] = (200, 100)) -> str:
    tags = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in objects
    )
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{tags}</annotation>"


def read(photo: Path, text: str | bytes, suffix: str):
    path = photo.with_suffix(suffix)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_annotation(photo, path, NAMES)


def test_voc_boxes_are_taken_as_they_stand(photo):
    annotation = read(photo, voc(("with_mask", 0, 0, 200, 100), ("without_mask", "10.5", 20, 30, 40)), ".xml")

    assert annotation.image == photo
    assert annotation.labels == ("with_mask", "without_mask")
    assert annotation.boxes.dtype == np.float32
    assert annotation.boxes.tolist() == [[0, 0, 200, 100], [10.5, 20, 30, 40]]


def test_yolo_fractions_become_pixels(photo):
    annotation = read(photo, "1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.2 0.2\r\n", ".txt")

    assert annotation.labels == ("without_mask", "with_mask")
    np.testing.assert_allclose(annotation.boxes, [[75, 25, 125, 75], [0, 0, 40, 20]], atol=1e-4)


@pytest.mark.parametrize(("suffix", "text"), [(".txt", ""), (".txt", "\n"), (".xml", voc())])
def test_an_empty_annotation_is_a_photo_without_faces(photo, suffix, text):
    annotation = read(photo, text, suffix)

    assert annotation.boxes.shape == (0, 4)
    assert annotation.boxes.dtype == np.float32
    assert annotation.labels == ()


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_boxes_belong_to_the_photo_as_displayed(tmp_path, suffix):
    image = Image.new("RGB", (100, 200))
    exif = image.getexif()
    exif[EXIF_ORIENTATION] = 6  # turned a quarter: displayed as 200 x 100
    photo = tmp_path / f"turned{suffix}"
    image.save(photo, exif=exif)

    assert read(photo, "0 0.5 0.5 1 1", ".txt").boxes.tolist() == [[0, 0, 200, 100]]
    with pytest.raises(MaskDetectionError, match="made for a photo of 100 x 200, this one is 200 x 100"):
        read(photo, voc(size=(100, 200)), ".xml")


def test_a_voc_file_may_leave_the_size_out(photo):
    assert read(photo, voc(("with_mask", 1, 2, 3, 4), size=(0, 0)), ".xml").labels == ("with_mask",)
    assert read(photo, "<annotation/>", ".xml").labels == ()


def test_rounding_over_the_edge_is_cut(photo):
    assert read(photo, voc(("with_mask", -1, 0, 201, 50)), ".xml").boxes.tolist() == [[0, 0, 200, 50]]
    assert read(photo, "0 0.5 0.5 1.0001 1", ".txt").boxes.tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "broken XML"),
        ("<annotation><object>", "broken XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "broken XML"),
        ("<html/>", "no VOC file"),
        ("<annotation><object><name>a</name></object></annotation>", "xmin of object 1 is None, not a number"),
        (voc(("a", 1, 2, "three", 4)), "xmax of object 1 is 'three', not a number"),
        (voc(("a", 1, 2, 3, 4), ("", 1, 2, 3, 4)), "object 2 has no <name>"),
        (voc(("a", 1, 2, 3, 4), ("a", 50, 2, 40, 4)), "box 2, .* corners are swapped"),
        (voc(("a", 5, 5, 5, 9)), "box 1, .* is empty"),
        (voc(("a", "nan", 5, 5, 9)), "box 1, .* is empty"),
        (voc(("a", 150, 10, 202, 20)), "not inside the photo of 200 x 100"),
        (voc(("a", 10, 10, "inf", 20)), "not inside the photo"),
        (voc(("a", 200, 10, 201, 20)), "empty inside the photo"),
        (voc(("a", 1, 2, 3, 4), size=(400, 200)), "made for a photo of 400 x 200"),
    ],
)
def test_faults_of_voc_files_are_named(photo, text, fault):
    with pytest.raises(MaskDetectionError, match=rf"street\.xml: .*{fault}.*; mend the file") as error:
        read(photo, text, ".xml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0 0.5 0.5 0.5", "line 1 has 4 values"),
        ("0 0.5 0.5 0.5 0.5 0.9", "line 1 has 6 values"),
        ("0 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5", "class '2' is not among the 2 class names"),
        ("-1 0.5 0.5 0.5 0.5", "class '-1' is not among"),
        ("face 0.5 0.5 0.5 0.5", "class 'face' is not among"),
        ("0 0.5 0,5 0.5 0.5", "line 1 is '0,5', not a number"),
        ("0 0.5 0.5 0 0.5", "is empty"),
        ("0 0.5 0.5 -0.1 0.5", "corners are swapped"),
        ("0 0.9 0.5 0.5 0.5", "not inside the photo"),
        ("0 100 50 20 20", "not inside the photo"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_faults_of_yolo_files_are_named(photo, text, fault):
    with pytest.raises(MaskDetectionError, match=rf"street\.txt: .*{fault}.*; mend the file"):
        read(photo, text, ".txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_cannot_define_entities(photo, encoding):
    bomb = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE annotation [<!ENTITY a "aaaaaaaa">'
        '<!ENTITY b "&a;&a;&a;">]><annotation><object><name>&b;</name></object></annotation>'
    )
    with pytest.raises(MaskDetectionError, match="DOCTYPE"):
        read(photo, bomb.encode(encoding), ".xml")


def test_a_huge_file_is_refused(photo, monkeypatch):
    monkeypatch.setattr(annotations, "MAX_ANNOTATION_BYTES", 100)
    with pytest.raises(MaskDetectionError, match="larger than 100 bytes"):
        read(photo, "0 0.5 0.5 0.5 0.5\n" * 10, ".txt")


def test_an_unreadable_photo_is_named(tmp_path):
    photo = tmp_path / "broken.jpg"
    photo.write_bytes(b"no image")
    with pytest.raises(MaskDetectionError, match=r"broken\.jpg"):
        read(photo, voc(), ".xml")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for name in ("b.jpg", "a.PNG", "c.jpg"):
        Image.new("RGB", (200, 100)).save(images / name)
    return images, labels


def test_a_folder_is_paired_by_name(folders, caplog):
    images, labels = folders
    (labels / "a.xml").write_text(voc(("with_mask", 1, 2, 3, 4)))
    (labels / "b.xml").write_text(voc())
    (labels / "d.xml").write_text(voc())
    with caplog.at_level(logging.WARNING, logger="mask_detection"):
        found = read_annotations(images, labels)

    assert [annotation.image.name for annotation in found] == ["a.PNG", "b.jpg"]
    assert [len(annotation.boxes) for annotation in found] == [1, 0]
    without_annotation, without_image = caplog.messages
    assert "c.jpg: without an annotation file" in without_annotation
    assert "d.xml: without an image" in without_image


def test_images_and_yolo_labels_may_share_a_folder(folders, caplog):
    images, _ = folders
    (images / "classes.txt").write_text("with_mask\nwithout_mask\n")
    for name in "abc":
        (images / f"{name}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    found = read_annotations(images, images)

    assert [annotation.labels for annotation in found] == [("without_mask",)] * 3
    assert not caplog.messages


def test_a_faulty_file_stops_the_reading_or_is_handed_over(folders):
    images, labels = folders
    (labels / "a.xml").write_text("<annotation>")
    (labels / "b.xml").write_text(voc())
    with pytest.raises(MaskDetectionError, match=r"a\.xml"):
        read_annotations(images, labels)

    errors: list[MaskDetectionError] = []
    found = read_annotations(images, labels, on_error=errors.append)
    assert [annotation.image.name for annotation in found] == ["b.jpg"]
    assert ["a.xml" in str(error) for error in errors] == [True]


def test_folders_that_do_not_fit_are_named(folders, tmp_path):
    images, labels = folders
    with pytest.raises(MaskDetectionError, match=r"named like an image in"):
        read_annotations(images, labels)
    with pytest.raises(MaskDetectionError, match=r"nowhere: cannot be listed"):
        read_annotations(images, tmp_path / "nowhere")
    (labels / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(MaskDetectionError, match=r"class names .* write one .* in .*classes\.txt"):
        read_annotations(images, labels, on_error=lambda error: None)


@pytest.mark.parametrize("place", ["labels/train", "labels", "."])
@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_class_names_stand_in_the_label_folder_or_above(tmp_path, place, name):
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (tmp_path / place / name).write_text("\ufeffwith_mask\r\nwithout_mask\r\n\r\n", encoding="utf-8")

    assert read_class_names(labels) == NAMES


@pytest.mark.parametrize(
    "text",
    [
        "names: [with_mask, without_mask]",
        "nc: 2\nnames: ['with_mask', \"without_mask\"]  # in order\nroboflow:\n  version: 1\n",
        "names: ['with_mask',\n        'without_mask']\nnc: 2\n",
        "names:\n- with_mask\n- without_mask\n",
        "train: ../images\n\nnames:\n  # the classes\n  0: with_mask\n  1: 'without_mask'\n\nnc: 2\n",
        "names: {1: without_mask, 0: with_mask}\n",
        "names:\n  1: without_mask\n  0: with_mask",
        "names: [\n  with_mask,\n  without_mask,\n]\nnc: 2",
    ],
)
def test_class_names_in_every_form_of_data_yaml(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    assert read_class_names(tmp_path) == NAMES


def test_any_yaml_with_names_is_read_and_names_stay_text(tmp_path):
    (tmp_path / "data.yaml").write_text("# set\nnames: &n ['a, b', no, 1.0, \"it's\", 2020-01-01]\nother: *n\n")
    assert read_class_names(tmp_path) == {0: "a, b", 1: "no", 2: "1.0", 3: "it's", 4: "2020-01-01"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nc: 2\n",
        "- with_mask\n",
        "names: []\n",
        "names: other.yaml\n",
        "names:\n  - a: {b: c}\n",
        "names: {first: a}\n",
        "names: {-1: a}\n",
        "names: ['']\n",
        "names: [a, [b]]\n",
        "names: [a\n",
        "names: [a]\n---\nnames: [b]\n",
        "names: &n [*n]\n",
        "? [a]\n: b\n",
        "names: " + 1000 * "[" + 1000 * "]",
    ],
)
def test_other_yaml_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(
        MaskDetectionError, match=r"data\.yaml: .*; write one class name a line in .*classes\.txt"
    ) as error:
        read_class_names(tmp_path)
    assert "\n" not in str(error.value)


def test_yaml_runs_no_code_and_a_bomb_of_aliases_stays_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.mkdir [made]\n")
    assert read_class_names(tmp_path) == {0: "made"}  # text like any other
    assert not (tmp_path / "made").exists()

    levels = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 50))  # 2**49 names if written out
    (tmp_path / "data.yaml").write_text(f"a0: &a0 [x, x]\n{levels}names: *a49\n")
    with pytest.raises(MaskDetectionError, match="class 0 no name") as error:
        read_class_names(tmp_path)
    assert len(str(error.value)) < 500


def test_a_file_of_class_names_is_not_read_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "MAX_CLASS_NAME_BYTES", 100)
    (tmp_path / "data.yaml").write_text("names: [" + "a, " * 50 + "]")
    with pytest.raises(MaskDetectionError, match="larger than 100 bytes"):
        read_class_names(tmp_path)


@pytest.mark.skipif(not STREET.is_dir(), reason="needs the street photos, in ../shared/street")
def test_the_street_set_reads_whole():
    found = read_annotations(STREET / "images", STREET / "annotations")

    assert len(found) == 1250
    assert Counter(label for annotation in found for label in annotation.labels) == {
        "with_mask": 1466,
        "without_mask": 1282,
        "mask_weared_incorrect": 380,
    }
