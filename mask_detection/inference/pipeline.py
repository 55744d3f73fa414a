"""Runs over photos and over the frames of a video: reading and detecting in threads, ahead of what uses the results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mask_detection.inference.drawing import draw
from mask_detection.inference.tracking import Tracker
from mask_detection.io.images import encode_image, read_image
from mask_detection.models import tflite
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, make_folder
from mask_detection.utils.threads import overlapped, thread_count

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.inference.detections import Detections
    from mask_detection.io.readers import Readers
    from mask_detection.io.sources import Frame


class Detector(Protocol):
    """What runs need of a :class:`mask_detection.inference.detector.MaskDetector`."""

    @property
    def is_one_stage(self) -> bool:
        """Whether the face detector classifies the faces, without a classifier."""

    def finder(self) -> Detector:
        """One with a face detector of its own."""

    def find(self, image: np.ndarray, /) -> Detections:
        """Find the faces of an image, (H, W, 3) BGR uint8."""

    def classify_found(self, image: np.ndarray, found: Detections, /) -> Detections:
        """Classify these faces of an image."""


def worker_count(n_items: int | None = None) -> int:
    """How many threads keep this machine's cores busy with so many items, or with no end of them."""
    # Without LiteRT, TensorFlow classifies, and keeps the cores busy by itself.
    return thread_count(n_items) if tflite.is_available() else 1


# --- photos ---


@dataclass(frozen=True)
class PhotoResult:
    """A photo and what came of it.

    Attributes:
        path: where it was read.
        output: where it is to be written with its boxes; None for nowhere.
        record: its line of JSON, with ``faces``, or with ``error`` where something failed.
        annotated: the photo with its boxes, (H, W, 3) BGR uint8, where that was asked for.
        encoded: the same as the bytes of ``output``.
    """

    path: Path
    output: Path | None
    record: dict[str, Any]
    annotated: np.ndarray | None = None
    encoded: bytes | None = None

    def saved(self) -> PhotoResult:
        """The result after it was written to its output: it has failed if that did."""
        if self.output is None or self.encoded is None:
            return self
        try:
            make_folder(self.output.parent)
            with atomic_write(self.output) as part:
                part.write_bytes(self.encoded)
        except MaskDetectionError as error:
            return replace(self, record=_failure(self.path, error))
        return self


def detected_photos(
    paths: Sequence[Path],
    outputs: Sequence[Path | None],
    make_detector: Callable[[], Callable[[np.ndarray], Detections]],
    keep_annotated: bool = False,
    blur_faces: bool = False,
) -> AbstractContextManager[Iterator[PhotoResult]]:
    """Read, detect, draw and encode in threads, ahead of the loop that writes.

    Args:
        paths: the photos.
        outputs: for each, where it will be written; None for nowhere.
        make_detector: makes a detector for each thread.
        keep_annotated: keep the photos with their boxes, to be shown.
        blur_faces: make the faces in them unrecognizable.

    Returns:
        A context manager that gives an iterator of the results, in order.
    """
    jobs, n_threads = zip(paths, outputs, strict=True), worker_count(len(paths))
    return overlapped(lambda: partial(_detect_in_photo, make_detector(), keep_annotated, blur_faces), jobs, n_threads)


def _detect_in_photo(
    detector: Callable[[np.ndarray], Detections],
    keep_annotated: bool,
    blur_faces: bool,
    job: tuple[Path, Path | None],
) -> PhotoResult:
    path, output = job
    try:
        image = read_image(path)
        detections = detector(image)
        annotated = draw(image, detections, blur_faces) if output or keep_annotated else None
        encoded = encode_image(output, annotated) if output and annotated is not None else None
    except MaskDetectionError as error:
        return PhotoResult(path, output, _failure(path, error))
    height, width = image.shape[:2]
    record = {"image": str(path), "width": width, "height": height, "faces": detections.to_records()}
    return PhotoResult(path, output, record, annotated if keep_annotated else None, encoded)


def _failure(path: Path, error: MaskDetectionError) -> dict[str, Any]:
    return {"image": str(path), "error": str(error)}


# --- videos ---


@contextmanager
def tracked_frames(
    readers: Readers, detector: Detector, every: int = 1
) -> Iterator[Iterator[tuple[Frame, Detections]]]:
    """Find faces in threads, track and classify them in another, ahead of the loop over the results.

    Args:
        readers: give the frames of all sources. Each source has a tracker of its own; the threads and their networks
            are shared.
        detector: finds the faces, with a face detector of its own in each thread, and classifies them.
        every: look for faces in each so many-th frame of a source and hold them until the next.

    Yields:
        An iterator of the frames, in order, with their faces. It raises errors of the readers in their place.

    Raises:
        MaskDetectionError: the detector cannot be loaded.
    """
    find = partial(overlapped, lambda: partial(_find_in_frame, detector.finder(), every))
    track = partial(_track, defaultdict(Tracker), detector)
    with (
        find(_numbered(readers), worker_count()) as found,
        overlapped(lambda: track, _hold(found), 1) as tracked,
    ):
        try:
            yield tracked
        finally:
            readers.stop()  # as a thread may wait for a frame that doesn't come


def _numbered(frames: Iterable[Frame]) -> Iterator[tuple[int, Frame]]:
    """Count the frames of each source."""
    numbers: defaultdict[str, Iterator[int]] = defaultdict(count)
    for frame in frames:
        yield next(numbers[frame.source]), frame


def _find_in_frame(detector: Detector, every: int, numbered: tuple[int, Frame]) -> tuple[Frame, Detections | None]:
    number, frame = numbered
    return frame, None if number % every else detector.find(frame.image)


def _hold(found: Iterable[tuple[Frame, Detections | None]]) -> Iterator[tuple[Frame, Detections]]:
    """Give a frame that was not searched the faces of its source's last one that was; the first one always is."""
    held: dict[str, Detections] = {}
    for frame, faces in found:
        if faces is not None:
            held[frame.source] = faces
        yield frame, held[frame.source]


def _track(
    trackers: Mapping[str, Tracker], detector: Detector, searched: tuple[Frame, Detections]
) -> tuple[Frame, Detections]:
    frame, found = searched
    classify = None if detector.is_one_stage else partial(detector.classify_found, frame.image)
    return frame, trackers[frame.source].update(found, frame.time_s, classify)
