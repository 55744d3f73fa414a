"""Faces tracked through a video, so that each has a number of its own and a label that doesn't flicker.

A face belongs to the track whose last box it overlaps most, pairs taken greedily. Faces hardly overlap one another and
move little between two frames: neither the optimal assignment of the well-known trackers, which needs SciPy, nor a
prediction of the motion follows faces longer in the videos that ``benchmarks/tracking.py`` was run on.

A track is not a person: who leaves the frame, or is hidden for longer than ``MAX_GAP``, comes back as a new one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np

from mask_detection.inference.detections import Detections
from mask_detection.utils.boxes import box_iou

MAX_GAP = 2.0  # seconds for which a face may stay unseen
MIN_IOU = 0.2  # of a face with its track's last box; SORT's usual 0.3 loses more of the small faces, whose boxes jitter
MEMORY = 0.15  # seconds after which a prediction counts 1/e: a clear change shows after 2 or 3 frames at 25 a second
MIN_DECAY = 0.55  # what a prediction still counts at the next frame, however late: one odd one changes no label
MIN_WEIGHT = 0.025  # of a prediction that is a mere guess; a confident one of two classes weighs 0.5 more


class Tracker:
    """Tracks the faces of one video. It has to see the frames in order."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._track_ids = count(1)
        self._given: Detections | None = None  # the last time
        self._tracked: Detections | None = None

    def update(self, detections: Detections, time_s: float) -> Detections:
        """Give each face the number and the smoothed probabilities of its track.

        Args:
            detections: the faces of the next frame. The very object of the frame before says that this one was not
                searched: its faces are held.
            time_s: when that frame was, in seconds. The pace may vary.

        Returns:
            The same faces in the same order. One that is new is there at once, with a number of its own.
        """
        if self._tracked is None or detections is not self._given:
            self._given, self._tracked = detections, self._tracked_faces(detections, time_s)
        return self._tracked

    def _tracked_faces(self, detections: Detections, time_s: float) -> Detections:
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= MAX_GAP]
        last_boxes = np.array([track.box for track in self._tracks]).reshape(-1, 4)
        matches = match_greedily(box_iou(detections.boxes, last_boxes), MIN_IOU)
        tracks = [self._tracks[matches[i]] if i in matches else self._start_track() for i in range(len(detections))]
        for track, box, probabilities in zip(tracks, detections.boxes, detections.probabilities, strict=True):
            track.see(box, probabilities, time_s)
        smoothed = np.array([track.probabilities for track in tracks], np.float32)
        return replace(
            detections,
            probabilities=smoothed.reshape(detections.probabilities.shape),  # without faces it has lost its columns
            track_ids=np.array([track.track_id for track in tracks], np.int32),
        )

    def _start_track(self) -> _Track:
        self._tracks.append(_Track(next(self._track_ids)))
        return self._tracks[-1]


def match_greedily(overlaps: np.ndarray, min_overlap: float) -> dict[int, int]:
    """Pair rows with columns, the largest overlap first, each at most once.

    Args:
        overlaps: (N, M) float.
        min_overlap: pairs that overlap less are left apart.

    Returns:
        The column of each row that has one.
    """
    matches: dict[int, int] = {}
    free = overlaps.copy()
    while free.size and free.max() >= min_overlap:
        row, column = (int(index) for index in np.unravel_index(free.argmax(), free.shape))
        matches[row] = column
        free[row, :] = free[:, column] = -np.inf
    return matches


class _Track:
    """One face: where it was last, and how it was classified.

    Attributes:
        track_id: its number in the video.
        box: (4,) int32 xyxy in pixels, where it was last seen.
        seen_s: when that was, in seconds.
    """

    def __init__(self, track_id: int) -> None:
        self.track_id = track_id
        self.box = np.zeros(4, np.int32)
        self.seen_s = -np.inf
        self._weighted_sum: np.ndarray | float = 0.0  # of the probabilities, (n_classes,)
        self._weight = 0.0

    @property
    def probabilities(self) -> np.ndarray:
        """(n_classes,) mean of the predictions; recent ones weigh more, and so do confident ones."""
        return np.asarray(self._weighted_sum / self._weight)

    def see(self, box: np.ndarray, probabilities: np.ndarray, time_s: float) -> None:
        """Take in where the face is, (4,) xyxy, and its probabilities, (n_classes,)."""
        decay = max(np.exp((self.seen_s - time_s) / MEMORY), MIN_DECAY)
        weight = probabilities.max() - probabilities.mean() + MIN_WEIGHT
        self._weighted_sum = decay * self._weighted_sum + weight * probabilities
        self._weight = decay * self._weight + weight
        self.box, self.seen_s = box, time_s
