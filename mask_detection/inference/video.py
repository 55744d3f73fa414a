"""What is seen in a video, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mask_detection.inference.detections import Detections, detect_masks
from mask_detection.utils.threads import newest, overlapped, thread_count

if TYPE_CHECKING:
    from mask_detection.io.sources import Frame, VideoSource
    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector


@dataclass(frozen=True)
class DetectedFrames:
    """A video in the making of its detections.

    Attributes:
        class_names: those that the model tells apart.
        frames: the frames, in order, with what was seen in them. It raises the source's errors in their place.
    """

    class_names: tuple[str, ...]
    frames: Iterator[tuple[Frame, Detections]]


@contextmanager
def detected_frames(
    source: VideoSource, load_stages: Callable[[], tuple[FaceDetector, MaskClassifier | None]], every: int = 1
) -> Iterator[DetectedFrames]:
    """Read and detect in threads of their own, ahead of the loop over what was seen.

    Args:
        source: of a file, every frame is given; of a live source, those that came while all threads were busy are
            dropped, so that what is given is never late.
        load_stages: loads a face detector and a classifier, for each thread its own.
        every: detect on each so many-th frame and hold its detections until the next.

    Raises:
        MaskDetectionError: the stages cannot be loaded.
    """
    class_names: list[tuple[str, ...]] = []

    def make_detector() -> Callable[[tuple[int, Frame]], tuple[Frame, Detections | None]]:
        face_detector, classifier = load_stages()
        class_names.append(classifier.class_names if classifier else face_detector.class_names)
        return partial(_detect_on_each, every, face_detector, classifier)

    with ExitStack() as stack:
        frames: Iterable[Frame] = stack.enter_context(newest(source)) if source.is_live else source
        found = stack.enter_context(overlapped(make_detector, enumerate(frames), thread_count()))
        yield DetectedFrames(class_names[0], _hold(found))


def _detect_on_each(
    every: int, face_detector: FaceDetector, classifier: MaskClassifier | None, numbered: tuple[int, Frame]
) -> tuple[Frame, Detections | None]:
    number, frame = numbered
    return frame, None if number % every else detect_masks(frame.image, face_detector, classifier)


def _hold(found: Iterable[tuple[Frame, Detections | None]]) -> Iterator[tuple[Frame, Detections]]:
    """Give the frames between two detections, the first of which is on the first frame, those of the one before."""
    for frame, detections in found:
        if detections is not None:
            held = detections
        yield frame, held
