"""What the commands that make data sets are given, and what they made of it."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from mask_detection.commands.prepare import main

EXIF_ORIENTATION = 0x0112


def gradient(width: int = 40, height: int = 30, seed: int = 99) -> Image.Image:
    """Smooth and in colour, so that JPEG keeps it and turning it shows."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def save(path: Path, width: int = 40, height: int = 30, seed: int = 99, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    gradient(width, height, seed).save(path, **options)
    return path


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def made(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.suffix != ".csv")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "left_out.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def left_out(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["path"]: (row["reason"], row["copy_of"]) for row in rows(folder)}


def hashes(folder: Path) -> dict[Path, tuple[str, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.format == "JPEG"
        return image.size


def prepare(*arguments: object) -> int:
    """Run the command ``prepare`` and return its exit status."""
    return main([str(argument) for argument in arguments])
