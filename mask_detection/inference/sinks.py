"""Where the results of a run go: each sink takes every result, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from mask_detection.inference.drawing import draw
from mask_detection.utils.text import one_line

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections
    from mask_detection.inference.overlay import Overlay
    from mask_detection.inference.pipeline import PhotoResult
    from mask_detection.io.sources import Frame
    from mask_detection.io.window import Window
    from mask_detection.io.writers import FrameImages, VideoFile


class Stopped(Exception):  # noqa: N818 (no error, like StopIteration)
    """The user has seen enough: a sink raises it to end the run."""


class Sink(ABC):
    """Takes the frames of a video with their detections."""

    @abstractmethod
    def write(self, frame: Frame, detections: Detections) -> None:
        """Take the next frame.

        Raises:
            Stopped: the run is to end.
            MaskDetectionError: it cannot be written.
        """

    def close(self) -> None:  # noqa: B027 (most hold nothing open)
        """Finish; called once, at the end of the run, however it ended."""


class RecordWriter(Protocol):
    """A file that takes records, such as those of :mod:`mask_detection.io.writers`."""

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""


class Log(Sink):
    """A record a frame: ``{"frame": …, "time_s": …, "faces": […]}``."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write the frame's record."""
        self._writer.write({**frame.moment(), "faces": detections.to_records()})


class AnnotatedFrames(Sink):
    """Draws each frame once, for a video file and a window."""

    def __init__(
        self, overlay: Overlay | None = None, video: VideoFile | FrameImages | None = None, window: Window | None = None
    ) -> None:
        """Choose what is drawn and where it goes.

        Args:
            overlay: draws frames/s and counts into a corner.
            video: gets the frames.
            window: shows them.
        """
        self._overlay, self._video, self._window = overlay, video, window

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw the frame, write it and show it."""
        annotated = draw(frame.image, detections)
        if self._overlay:
            self._overlay.draw(annotated, detections)
        if self._video:
            self._video.write(annotated, frame.time_s - frame.gap_s)
        if self._window and not self._window.show(annotated):
            raise Stopped


class PhotoSink(Protocol):
    """Takes the results of photos."""

    def write(self, photo: PhotoResult) -> None:
        """Take the next result, which may be an error."""


class PhotoLog:
    """A line of JSON a photo."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def write(self, photo: PhotoResult) -> None:
        """Write the photo's record."""
        self._writer.write(photo.record)


class PhotoLines:
    """A line a photo on standard output: ``group.jpg: 2 with_mask, 1 without_mask``."""

    def write(self, photo: PhotoResult) -> None:
        """Print the photo's line, above the progress bar."""
        if "faces" in photo.record:
            labels = [face["label"] for face in photo.record["faces"]]
            tqdm.write(one_line(f"{photo.path}: {count_labels(labels)}"))


class PhotoWindow:
    """Shows each photo until a key is pressed, and none after q or ESC."""

    def __init__(self, window: Window) -> None:
        self._window: Window | None = window

    def write(self, photo: PhotoResult) -> None:
        """Show the photo."""
        if self._window and photo.annotated is not None and not self._window.show(photo.annotated, wait_ms=0):
            self._window = None


def count_labels(labels: Sequence[str]) -> str:
    """Such as ``2 with_mask, 1 without_mask``."""
    return ", ".join(f"{count} {label}" for label, count in sorted(Counter(labels).items())) or "no faces"
