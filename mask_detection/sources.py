"""Where pictures come from: files, folders and globs of images; video files, cameras and streams."""

from __future__ import annotations

import glob
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import cv2
import numpy as np

from mask_detection.errors import MaskDetectionError
from mask_detection.images import is_image_file

FALLBACK_FRAME_RATE = 30.0  # frames per second, for sources that don't know their own
TEXT_AS_VIDEO = cv2.VideoWriter.fourcc(*"ansi")  # FFmpeg plays .txt files as text typed on a screen


class ImageFile(NamedTuple):
    """An image to read, and the relative name that its results go by."""

    path: Path
    name: PurePath


def find_images(inputs: Sequence[str]) -> list[ImageFile]:
    """List the images behind files, folders (searched to the bottom) and globs, in the order given.

    A path that doesn't exist is listed too, and so is an input without images beside others that have some: reading
    it then says what is wrong.

    Raises:
        MaskDetectionError: there is no image behind any of the inputs.
    """
    found: list[ImageFile] = []
    n_empty = 0
    for text in inputs:
        images = [image for path in _matches(text) for image in _images_behind(path)]
        n_empty += not images
        found += images or [ImageFile(Path(text), PurePath(Path(text).name))]
    if n_empty == len(inputs):
        raise MaskDetectionError(f"{inputs[0]}: no images are there; name photos, or a folder that holds some")
    unique = list({image.path.absolute(): image for image in found}.values())
    return _with_distinct_names(unique)


def _matches(text: str) -> list[Path]:
    if glob.has_magic(text) and not os.path.lexists(text):  # a file's name may hold brackets too
        return [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 (absolute too)
    return [Path(text)]


def _images_behind(path: Path) -> list[ImageFile]:
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir() fails where the path is too long or entry denied)
        return [ImageFile(path, PurePath(path.name))]
    below = ((file, file.relative_to(path)) for file in sorted(path.rglob("*")))
    visible = ((file, name) for file, name in below if not any(part.startswith(".") for part in name.parts))
    return [ImageFile(file, name) for file, name in visible if file.is_file() and is_image_file(file)]


def _with_distinct_names(images: list[ImageFile]) -> list[ImageFile]:
    """Where two inputs have the same relative name, name all of them from their common folder on."""
    if len({image.name for image in images}) == len(images):
        return images
    absolute = [image.path.absolute() for image in images]
    common = os.path.commonpath([path.parent for path in absolute])
    return [ImageFile(image.path, path.relative_to(common)) for image, path in zip(images, absolute, strict=True)]


@dataclass(frozen=True)
class Frame:
    """A picture of a video, and when it was.

    Attributes:
        image: (H, W, 3) BGR uint8.
        index: 0 for the first frame.
        time_s: seconds from the start.
        time: the time of day when a live source gave it, ISO 8601 in UTC; None for a file.
    """

    image: np.ndarray
    index: int
    time_s: float
    time: str | None = None

    def moment(self) -> dict[str, Any]:
        """Number and time as they stand in the log."""
        moment = {"frame": self.index, "time_s": round(self.time_s, 3)}
        return {**moment, "time": self.time} if self.time else moment


class VideoSource:
    """A video file, camera or stream as an iterator of frames; a context manager that releases it at the end.

    Attributes:
        name: what the user called it.
        is_live: True for a camera or a stream, which has no end of its own.
        frame_rate: frames per second, ``FALLBACK_FRAME_RATE`` where the source doesn't know.
        frame_count: how many frames a file announces, None where that is unknown.
    """

    def __init__(self, source: str) -> None:
        """Open a source.

        Args:
            source: a camera's index such as ``"0"``, a file, or an address such as ``rtsp://…``.

        Raises:
            MaskDetectionError: it is missing, not a video, or cannot be opened.
        """
        self.name = source
        is_camera = source.isdecimal()
        self.is_live = is_camera or "://" in source
        if not self.is_live:
            _check_video_file(Path(source))
        self._capture = cv2.VideoCapture(int(source) if is_camera else source)
        if not self._capture.isOpened() or self._capture.get(cv2.CAP_PROP_FOURCC) == TEXT_AS_VIDEO:
            raise MaskDetectionError(_cannot_open(source, is_camera, self.is_live))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = rate if math.isfinite(rate) and rate > 0 else FALLBACK_FRAME_RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 and not self.is_live else None

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            MaskDetectionError: there is no frame at all, or a file breaks off before its announced end.
        """
        frames_read = 0
        started = time.monotonic()
        while True:
            arrived, image = self._capture.read()
            if not arrived:
                break
            if self.is_live:
                now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
                yield Frame(image, frames_read, time.monotonic() - started, now)
            else:
                yield Frame(image, frames_read, frames_read / self.frame_rate)
            frames_read += 1
        self._check_end(frames_read)

    def _check_end(self, frames_read: int) -> None:
        if frames_read == 0:
            raise MaskDetectionError(f"{self._called}: gives no frame; check that it plays in a video player")
        # Containers round the number of frames; a second too few is more than rounding.
        if self.frame_count is not None and frames_read < self.frame_count - self.frame_rate:
            raise MaskDetectionError(
                f"{self.name}: breaks off after {frames_read} of {self.frame_count} frames; "
                "the file is damaged or incomplete, get it again"
            )
        if self.is_live:
            raise MaskDetectionError(f"{self._called}: stopped giving frames after {frames_read}; check its connection")

    @property
    def _called(self) -> str:
        return f"camera {self.name}" if self.name.isdecimal() else self.name


def _check_video_file(path: Path) -> None:
    if not path.exists():
        raise MaskDetectionError(f"{path}: no such video file; check the path, or give a camera's index such as 0")
    if path.is_dir():
        raise MaskDetectionError(f"{path}: is a folder; give a video file, or use detect_mask_image.py for images")
    if path.stat().st_size == 0:
        raise MaskDetectionError(f"{path}: is empty (0 bytes); get the video again")


def _cannot_open(source: str, is_camera: bool, is_live: bool) -> str:
    if is_camera:
        return (
            f"camera {source}: does not open; check that it is plugged in and free, or try another --source, such as 1"
        )
    if is_live:
        return f"{source}: does not open; check the address and that the stream runs"
    return f"{source}: is not a video that OpenCV can read; convert it to .mp4, for instance with ffmpeg"
