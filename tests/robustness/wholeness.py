"""Telling whether what a run wrote is whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import h5py

from mask_detection.io.images import IMAGE_SUFFIXES, read_image
from mask_detection.models.tflite import read_metadata


def broken(files: Iterable[Path]) -> list[str]:
    """What is wrong with each file that is not whole; one that is still to get its name is left out."""
    faults = []
    for path in files:
        check = CHECKS.get(path.suffix)
        if ".part" in path.suffixes or check is None:
            continue
        try:
            check(path)
        except Exception as error:
            faults.append(f"{path}: is not whole ({type(error).__name__}: {error})")
    return faults


def full_lines(path: Path) -> list[str]:
    """The lines of a log; one that a kill cut off, and only a kill can, is left out."""
    *lines, _rest = path.read_text("utf-8").split("\n")
    return lines


def n_frames_of(path: Path) -> int:
    """How many frames of a video play."""
    video, n_frames = cv2.VideoCapture(str(path)), 0
    while video.read()[0]:
        n_frames += 1
    return n_frames


def _check_json(text: str) -> None:
    json.loads(text, parse_constant=lambda name: json.loads(f"{name} is not JSON"))


def _check_json_lines(path: Path) -> None:
    for line in full_lines(path):
        _check_json(line)


def _check_csv(path: Path) -> None:
    if len({len(row) for row in csv.reader(full_lines(path))}) > 1:
        raise ValueError("rows differ in length")


def _check_video(path: Path) -> None:
    if not cv2.VideoCapture(str(path)).read()[0]:
        raise ValueError("plays no frame")


def _check_h5(path: Path) -> None:
    with h5py.File(path) as file:
        json.loads(file.attrs["model_config"])
        json.loads(file.attrs["class_names"])
        file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)


def _check_tflite(path: Path) -> None:
    if read_metadata(path, path.read_bytes()) is None:
        raise ValueError("has no record")


CHECKS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(IMAGE_SUFFIXES, read_image),
    **dict.fromkeys((".avi", ".mkv", ".mp4"), _check_video),
    ".csv": _check_csv,
    ".h5": _check_h5,
    ".json": lambda path: _check_json(path.read_text("utf-8")),
    ".jsonl": _check_json_lines,
    ".tflite": _check_tflite,
}
