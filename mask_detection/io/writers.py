"""Where results go: a video file or a folder of frames, a log."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
from PIL import Image, ImageOps

from mask_detection.io.images import write_image
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import cannot_write, check_can_write, growing_output, make_folder

VIDEO_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".avi": "MJPG"}


class VideoFile:
    """A video in the making.

    The first frame's size is the video's, but for a row or column more where it is odd: the codecs need even sizes.
    Where frames come late, as those of a camera do on a slow machine, the one before is shown until then.
    """

    def __init__(self, path: Path, frame_rate: float) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # width, height in pixels
        self._frames_written = 0
        self._first_s = 0.0
        self._last = np.empty(0, np.uint8)

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) BGR uint8; one of another size than the first is scaled to it, with black bars.
            time_s: when it was, in seconds from any moment on.

        Raises:
            MaskDetectionError: OpenCV cannot write such a video here.
        """
        height, width = frame.shape[:2]
        if self._writer is None:
            self._writer, self._first_s = self._open((width, height)), time_s
        if (width, height) != self._size:  # OpenCV would drop the frame in silence
            frame = np.asarray(ImageOps.pad(Image.fromarray(frame), self._size))
        frame = _with_even_size(frame)
        n_late = max(0, round((time_s - self._first_s) * self._frame_rate) - self._frames_written)
        for shown in [self._last] * n_late + [frame]:
            self._writer.write(shown)
        self._frames_written += n_late + 1
        self._last = frame

    def close(self) -> None:
        """Finish the file, so that what was written plays.

        Raises:
            OSError: it did not get on the disk, which OpenCV says nothing about.
        """
        if self._writer is not None:
            self._writer.release()
            if not self._plays_to_its_end():
                raise OSError("the video is not whole, perhaps the disk is full")

    def _plays_to_its_end(self) -> bool:
        capture = cv2.VideoCapture(str(self._path))
        capture.set(cv2.CAP_PROP_POS_FRAMES, self._frames_written - 1)
        return capture.get(cv2.CAP_PROP_FRAME_COUNT) >= 1 and capture.grab()

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        codec = cv2.VideoWriter.fourcc(*VIDEO_CODECS[self._path.suffix.lower()])
        width, height = size
        writer = cv2.VideoWriter(str(self._path), codec, self._frame_rate, (width + width % 2, height + height % 2))
        if not writer.isOpened():
            raise MaskDetectionError(f"{self._path}: OpenCV cannot write this video; try a name that ends in .avi")
        self._size = size
        return writer


def _with_even_size(frame: np.ndarray) -> np.ndarray:
    """Repeat the last row and column where the codecs would cut it off."""
    height, width = frame.shape[:2]
    if not (height % 2 or width % 2):
        return frame
    return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


class FrameImages:
    """A folder of frames in the making: 000000.jpg, 000001.jpg and so on, each in its own size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n_written = 0

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Append a frame (H, W, 3) BGR uint8; ``time_s`` is of no use here.

        Raises:
            MaskDetectionError: it cannot be written.
        """
        write_image(self._folder / f"{self._n_written:06}.jpg", frame)
        self._n_written += 1


@contextmanager
def open_video(path: Path, frame_rate: float) -> Iterator[VideoFile | FrameImages]:
    """Open a video file, or a folder of frames where the name has no suffix or is a folder's.

    Args:
        path: see :func:`open_video_file` for a file; a folder is made if it is not there yet.
        frame_rate: of the video file, frames per second.

    Raises:
        MaskDetectionError: the suffix names no video format, the place cannot be written, or the folder has frames.
    """
    if path.suffix and not path.is_dir():
        with open_video_file(path, frame_rate) as video:
            yield video
        return
    make_folder(path)
    if any(path.glob(f"{'[0-9]' * 6}.jpg")):
        raise MaskDetectionError(f"{path}: holds frames already, perhaps of another video; name another folder")
    yield FrameImages(path)


@contextmanager
def open_video_file(path: Path, frame_rate: float) -> Iterator[VideoFile]:
    """Open a video that gets its name when it ends, also by an error or Ctrl-C.

    Args:
        path: ends in one of ``VIDEO_CODECS``.
        frame_rate: frames per second.

    Raises:
        MaskDetectionError: the suffix names no video format, the place cannot be written, or the disk is full.
    """
    if path.suffix.lower() not in VIDEO_CODECS:
        raise MaskDetectionError(
            f"{path}: is not a video file's name; end it in {', '.join(VIDEO_CODECS)}, or name a folder"
        )
    with growing_output(path) as part:
        video = VideoFile(part, frame_rate)
        try:
            yield video
        finally:
            video.close()


class JsonLines:
    """Records as they come, one JSON object a line, each flushed at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        print(json.dumps(record), file=self._stream, flush=True)


class CsvRows:
    """Records of frames as CSV, one row a face, flushed frame by frame."""

    COLUMNS = (
        *("frame", "time_s", "time", "gap_s", "x1", "y1", "x2", "y2"),
        *("label", "probability", "face_confidence", "track"),
    )

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.DictWriter(stream, self.COLUMNS, extrasaction="ignore")
        self._writer.writeheader()

    def write(self, record: dict[str, Any]) -> None:
        """Append the faces of ``{"frame": …, "time_s": …, "faces": [{"box": [x1, y1, x2, y2], …}, …]}``."""
        for face in record["faces"]:
            corners = dict(zip(("x1", "y1", "x2", "y2"), face["box"], strict=True))
            self._writer.writerow({**record, **face, **corners})
        self._stream.flush()


@contextmanager
def open_json_lines(path: Path) -> Iterator[JsonLines]:
    """Open a list of records that gets its name when it ends, also by Ctrl-C; ``-`` is standard output.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    if str(path) == "-":
        yield JsonLines(sys.stdout)
        return
    with growing_output(path) as part, part.open("w", encoding="utf-8") as stream:
        yield JsonLines(stream)


@contextmanager
def open_log(path: Path) -> Iterator[JsonLines | CsvRows]:
    """Open a log of frames under its own name, to be read while it grows: JSON lines, or CSV if so named.

    Args:
        path: ends in .jsonl, .json or .csv; ``-`` is JSON lines on standard output.

    Raises:
        MaskDetectionError: the suffix names no log format, or the place cannot be written.
    """
    suffix = path.suffix.lower()
    if str(path) == "-":
        yield JsonLines(sys.stdout)
        return
    if suffix not in LOG_FORMATS:
        raise MaskDetectionError(f"{path}: is not a log file's name; end it in .jsonl or .csv")
    check_can_write(path)
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield LOG_FORMATS[suffix](stream)
    except OSError as error:
        raise cannot_write(path, error) from None


LOG_FORMATS: dict[str, type[JsonLines | CsvRows]] = {".jsonl": JsonLines, ".json": JsonLines, ".csv": CsvRows}
