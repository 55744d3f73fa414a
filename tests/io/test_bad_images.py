"""Bad and odd images through the script: one line for each bad one, and everything else is done all the same."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import detect_mask_image
from mask_detection.commands import cli
from mask_detection.io.images import read_image
from tests.helpers.images import png
from tests.helpers.outcomes import Outcome

EXIF_ORIENTATION = 0x0112
TURN_A_QUARTER = 6

DAMAGED = "is not an image or is damaged; open it in a viewer and save it again"
TOO_LARGE = "has more than 200 megapixels; scale it down"
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
NAMES = [
    "a b.jpg",
    'it\'s a "name".jpg',
    "😀 照片.jpg",
    "é.jpg",
    "e\u0301.jpg",  # the same to the eye
    "two\nlines.jpg",
    "-i.jpg",
    "[1] *,;%s.jpg",
    "\x1b[2J\x1b]0;owned\x07.jpg",
]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pillow_image(width: int = 80, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Smooth colours that no encoder finds easy."""
    coarse = np.random.default_rng(width * height).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)).convert(mode)


def tiff(width: int, height: int, bits: int, samples: int) -> bytes:
    """The start of a TIFF file that announces an image of this size."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 2 if samples > 1 else 1), (273, 8)]
    tags += [(277, samples), (278, height), (279, 50)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)


def announcing(width: int, height: int) -> dict[str, bytes]:
    """By suffix, about a hundred bytes that announce an image of this size."""
    return {
        "png": png(width, height, bytes(1000)),
        "jpg": b"\xff\xd8\xff\xc0"
        + struct.pack(">HBHHB", 17, 8, height, width, 3)
        + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
        + b"\xff\xda"
        + bytes(60)
        + b"\xff\xd9",
        "gif": b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + struct.pack("<cHHHHB", b",", 0, 0, width, height, 0)
        + bytes(70),
        "bmp": b"BM" + struct.pack("<IHHIIiiHH", 100, 0, 0, 54, 40, width, height, 1, 24) + bytes(70),
        "tif": tiff(width, height, 8, 1),
        "deep.tif": tiff(width, height, 16, 3),  # Pillow doesn't know such a one
        "ppm": b"P6 %d %d 255\n" % (width, height) + bytes(80),
        "tga": struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, height, 24, 0) + bytes(80),
    }


BAD: dict[str, tuple[bytes | None, str]] = {
    "missing.jpg": (None, "no such file; check the path"),
    "empty.jpg": (b"", "is empty (0 bytes), not an image; get the file again"),
    "letter.jpg": (b"dear diary\n" * 40, DAMAGED),
    "pointer.jpg": (LFS_POINTER, "is a Git-LFS pointer, not an image; run `git lfs pull` or get the file itself"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", DAMAGED),
    "start.jpg": (b"\xff\xd8\xff\xe0" + bytes(500), DAMAGED),
    # Formats that OpenCV reads, of any size, and whose shades are no 0..255.
    "radiance.hdr": (cv2.imencode(".hdr", np.full((9, 9, 3), 0.5, np.float32))[1].tobytes(), DAMAGED),
    "radiance.jpg": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 16000 +X 16000\n" + bytes(4000), DAMAGED),
    "float.pfm": (cv2.imencode(".pfm", np.full((9, 9, 3), 0.5, np.float32))[1].tobytes(), DAMAGED),
    "sun.ras": (cv2.imencode(".ras", np.zeros((9, 9, 3), np.uint8))[1].tobytes(), DAMAGED),
    "nowhere/of/any/kind.jpg": (None, "no such file; check the path"),
    "much too " + "long " * 60 + ".jpg": (None, "cannot be read (File name too long); check its permissions"),
    **{f"huge.{suffix}": (data, TOO_LARGE) for suffix, data in announcing(30_000, 30_000).items()},
}
WHOLE = {
    "jpg": encoded(pillow_image(160, 120), "JPEG"),
    "progressive.jpg": encoded(pillow_image(160, 120), "JPEG", progressive=True),
    "png": encoded(pillow_image(160, 120), "PNG"),
    "webp": encoded(pillow_image(160, 120), "WEBP"),
    "gif": encoded(pillow_image(160, 120), "GIF"),
    "bmp": encoded(pillow_image(160, 120), "BMP"),
    "tif": encoded(pillow_image(160, 120), "TIFF"),
}


def turned_by_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURN_A_QUARTER
    return exif


ODD: dict[str, tuple[bytes, tuple[int, int]]] = {  # with the width and height that they are to be seen in
    "really_a_jpeg.png": (encoded(pillow_image(), "JPEG"), (80, 48)),
    "really_a_png.jpg": (encoded(pillow_image(), "PNG"), (80, 48)),
    "one_pixel.png": (encoded(pillow_image(1, 1), "PNG"), (1, 1)),
    "one_row.png": (encoded(pillow_image(300, 1), "PNG"), (300, 1)),
    "one_column.jpg": (encoded(pillow_image(1, 300), "JPEG"), (1, 300)),
    "grey.jpg": (encoded(pillow_image(mode="L"), "JPEG"), (80, 48)),
    "black_and_white.bmp": (encoded(pillow_image(mode="1"), "BMP"), (80, 48)),
    "alpha.png": (encoded(pillow_image(mode="RGBA"), "PNG"), (80, 48)),
    "grey_alpha.png": (encoded(pillow_image(mode="LA"), "PNG"), (80, 48)),
    "sixteen_bits.png": (encoded(Image.fromarray(np.full((48, 80), 30_000, np.uint16)), "PNG"), (80, 48)),
    "cmyk.jpg": (encoded(pillow_image(mode="CMYK"), "JPEG"), (80, 48)),
    "animated.png": (encoded(pillow_image(), "PNG", save_all=True, append_images=[pillow_image(mode="L")]), (80, 48)),
    "animated.webp": (encoded(pillow_image(), "WEBP", save_all=True, append_images=[pillow_image(mode="L")]), (80, 48)),
    "turned.jpg": (encoded(pillow_image(), "JPEG", exif=turned_by_exif()), (48, 80)),
    "turned.webp": (encoded(pillow_image(), "WEBP", exif=turned_by_exif()), (48, 80)),
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def annotate(run, all_is_face, tiny_model, tmp_path, output) -> Callable[..., Outcome]:
    """A function that annotates photos and folders into ``output``, and describes them in ``records.jsonl``."""

    def annotate(*images: Path) -> Outcome:
        files = ["--image", *images, "--output", output, "--json", tmp_path / "records.jsonl"]
        return run(detect_mask_image.main, *files, "--model", tiny_model, "--no-display")

    return annotate


def failed(n_all: int, *images: Path) -> str:
    return f"{len(images)} of {n_all} photos failed: {', '.join(map(str, images))}"


# --- bad ones ---


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_one_line_and_leaves_nothing(annotate, tmp_path, output, name):
    content, fault = BAD[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    assert annotate(path) == Outcome(cli.EXIT_UNUSABLE, [f"error: {path}: {fault}"])

    (record,) = (tmp_path / "records.jsonl").read_text("utf-8").splitlines()
    assert json.loads(record) == {"image": str(path), "error": f"{path}: {fault}"}
    assert not output.exists()


@pytest.mark.parametrize("kind", WHOLE)
def test_an_image_cut_off_at_any_tenth_is_damaged(annotate, tmp_path, output, kind):
    size = len(WHOLE[kind])
    paths = [tmp_path / f"{tenths}.{kind}" for tenths in range(1, 10)]
    for tenths, path in enumerate(paths, start=1):
        path.write_bytes(WHOLE[kind][: size * tenths // 10])

    assert annotate(*paths) == Outcome(
        cli.EXIT_UNUSABLE, [*(f"error: {path}: {DAMAGED}" for path in paths), failed(9, *paths)]
    )
    assert not output.exists()


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_libraries_have_nothing_to_say_of_damage_in_the_middle(annotate, tmp_path, kind):
    """libjpeg and libpng print what they think of a file; whether they can read it is another matter."""
    path = tmp_path / f"damaged.{kind}"
    half = len(WHOLE[kind]) // 2
    path.write_bytes(WHOLE[kind][:half] + bytes(9) + WHOLE[kind][half + 9 :])
    assert annotate(path).printed in ([], [f"error: {path}: {DAMAGED}"])


def test_folders_and_globs_without_images_are_named(annotate, tmp_path, output):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no image")
    for nothing in (tmp_path / "empty", tmp_path / "texts", tmp_path / "*.jpg"):
        fault = f"error: {nothing}: no images are there; name photos, or a folder that holds some"
        assert annotate(nothing) == Outcome(cli.EXIT_UNUSABLE, [fault])
    assert not output.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_and_devices_are_refused_at_once(annotate, tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        fault = f"error: {path}: is a pipe or device, not an image; save it as a file first"
        assert annotate(path) == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_a_file_larger_than_any_image_is_not_read(annotate, tmp_path):
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    fault = f"error: {path}: has 3,221,225,472 bytes, too many for an image; check what it is"
    assert annotate(path) == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_a_link_that_leads_to_itself_is_named(annotate, tmp_path):
    path = tmp_path / "circle.jpg"
    path.symlink_to(path)
    outcome = annotate(path)
    assert outcome.status == cli.EXIT_UNUSABLE
    (line,) = outcome.printed
    assert line.startswith(f"error: {path}: cannot be read (")


def test_all_but_every_tenth_of_a_folder_are_annotated_and_the_broken_ones_listed(annotate, tmp_path, output):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.png").write_bytes(encoded(pillow_image(40 + number, 40), "PNG"))
    broken = [folder / f"{number:02}.png" for number in (0, 10, 20)]
    for path, content in zip(broken, (b"", b"no image", broken[2].read_bytes()[:99]), strict=True):
        path.write_bytes(content)

    status, printed = annotate(folder)

    assert status == cli.EXIT_SOME_FAILED
    assert [line.split(": ")[1] for line in printed[:-1]] == [str(path) for path in broken]
    assert printed[-1] == failed(30, *broken)
    names = [path.name for path in sorted(folder.iterdir()) if path not in broken]
    assert [path.name for path in sorted(output.iterdir())] == names
    assert all(read_image(output / name).shape == read_image(folder / name).shape for name in names)
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text("utf-8").splitlines()]
    assert ["error" in record for record in records] == [number % 10 == 0 for number in range(30)]


# --- odd ones ---


@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_annotated(annotate, tmp_path, output, name):
    content, size = ODD[name]
    (tmp_path / name).write_bytes(content)
    assert annotate(tmp_path / name) == Outcome(cli.EXIT_DONE, [])
    (annotated,) = output.iterdir()
    assert read_image(annotated).shape == (*size[::-1], 3)


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_kept_and_stay_one_line(annotate, tmp_path, output, name):
    good, bad = tmp_path / "good" / name, tmp_path / "bad" / f"bad {name}"
    for path, content in ((good, WHOLE["jpg"]), (bad, b"no image")):
        path.parent.mkdir()
        path.write_bytes(content)

    status, printed = annotate(good, bad)

    assert status == cli.EXIT_SOME_FAILED
    shown = Path(str(bad).translate({10: "\\n", 7: "\\x07", 27: "\\x1b"}))
    assert printed == [f"error: {shown}: {DAMAGED}", failed(2, shown)]
    assert [path.name for path in output.iterdir()] == [name]
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text("utf-8").splitlines()]
    assert [record["image"] for record in records] == [str(good), str(bad)]
