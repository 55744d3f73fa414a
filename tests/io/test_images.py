"""Image files as they come: every format, rotation and depth, damaged ones, odd names."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mask_detection.io import images
from mask_detection.io.images import can_write_format, is_image_file, read_image, write_image
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import FIXTURES

RED, GREEN, BLUE, YELLOW = (0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255)  # BGR
EXIF_ORIENTATION = 0x0112
# What a camera does to an image that is to be shown with this orientation: the inverse of what a viewer does.
AS_THE_CAMERA_HELD_IT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters() -> Image.Image:
    """Red, green, blue and yellow quarters, 80 wide and 48 high: turned or mirrored, it is never the same."""
    image = np.empty((48, 80, 3), np.uint8)
    image[:24, :40], image[:24, 40:], image[24:, :40], image[24:, 40:] = RED, GREEN, BLUE, YELLOW
    return Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def assert_quarters(image: np.ndarray, tolerance: int = 12) -> None:
    assert image.shape == (48, 80, 3)
    assert image.dtype == np.uint8
    centers = image[[12, 12, 36, 36], [20, 60, 20, 60]].astype(int)
    np.testing.assert_allclose(centers, [RED, GREEN, BLUE, YELLOW], atol=tolerance)


def the_fault(path: Path) -> str:
    with pytest.raises(MaskDetectionError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# --- what is meant is what arrives ---


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif", ".gif", ".jp2", ".ppm", ".tga"])
def test_colours_arrive_as_bgr_whatever_the_format(tmp_path, suffix):
    options = {"quality": 95, "subsampling": 0} if suffix == ".jpg" else {}
    assert_quarters(read_image(saved(tmp_path / f"quarters{suffix}", quarters(), **options)))


def test_the_content_counts_and_not_the_suffix(tmp_path):
    path = saved(tmp_path / "really_a.png", quarters(), format="JPEG", quality=95)
    assert_quarters(read_image(path))
    assert is_image_file(saved(tmp_path / "no_suffix", quarters(), format="PNG"))


@pytest.mark.parametrize("orientation", AS_THE_CAMERA_HELD_IT)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_rotation_is_applied(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = quarters().transpose(AS_THE_CAMERA_HELD_IT[orientation])
    assert_quarters(read_image(saved(tmp_path / f"held{suffix}", stored, exif=exif, quality=95)), tolerance=40)


@pytest.mark.parametrize(("mode", "suffix"), [("L", ".png"), ("L", ".jpg"), ("LA", ".png"), ("1", ".bmp")])
def test_grey_becomes_colour(tmp_path, mode, suffix):
    grey = Image.fromarray(np.repeat([[0, 255]], 16, axis=1).repeat(16, axis=0).astype(np.uint8))
    image = read_image(saved(tmp_path / f"grey{suffix}", grey.convert(mode)))
    assert image.shape == (16, 32, 3)
    np.testing.assert_allclose(image[8, [4, 28]], [[0] * 3, [255] * 3], atol=4)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", ".png"), ("RGBA", ".webp"), ("P", ".png"), ("RGBA", ".tif")])
def test_alpha_and_palettes_become_colour(tmp_path, mode, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    assert_quarters(read_image(saved(tmp_path / f"image{suffix}", quarters().convert(mode), **options)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), cv2.cvtColor(np.asarray(quarters()), cv2.COLOR_RGB2BGR).astype(np.uint16) * 257)
    assert_quarters(read_image(path))


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    path = tmp_path / "deep_grey.png"
    cv2.imwrite(str(path), np.full((9, 9), 100 * 257, np.uint16))
    assert np.all(read_image(path) == 100)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_colour(tmp_path, suffix):
    options = {"quality": 95, "subsampling": 0} if suffix == ".jpg" else {}
    assert_quarters(read_image(saved(tmp_path / f"print{suffix}", quarters().convert("CMYK"), **options)))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_the_first_image_of_an_animation(tmp_path, suffix):
    others = [Image.new("RGB", (80, 48), color) for color in ("white", "black")]
    path = saved(tmp_path / f"moving{suffix}", quarters(), save_all=True, append_images=others, duration=50)
    assert_quarters(read_image(path), tolerance=40)


@pytest.mark.parametrize("name", ["Käthe 😀 照片.jpg", "line\nbreak.jpg", "[brackets]*.jpg", "-dash.jpg", "a b.JPG"])
def test_names_of_any_kind(tmp_path, name):
    image = cv2.cvtColor(np.asarray(quarters()), cv2.COLOR_RGB2BGR)
    write_image(tmp_path / name, image)
    assert_quarters(read_image(tmp_path / name), tolerance=40)


# Pillow-heif made it of `quarters()`, as the camera held it, with the EXIF orientation 6.
TURNED_HEIC = FIXTURES / "turned.heic"


def test_photos_of_phones_are_read_upright(tmp_path):
    pytest.importorskip("pi_heif", reason="it is not made for this machine")
    assert_quarters(read_image(TURNED_HEIC))
    other = tmp_path / "IMG_0001"
    other.write_bytes(TURNED_HEIC.read_bytes())
    assert is_image_file(other)
    assert_quarters(read_image(other))


def test_photos_of_phones_that_are_cut_off_or_too_large_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("pi_heif", reason="it is not made for this machine")
    data = TURNED_HEIC.read_bytes()
    for length in (12, 100, len(data) // 2, len(data) - 50):
        (tmp_path / "cut.heic").write_bytes(data[:length])
        assert the_fault(tmp_path / "cut.heic").startswith("is not an image or is damaged")
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    assert the_fault(TURNED_HEIC).startswith("has more than 200 megapixels")


def test_without_the_library_photos_of_phones_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    assert "run `pip install pi-heif`, or save the photo as .jpg" in the_fault(TURNED_HEIC)


def test_only_images_count_as_image_files(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "script").write_text("%!PS-Adobe-3.0\n")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert not any(is_image_file(path) for path in tmp_path.iterdir())


# --- writing ---


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".webp", ".tif"])
def test_what_is_written_is_read_again(tmp_path, make_image, suffix):
    image, path = make_image(), tmp_path / f"image{suffix}"
    write_image(path, image)
    assert np.abs(read_image(path).astype(int) - image).mean() < 6
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["image", "image.txt", "image.pgm", "image.exr", "image.heic", "image.heif"])
def test_formats_that_cannot_be_written(tmp_path, make_image, name):
    assert not can_write_format(Path(name))
    with pytest.raises(MaskDetectionError, match=f"{name}: OpenCV writes no"):
        write_image(tmp_path / name, make_image())
    assert not list(tmp_path.iterdir())


def test_an_image_too_wide_for_its_format_leaves_the_old_one_alone(tmp_path):
    path = tmp_path / "wide.webp"
    path.write_bytes(b"what was here before")
    with pytest.raises(MaskDetectionError, match="20000 x 4 pixels"):
        write_image(path, np.zeros((4, 20_000, 3), np.uint8))
    assert path.read_bytes() == b"what was here before"
