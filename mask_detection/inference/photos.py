"""What is seen in photos, several of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detection.inference.detections import Detections, detect_masks
from mask_detection.inference.drawing import annotate
from mask_detection.io.images import encode_image, read_image
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import make_folder, written_whole
from mask_detection.utils.threads import overlapped, thread_count

if TYPE_CHECKING:
    import numpy as np

    from mask_detection.models.classifier import MaskClassifier
    from mask_detection.models.face_detector import FaceDetector


@dataclass(frozen=True)
class Photo:
    """A photo and what came of it.

    Attributes:
        path: where it was read.
        output: where it is to be written with its boxes; None for nowhere.
        record: its line of JSON, with ``faces``, or with ``error`` where something failed.
        annotated: the picture with its boxes, (H, W, 3) BGR uint8, where that was asked for.
        encoded: the same as the bytes of ``output``.
    """

    path: Path
    output: Path | None
    record: dict[str, Any]
    annotated: np.ndarray | None = None
    encoded: bytes | None = None

    def saved(self) -> Photo:
        """The photo after it was written to its output: it has failed if that did."""
        if self.output is None or self.encoded is None:
            return self
        try:
            make_folder(self.output.parent)
            with written_whole(self.output) as part:
                part.write_bytes(self.encoded)
        except MaskDetectionError as error:
            return replace(self, record=_failure(self.path, error))
        return self


def detected_photos(
    paths: Sequence[Path],
    outputs: Sequence[Path | None],
    load_stages: Callable[[], tuple[FaceDetector, MaskClassifier | None]],
    keep_annotated: bool = False,
) -> AbstractContextManager[Iterator[Photo]]:
    """Read, detect, draw and encode in threads of their own, ahead of the loop that writes.

    Args:
        paths: the photos.
        outputs: for each, where it will be written; None for nowhere.
        load_stages: loads a face detector and a classifier, for each thread its own.
        keep_annotated: keep the pictures with their boxes, to be shown.

    Returns:
        A context manager that gives an iterator of the photos, in order.
    """
    jobs = zip(paths, outputs, strict=True)
    return overlapped(lambda: partial(_detect, keep_annotated, *load_stages()), jobs, thread_count(len(paths)))


def _detect(
    keep_annotated: bool,
    face_detector: FaceDetector,
    classifier: MaskClassifier | None,
    photo: tuple[Path, Path | None],
) -> Photo:
    path, output = photo
    try:
        frame = read_image(path)
        detections = detect_masks(frame, face_detector, classifier)
        annotated = annotate(frame, detections) if output or keep_annotated else None
        encoded = encode_image(output, annotated) if output and annotated is not None else None
    except MaskDetectionError as error:
        return Photo(path, output, _failure(path, error))
    return Photo(path, output, _answer(path, frame, detections), annotated if keep_annotated else None, encoded)


def _answer(path: Path, frame: np.ndarray, detections: Detections) -> dict[str, Any]:
    height, width = frame.shape[:2]
    return {"image": str(path), "width": width, "height": height, "faces": detections.to_records()}


def _failure(path: Path, error: MaskDetectionError) -> dict[str, Any]:
    return {"image": str(path), "error": str(error)}
