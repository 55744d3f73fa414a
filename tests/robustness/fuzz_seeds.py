"""Valid files of the formats that the project reads, to be damaged: small, and most of them made on the spot."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.helpers.images import grace_hopper
from tests.helpers.paths import ROOT
from tests.helpers.videos import write_video

FIXTURES = ROOT / "tests" / "fixtures"
WEIGHTS = ROOT.parent / "shared" / "face_detector"  # on some machines

SIZE = WIDTH, HEIGHT = 140, 110  # pixels, of the pictures: not the square on which detectors are tried out
CLASS_NAMES = ("with_mask", "without_mask")
BOXES = ((20, 15, 70, 80), (60, 50, 115, 108))  # xyxy in pixels


def portrait() -> np.ndarray:
    """Grace Hopper's face, (HEIGHT, WIDTH, 3) BGR uint8."""
    return cv2.resize(np.ascontiguousarray(grace_hopper()[:402]), SIZE, interpolation=cv2.INTER_AREA)


def images(picture: np.ndarray) -> dict[str, bytes]:
    """Image files by name."""
    rgb = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn right by 90 degrees
    frames = [rgb.rotate(angle) for angle in (30, 60)]
    deep = picture.astype(np.uint16) * 257
    with_alpha = np.dstack([picture, picture[..., 0]])
    return {
        "baseline.jpg": _pillow(rgb, "JPEG", exif=exif),
        "progressive.jpg": _pillow(rgb, "JPEG", progressive=True, quality=60),
        "cmyk.jpg": _pillow(rgb.convert("CMYK"), "JPEG"),
        "grey.jpeg": _pillow(rgb.convert("L"), "JPEG"),
        "colour.png": encoded(".png", picture),
        "alpha_16_bit.png": encoded(".png", np.dstack([deep, deep[..., :1]])),
        "palette.png": _pillow(rgb.quantize(16), "PNG"),
        "lossy.webp": _pillow(rgb, "WEBP", exif=exif),
        "lossless.webp": _pillow(Image.fromarray(with_alpha), "WEBP", lossless=True),
        "animated.webp": _pillow(rgb, "WEBP", save_all=True, append_images=frames),
        "animated.gif": _pillow(rgb, "GIF", save_all=True, append_images=frames, loop=0),
        "plain.tif": _pillow(rgb, "TIFF"),
        "lzw.tiff": _pillow(rgb, "TIFF", compression="tiff_lzw"),
        "jpeg.tiff": _pillow(rgb, "TIFF", compression="jpeg"),
        "pages.tiff": _pillow(rgb, "TIFF", save_all=True, append_images=frames, compression="tiff_deflate"),
        "deep.tiff": encoded(".tiff", deep),
        "colour.bmp": encoded(".bmp", picture),
        "palette.bmp": _pillow(rgb.quantize(16), "BMP"),
        "colour.ppm": encoded(".ppm", picture),
        "colour.jp2": _pillow(rgb, "JPEG2000"),
        "colour.avif": _pillow(rgb, "AVIF"),
        "compressed.tga": _pillow(rgb, "TGA", compression="tga_rle"),
    }


def _pillow(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def encoded(suffix: str, image: np.ndarray) -> bytes:
    """An image (H, W, 3) BGR as a file."""
    return cv2.imencode(suffix, image)[1].tobytes()


def videos(picture: np.ndarray, folder: Path) -> dict[str, bytes]:
    """Video files by name, 8 frames each; ``folder`` is where OpenCV makes them."""
    made = {}
    for name in ("mjpeg.avi", "mpeg4.mp4", "mpeg4.mkv"):
        path = write_video(folder / name, (np.roll(picture, 3 * i, axis=1) for i in range(8)))
        made[name] = path.read_bytes()
    return made


def voc() -> bytes:
    """VOC XML of two faces."""
    faces = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>\n"
        for name, (x1, y1, x2, y2) in zip(CLASS_NAMES, BOXES, strict=True)
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>photo.png</filename>\n{size}\n{faces}</annotation>\n".encode()


def yolo() -> bytes:
    """The same faces as YOLO writes them."""
    lines = []
    for number, (x1, y1, x2, y2) in enumerate(BOXES):
        numbers = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
        lines.append(" ".join([str(number), *(f"{value:.6f}" for value in numbers)]))
    return ("\n".join(lines) + "\n").encode()


def class_lists() -> list[tuple[str, bytes]]:
    """Files that name YOLO's classes, each with its name."""
    first, second = CLASS_NAMES
    return [
        ("classes.txt", f"{first}\n{second}\n".encode()),
        ("data.yaml", f"nc: 2\nnames: ['{first}', \"{second}\"]  # two\n".encode()),
        ("data.yaml", f"train: ../train\nnames:\n  0: {first}\n  1: {second}\nnc: 2\n".encode()),
    ]


def split(n_images: int) -> bytes:
    """A split file of so many images ``0.jpg``, ``1.jpg``, … of each class."""
    names = [f"{name}/{i}.jpg" for i in range(n_images) for name in CLASS_NAMES]
    third = len(names) // 3
    parts = {"train": names[:third], "validation": names[third : 2 * third], "test": names[2 * third :]}
    return json.dumps(parts, indent=1).encode()
