"""Where the results of a run go: each sink takes every result, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from mask_detection.inference.drawing import draw
from mask_detection.io.window import Grid
from mask_detection.utils.text import one_line

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.inference.detections import Detections
    from mask_detection.inference.drawing import FaceBlur
    from mask_detection.inference.overlay import Overlay
    from mask_detection.inference.pipeline import PhotoResult
    from mask_detection.io.sources import Frame
    from mask_detection.io.window import Window


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

    def wants(self, source: str) -> bool:
        """Tell whether it takes the next frame of this source: none is drawn for nobody."""
        return True

    def close(self) -> None:  # noqa: B027 (most hold nothing open)
        """Finish; called once, at the end of the run, however it ended."""


class RecordWriter(Protocol):
    """A file that takes records, such as those of :mod:`mask_detection.io.writers`."""

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""


class FrameWriter(Protocol):
    """A video in the making, such as those of :mod:`mask_detection.io.writers`."""

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Append a frame (H, W, 3) BGR uint8 of the time in seconds."""


class Log(Sink):
    """A record a frame: ``{"frame": …, "time_s": …, "faces": […]}``, and ``"source"`` where there are several."""

    def __init__(self, writer: RecordWriter, names_source: bool = False) -> None:
        self._writer = writer
        self._names_source = names_source

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write the frame's record."""
        source = {"source": frame.source} if self._names_source else {}
        self._writer.write({**frame.moment(), "faces": detections.to_records(), **source})


class AnnotatedFrames(Sink):
    """Draws each frame of a source once, for all sinks that record, show or send it; none where none wants it."""

    def __init__(self, sinks: Sequence[Sink], overlay: Overlay | None = None, blur: FaceBlur | None = None) -> None:
        """Choose what is drawn and where it goes.

        Args:
            sinks: get each frame with its drawn image.
            overlay: draws frames/s and counts into a corner.
            blur: makes the faces unrecognizable.
        """
        self._sinks, self._overlay, self._blur = sinks, overlay, blur

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw the frame and pass it on."""
        sinks = [sink for sink in self._sinks if sink.wants(frame.source)]
        if not sinks:
            self._pass_by(frame, detections)
            return
        image = self._blur.blurred(frame.image, detections.boxes, frame.time_s) if self._blur else frame.image
        annotated = draw(image, detections)
        if self._overlay:
            self._overlay.draw(annotated, detections)
        drawn = replace(frame, image=annotated)
        for sink in sinks:
            sink.write(drawn, detections)

    def _pass_by(self, frame: Frame, detections: Detections) -> None:
        """Take notice of a frame that nobody wants, for those after it."""
        if self._blur:
            self._blur.see(detections.boxes, frame.time_s)
        if self._overlay:
            self._overlay.count_frame()


class RecordedFrames(Sink):
    """Writes frames as they are into a video, which leaves out the time in which a live source was gone."""

    def __init__(self, video: FrameWriter) -> None:
        self._video = video

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write the frame."""
        self._video.write(frame.image, frame.time_s - frame.gap_s)


class ShownFrames(Sink):
    """Shows frames as they are in a window; those of several sources in a grid."""

    def __init__(self, window: Window, names: Sequence[str]) -> None:
        """Choose the window.

        Args:
            window: shows the frames.
            names: the sources, in the order of the grid.
        """
        self._window = window
        self._grid = Grid(names) if len(names) > 1 else None

    def write(self, frame: Frame, detections: Detections) -> None:
        """Show the frame.

        Raises:
            Stopped: the user pressed q or ESC, or closed the window.
        """
        if not self._window.show(self._grid.updated(frame.source, frame.image) if self._grid else frame.image):
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
