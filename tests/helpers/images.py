"""Images made on the spot."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np


def grace_hopper() -> np.ndarray:
    """The photo of Grace Hopper that comes with Matplotlib, (600, 512, 3) BGR uint8; it is in the public domain."""
    from matplotlib.cbook import get_sample_data

    with get_sample_data("grace_hopper.jpg") as file:
        return cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)


def textured(width: int = 96, height: int = 72, hue: int = 20, seed: int = 0) -> np.ndarray:
    """Soft coloured noise of one hue (0..179 as OpenCV counts), (height, width, 3) BGR uint8."""
    coarse = np.random.default_rng(seed).integers(40, 256, (12, 12, 3), np.uint8)
    coarse[..., 0] = hue
    smooth = cv2.resize(cv2.cvtColor(coarse, cv2.COLOR_HSV2BGR), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(smooth)


def png(width: int, height: int, rows: bytes) -> bytes:
    """A black and white PNG; a row is a byte 0 and then a bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def write_dataset(folder: Path, image_counts: dict[str, int]) -> Path:
    """Fill a folder with class folders of so many images each, a hue a class; return the folder."""
    for number, (name, count) in enumerate(image_counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = textured(80, 80, hue=10 + 50 * number, seed=1000 * number + i)
            cv2.imwrite(str(folder / name / f"{i}.png"), image)
    return folder
