"""Where results go: a video file or a folder of frames, a log."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image, ImageOps

from mask_detection.io.growing import GrowingOutput, growing_log, growing_output, growing_text, locked_folder
from mask_detection.io.images import write_image
from mask_detection.utils.errors import OutputError
from mask_detection.utils.files import is_special, make_folder
from mask_detection.utils.interrupts import finishing
from mask_detection.utils.text import csv_cell

LOG_SUFFIXES = (".jsonl", ".json", ".csv")
VIDEO_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".avi": "MJPG"}


class VideoFile:
    """A video in the making.

    The first frame's size is the video's, but for a row or column more where it is odd: the codecs need even sizes.
    Where frames come late, as those of a camera do on a slow machine, the one before is shown until then. Those that
    come too early for the frame rate are dropped if so wanted: then the video keeps the time of its source.
    """

    def __init__(self, output: GrowingOutput, frame_rate: float, drops_early: bool = False) -> None:
        self._output = output
        self._path = output.part
        self._frame_rate = frame_rate
        self._drops_early = drops_early
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
            OutputError: OpenCV cannot write such a video here.
        """
        with self._output.writing():
            self._write(frame, time_s)

    def _write(self, frame: np.ndarray, time_s: float) -> None:
        height, width = frame.shape[:2]
        if self._writer is None:
            self._writer, self._first_s = self._open((width, height)), time_s
        if (width, height) != self._size:  # OpenCV would drop the frame in silence
            frame = np.asarray(ImageOps.pad(Image.fromarray(frame), self._size))
        frame = _with_even_size(frame)
        n_due = round((time_s - self._first_s) * self._frame_rate)  # frames that are to stand before this one
        if n_due < self._frames_written and self._drops_early:
            return
        n_late = max(0, n_due - self._frames_written)
        for shown in [self._last] * n_late + [frame]:
            self._writer.write(shown)
        self._frames_written += n_late + 1
        self._last = frame

    def close(self) -> None:
        """Finish the file, so that what was written plays.

        Raises:
            OutputError: it did not get on the disk, which OpenCV says nothing about.
        """
        if self._writer is None:
            return
        with self._output.writing():
            self._writer.release()
            if not self._output.is_special and not self._plays_to_its_end():
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
            name = self._output.path
            raise OutputError(f"{name}: OpenCV cannot write this video; try a name that ends in .avi")
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
            OutputError: it cannot be written.
        """
        write_image(self._folder / f"{self._n_written:06}.jpg", frame)
        self._n_written += 1


@contextmanager
def open_video(path: Path, frame_rate: float, drops_early: bool = False) -> Iterator[VideoFile | FrameImages]:
    """Open a video file, or a folder of frames where the name has no suffix or is a folder's.

    Args:
        path: see :func:`open_video_file` for a file; a folder is made if it is not there yet.
        frame_rate: of the video file, frames per second.
        drops_early: leave frames out that come faster than that.

    Raises:
        OutputError: the suffix names no video format, another run is writing it, the place cannot be written, or the
            folder has frames.
    """
    if path.suffix and not path.is_dir():
        with open_video_file(path, frame_rate, drops_early) as video:
            yield video
        return
    make_folder(path)
    with locked_folder(path):
        if any(path.glob(f"{'[0-9]' * 6}.jpg")):
            raise OutputError(f"{path}: holds frames already, perhaps of another video; name another folder")
        yield FrameImages(path)


@contextmanager
def open_video_file(path: Path, frame_rate: float, drops_early: bool = False) -> Iterator[VideoFile]:
    """Open a video that gets its name when it ends, also by an error or Ctrl-C.

    Args:
        path: ends in one of ``VIDEO_CODECS``.
        frame_rate: frames per second.
        drops_early: leave frames out that come faster than that.

    Raises:
        OutputError: the suffix names no video format, another run is writing it, the place cannot be written, or the
            disk is full.
    """
    if path.suffix.lower() not in VIDEO_CODECS:
        raise OutputError(f"{path}: is not a video file's name; end it in {', '.join(VIDEO_CODECS)}, or name a folder")
    with growing_output(path, video_plays) as output:
        video = VideoFile(output, frame_rate, drops_early)
        try:
            yield video
        finally:
            with finishing():
                video.close()


def video_plays(path: Path) -> bool:
    """Tell whether a video that was not finished gives a frame."""
    return cv2.VideoCapture(str(path)).grab()


class TextStream(Protocol):
    """A text file, as far as it is needed here."""

    def write(self, text: str, /) -> object:
        """Append text."""

    def flush(self) -> None:
        """Let others see what was written."""


class JsonLines:
    """Records as they come, one JSON object a line, each flushed at once."""

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        self._stream.write(json.dumps(record) + "\n")  # the line at once: it is whole, whatever comes next
        self._stream.flush()


class CsvRows:
    """Records of frames as CSV, a row a face, flushed frame by frame; then probabilities and the source."""

    COLUMNS = (
        *("frame", "time_s", "time", "gap_s", "x1", "y1", "x2", "y2"),
        *("label", "probability", "face_confidence", "track"),
    )

    def __init__(self, stream: TextStream, class_names: Sequence[str] = (), names_source: bool = False) -> None:
        self._stream = stream
        columns = [*self.COLUMNS, *map(_probability_column, class_names), *(("source",) if names_source else ())]
        self._writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        self._has_header = False

    def write(self, record: dict[str, Any]) -> None:
        """Append the faces of ``{"frame": …, "time_s": …, "faces": [{"box": [x1, y1, x2, y2], …}, …]}``."""
        if not self._has_header:
            self._writer.writeheader()
            self._has_header = True
        for face in record["faces"]:
            corners = dict(zip(("x1", "y1", "x2", "y2"), face["box"], strict=True))
            by_class = {_probability_column(name): p for name, p in face.get("probabilities", {}).items()}
            row = {**record, **face, **corners, **by_class}
            self._writer.writerow({name: csv_cell(value) for name, value in row.items()})
        self._stream.flush()


def _probability_column(class_name: str) -> str:
    return f"probability_{class_name}"


@contextmanager
def open_json_lines(path: Path) -> Iterator[JsonLines]:
    """Open a list of records that gets its name when it ends, also by Ctrl-C; ``-`` is standard output.

    Raises:
        OutputError: another run is writing it, the place cannot be written, or the disk is full.
    """
    if str(path) == "-":
        yield JsonLines(sys.stdout)
        return
    with growing_text(path) as stream:
        yield JsonLines(stream)


@contextmanager
def open_log(path: Path, class_names: Sequence[str] = (), names_source: bool = False) -> Iterator[JsonLines | CsvRows]:
    """Open a log of frames under its own name, to be read while it grows: JSON lines, or CSV if so named.

    Args:
        path: ends in .jsonl, .json or .csv; ``-`` is JSON lines on standard output, and so are devices and pipes of
            another name.
        class_names: the classes whose probabilities get columns of their own in a CSV file.
        names_source: whether a CSV file gets a column for the source, too.

    Raises:
        OutputError: the suffix names no log format, another run is writing it, or the place cannot be written.
    """
    suffix = path.suffix.lower()
    if str(path) == "-":
        yield JsonLines(sys.stdout)
        return
    if suffix not in LOG_SUFFIXES and not is_special(path):
        raise OutputError(f"{path}: is not a log file's name; end it in .jsonl or .csv")
    with growing_log(path) as stream:
        yield CsvRows(stream, class_names, names_source) if suffix == ".csv" else JsonLines(stream)
