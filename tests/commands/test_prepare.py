"""What prepare makes of images, and which names and links it takes."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.helpers.data_sets import (
    EXIF_ORIENTATION,
    gradient,
    hashes,
    left_out,
    made,
    prepare,
    save,
    size_of,
    write,
)

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names and links")


def test_class_folders_become_the_same_folders_of_jpeg_files(source, destination, capsys):
    before = hashes(source)

    assert prepare(source, destination) == 0
    assert made(destination) == ["with_mask/1.jpg", "with_mask/2.jpg", "without_mask/3.jpg", "without_mask/4.jpg"]
    assert left_out(destination) == {}
    assert hashes(source) == before
    report = capsys.readouterr()
    assert report.out.splitlines() == [
        f"{destination / 'with_mask'}: 2 images",
        f"{destination / 'without_mask'}: 2 images",
        f"excluded: nothing; see {destination / 'left_out.csv'}",
    ]
    assert report.err == ""


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("alpha.png", "RGBA", {}),
        ("grey.png", "L", {}),
        ("cmyk.jpg", "CMYK", {}),
        ("animation.gif", "L", {}),
        ("scan.tiff", "RGB", {"compression": "tiff_lzw"}),
        ("photo.dat", "RGB", {"format": "WEBP"}),
        ("no_suffix", "RGB", {"format": "PNG"}),
        ("wrong_suffix.png", "RGB", {"format": "BMP"}),
    ],
)
def test_every_format_becomes_a_colour_jpeg(source, destination, name, mode, options):
    path = source / "with_mask" / name
    gradient().convert(mode).save(path, **options)

    assert prepare(source, destination) == 0
    image = cv2.imread(str(destination / "with_mask" / f"{path.stem}.jpg"))
    expected = np.asarray(gradient().convert(mode).convert("RGB"))[..., ::-1].astype(int)
    assert image.shape == (30, 40, 3)
    assert np.abs(image - expected).mean() < 8


def test_16_bit_images_keep_their_brightness(source, destination):
    cv2.imwrite(str(source / "with_mask" / "deep.tiff"), np.full((30, 40), 0x8000, np.uint16))

    assert prepare(source, destination) == 0
    image = cv2.imread(str(destination / "with_mask" / "deep.jpg"))
    np.testing.assert_allclose(image, 0x80, atol=2)


def test_images_are_turned_upright(source, destination):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    save(source / "with_mask" / "turned.jpg", 40, 30, exif=exif)

    assert prepare(source, destination) == 0
    upright = destination / "with_mask" / "turned.jpg"
    assert size_of(upright) == (30, 40)
    with Image.open(upright) as image:
        assert image.getexif().get(EXIF_ORIENTATION, 1) == 1
        expected = np.asarray(gradient().transpose(Image.Transpose.ROTATE_270)).astype(int)
        assert np.abs(np.asarray(image) - expected).mean() < 8


@pytest.mark.parametrize(
    ("before", "after"),
    [((100, 60), (33, 20)), ((60, 100), (20, 33)), ((20, 20), (20, 20)), ((15, 90), (15, 90))],
)
def test_large_images_are_scaled_down_in_shape_and_small_ones_kept(source, destination, before, after):
    save(source / "with_mask" / "sized.png", *before)

    assert prepare(source, destination, "--size", 20) == 0
    assert size_of(destination / "with_mask" / "sized.jpg") == after


def test_an_image_too_long_for_jpeg_is_scaled_down(source, destination):
    save(source / "with_mask" / "long.png", 70_000, 2)

    assert prepare(source, destination) == 0
    assert size_of(destination / "with_mask" / "long.jpg") == (65_500, 2)


def test_faulty_files_are_named_and_left_out(source, destination, capsys):
    whole = save(source / "whole.png", 200, 200).read_bytes()
    write(source / "with_mask" / "empty.jpg", b"")
    write(source / "without_mask" / "empty.jpg", b"")
    write(source / "with_mask" / "text.jpg", "<html>404</html>")
    write(source / "with_mask" / "cut.png", whole[: len(whole) // 2])

    assert prepare(source, destination) == 1
    assert len(made(destination)) == 5
    listed = left_out(destination)
    assert set(listed) == {"with_mask/empty.jpg", "without_mask/empty.jpg", "with_mask/text.jpg", "with_mask/cut.png"}
    assert listed["with_mask/empty.jpg"][0].startswith("is empty (0 bytes)")
    assert listed["with_mask/text.jpg"][0].startswith("is not an image")
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert any(f"{source / 'with_mask' / 'text.jpg'}: is not an image" in line for line in errors)


def test_other_files_are_listed_and_hidden_ones_ignored(source, destination):
    write(source / "README.md", "about")
    write(source / "with_mask" / ".DS_Store", b"\0\0\0\1")
    write(source / ".cache" / "thumbnail.jpg", b"junk")

    assert prepare(source, destination) == 0
    assert left_out(destination) == {"README.md": ("is not an image", "")}


def test_of_copies_the_first_is_kept(source, destination):
    data = (source / "with_mask" / "1.jpg").read_bytes()
    write(source / "with_mask" / "0.jpg", data)
    write(source / "with_mask" / "copy of 1.png", data)

    assert prepare(source, destination) == 0
    assert made(destination) == ["with_mask/0.jpg", "with_mask/2.jpg", "without_mask/3.jpg", "without_mask/4.jpg"]
    assert left_out(destination) == {
        "with_mask/1.jpg": ("is a copy", "with_mask/0.jpg"),
        "with_mask/copy of 1.png": ("is a copy", "with_mask/0.jpg"),
    }


def test_copies_in_two_classes_are_all_left_out_with_a_warning(source, destination, capsys):
    write(source / "without_mask" / "1.jpg", (source / "with_mask" / "1.jpg").read_bytes())

    assert prepare(source, destination) == 0
    assert made(destination) == ["with_mask/2.jpg", "without_mask/3.jpg", "without_mask/4.jpg"]
    assert left_out(destination) == {
        "with_mask/1.jpg": ("has a copy in another class", "without_mask/1.jpg"),
        "without_mask/1.jpg": ("has a copy in another class", "with_mask/1.jpg"),
    }
    assert capsys.readouterr().err.count("warning: ") == 2


def test_a_class_in_two_splits_is_one_class(tmp_path, destination):
    original = save(tmp_path / "raw" / "Test" / "with_mask" / "1.png")
    write(tmp_path / "raw" / "Train" / "with_mask" / "7.png", original.read_bytes())
    save(tmp_path / "raw" / "Train" / "with_mask" / "8.png", seed=1)

    assert prepare(tmp_path / "raw", destination) == 0
    assert made(destination) == ["Test/with_mask/1.jpg", "Train/with_mask/8.jpg"]
    assert left_out(destination) == {"Train/with_mask/7.png": ("is a copy", "Test/with_mask/1.png")}


def test_names_that_would_be_the_same_get_numbers(tmp_path, destination):
    names = ("a.jpg", "a.png", "A.webp", "a_2.jpg", "a.part.jpg")
    for seed, name in enumerate(names):
        save(tmp_path / "raw" / name, 40 + seed, seed=seed)

    assert prepare(tmp_path / "raw", destination) == 0
    assert len({name.lower() for name in made(destination)}) == len(names)
    assert {size_of(destination / name)[0] for name in made(destination)} == {40, 41, 42, 43, 44}
    assert left_out(destination) == {}


def test_overlong_names_are_shortened(source, destination):
    save(source / "with_mask" / f"{'x' * 250}.jpg")

    assert prepare(source, destination) == 0
    assert f"with_mask/{'x' * 200}.jpg" in made(destination)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_that_are_not_utf8_become_so(source, destination, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mask_detection"), "propagate", False)  # pytest-xdist cannot send such names
    path = os.fsencode(source / "with_mask") + b"/caf\xe9\n.jpg"
    Path(os.fsdecode(path)).write_bytes(b"no image")
    save(Path(os.fsdecode(path.replace(b"\n", b""))))

    assert prepare(source, destination) == 1
    assert "with_mask/caf.jpg" in made(destination)
    assert os.fsdecode(b"with_mask/caf\xe9\n.jpg") in left_out(destination)
    assert "is not an image" in capfd.readouterr().err


def test_links_that_lead_in_a_circle_are_followed_once(source, destination):
    try:
        (source / "with_mask" / "back").symlink_to(source, target_is_directory=True)
        (source / "with_mask" / "dead.jpg").symlink_to(source / "gone.jpg")
    except OSError:
        pytest.skip("this system allows no links")

    assert prepare(source, destination) == 1
    assert len(made(destination)) == 4
    assert list(left_out(destination)) == ["with_mask/dead.jpg"]


@not_on_windows
def test_links_out_of_the_source_are_listed_and_not_followed(source, destination, tmp_path):
    private = save(tmp_path / "private" / "letter.jpg", seed=70)
    before = hashes(tmp_path / "private")
    (source / "with_mask" / "out.jpg").symlink_to(private)
    (source / "with_mask" / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    (source / "home").symlink_to(tmp_path / "private", target_is_directory=True)
    (source / "without_mask" / "inside.jpg").symlink_to(source / "with_mask" / "1.jpg")

    assert prepare(source, destination) == 0
    reason = "is a link out of the folder; copy what it leads to"
    listed = left_out(destination)
    for name in ("with_mask/out.jpg", "with_mask/nowhere.jpg", "home"):
        assert listed.pop(name) == (reason, "")
    assert set(listed) == {"with_mask/1.jpg", "without_mask/inside.jpg"}  # one photo in two classes
    assert made(destination) == ["with_mask/2.jpg", "without_mask/3.jpg", "without_mask/4.jpg"]
    assert hashes(tmp_path / "private") == before


@not_on_windows
def test_a_source_that_is_itself_a_link_is_followed(source, destination, tmp_path):
    (tmp_path / "link").symlink_to(source, target_is_directory=True)
    assert prepare(tmp_path / "link", destination) == 0
    assert len(made(destination)) == 4


@not_on_windows
def test_names_are_no_formulas_in_the_list(source, destination):
    formula = '=HYPERLINK("http:evil","x").jpg'
    write(source / formula, b"no image")
    write(source / "@copy.jpg", (source / "with_mask" / "1.jpg").read_bytes())

    assert prepare(source, destination) == 1
    listed = left_out(destination)
    assert f"'{formula}" in listed
    assert formula not in listed
    assert listed["with_mask/1.jpg"][1] == "'@copy.jpg"


@not_on_windows
def test_names_do_not_command_the_terminal(source, destination, capsys):
    name = "\x1b]0;owned\x07\u202e.jpg"
    write(source / "with_mask" / name, b"no image")
    save(source / "\x1b[2J" / "5.jpg", seed=5)

    assert prepare(source, destination) == 1
    printed = capsys.readouterr()
    assert "\\x1b]0;owned\\x07\\u202e.jpg: is not an image" in printed.err
    assert "\\x1b[2J: 1 images" in printed.out
    assert not {"\x1b", "\x07", "\u202e"} & {*printed.err, *printed.out}
    assert f"with_mask/{name}" in left_out(destination)
