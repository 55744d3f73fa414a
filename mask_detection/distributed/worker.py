"""What each worker of the cluster does with a block of photos."""

from __future__ import annotations

import time
from typing import Any

import cv2
import pyarrow as pa
import ray

import mask_detection
from mask_detection.distributed.places import open_place
from mask_detection.distributed.records import Record, failure_record, photo_record, photo_schema
from mask_detection.io.images import decode_image
from mask_detection.utils.errors import MaskDetectionError

REPORT_S = 1.0  # between two reports to the tracker
FATAL = "ended the processes that read it, by a crash or for its memory; open it in a viewer and save it again"


class PhotoDetector:
    """Turns blocks of the column ``image`` into rows; one lives in each process, which it keeps to one core."""

    def __init__(self, settings: dict[str, Any], tracker: Any) -> None:
        """Load the networks.

        Args:
            settings: the arguments of :func:`mask_detection.load`.
            tracker: handle of the actor :class:`mask_detection.distributed.tracker.Tracker`.
        """
        cv2.setNumThreads(1)  # LiteRT takes no more than OpenCV
        self._detector = mask_detection.load(**settings)
        self._schema = photo_schema(self._detector.class_names)
        self._tracker = tracker

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The rows of a block, in its order."""
        photos = batch["image"].to_pylist()
        if not photos:
            return self._schema.empty_table()
        block = photos[0]
        begun = ray.get(self._tracker.begin.remote(block))
        rows: list[Record] = []
        n_failed, reported = 0, time.monotonic()
        for photo in photos:
            if begun.is_again:
                ray.get(self._tracker.announce.remote(block, photo))
            row = failure_record(photo, f"{photo}: {FATAL}") if photo in begun.fatal else self._row(photo)
            rows.append(row)
            n_failed += "error" in row
            if time.monotonic() - reported >= REPORT_S:
                reported = time.monotonic()
                self._tracker.report.remote(block, len(rows), n_failed, False)
        self._tracker.report.remote(block, len(rows), n_failed, True)
        return pa.Table.from_pylist(rows, schema=self._schema)

    def _row(self, photo: str) -> Record:
        try:
            image = decode_image(open_place(photo).read("an image"), photo)
            return photo_record(photo, image, self._detector(image))
        except MaskDetectionError as error:
            return failure_record(photo, error)
