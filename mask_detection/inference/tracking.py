"""Faces tracked through a video, so that each has a number of its own and a label that doesn't flicker.

Labels are averaged over a track, so that not every face of every frame has to be classified: one that is new, uncertain
or much changed is, and any other one in each ``CLASSIFY_EVERY``-th of the frames that are searched.

A face belongs to the track whose last box it overlaps most, pairs taken greedily. Faces hardly overlap one another and
move little between two frames: neither the optimal assignment of the well-known trackers, which needs SciPy, nor a
prediction of the motion follows faces longer in the videos that ``benchmarks/tracking.py`` was run on.

A track is not a person: who leaves the frame, or is hidden for longer than ``MAX_GAP``, comes back as a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np

from mask_detection.inference.detections import CERTAIN_FROM, Detections
from mask_detection.utils.boxes import box_iou

MAX_GAP = 2.0  # seconds for which a face may stay unseen
MIN_IOU = 0.2  # of a face with its track's last box; SORT's usual 0.3 loses more of the small faces, whose boxes jitter
MEMORY = 0.15  # seconds after which a prediction counts 1/e: a clear change shows after 2 or 3 frames at 25 a second
MIN_DECAY = 0.55  # what a prediction still counts at the next frame, however late: one odd one changes no label
MIN_WEIGHT = 0.025  # of a prediction that is a mere guess; a confident one of two classes weighs 0.5 more
CLASSIFY_EVERY = 3  # searched frames, not seconds: where many sources share a processor, each has fewer of them
CLASSIFY_WITHIN = 0.4  # seconds, if the frames are further apart
TIME_STEP = 1e-3  # seconds, which the times of frames are rounded to
MIN_PREDICTIONS = 3  # of a new track, before any of its frames goes without one
SAME_VIEW_IOU = 0.6  # of a face's box with the one that was classified last; below, the crop is another one
SAME_SCORES = 0.25  # by which the face detector's own class scores may differ from those at the last prediction

Classify = Callable[[Detections], Detections]


class Tracker:
    """Tracks the faces of one video. It has to see the frames in order."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._track_ids = count(1)
        self._given: Detections | None = None  # the last time
        self._tracked: Detections | None = None

    def update(self, found: Detections, time_s: float, classify: Classify | None = None) -> Detections:
        """Give each face the number and the averaged probabilities of its track.

        Args:
            found: the faces of the next frame. The very object of the frame before says that this one was not
                searched: its faces are held.
            time_s: when that frame was, in seconds. The pace may vary.
            classify: classifies some of the faces, which are then those that the face detector found, with its own
                class scores if it has any. None says that ``found`` holds the probabilities of all.

        Returns:
            The same faces in the same order. One that is new is there at once, with a number of its own.
        """
        if self._tracked is None or found is not self._given:
            self._given, self._tracked = found, self._tracked_faces(found, time_s, classify)
        return self._tracked

    def _tracked_faces(self, found: Detections, time_s: float, classify: Classify | None) -> Detections:
        tracks = self._matched(found.boxes, time_s)
        due = np.arange(len(found))
        if classify:
            ends = zip(tracks, found.boxes, found.probabilities, strict=True)
            due = np.flatnonzero([track.is_due(box, scores, time_s) for track, box, scores in ends])
        classified = classify(found[due]) if classify else found
        for face, probabilities in zip(due, classified.probabilities, strict=True):
            tracks[face].learn(found.boxes[face], found.probabilities[face], probabilities, time_s)
        for track, box in zip(tracks, found.boxes, strict=True):
            track.see(box, time_s)
        averaged = np.array([track.probabilities for track in tracks], np.float32)
        return Detections(
            boxes=found.boxes,
            face_confidences=found.face_confidences,
            probabilities=averaged.reshape(len(found), len(classified.class_names)),  # no faces have lost their columns
            class_names=classified.class_names,
            track_ids=np.array([track.track_id for track in tracks], np.int32),
        )

    def _matched(self, boxes: np.ndarray, time_s: float) -> list[_Track]:
        """The track of each box (N, 4), a new one where none is near."""
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= MAX_GAP]
        last_boxes = np.array([track.box for track in self._tracks]).reshape(-1, 4)
        matches = match_greedily(box_iou(boxes, last_boxes), MIN_IOU)
        return [self._tracks[matches[i]] if i in matches else self._start_track() for i in range(len(boxes))]

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
        self._n_predictions = 0
        self._n_frames = 0  # seen since the last prediction
        self._classified_s = -np.inf
        self._classified_box = self.box
        self._detector_scores = np.empty(0, np.float32)  # when it was classified last
        self._weighted_sum: np.ndarray | float = 0.0  # of the probabilities, (n_classes,)
        self._weight = 0.0

    @property
    def probabilities(self) -> np.ndarray:
        """(n_classes,) mean of the predictions; recent ones weigh more, and so do confident ones."""
        return np.asarray(self._weighted_sum / self._weight)

    def is_due(self, box: np.ndarray, detector_scores: np.ndarray, time_s: float) -> bool:
        """Whether to classify the face now, at (4,) xyxy and with the face detector's own class scores (M,)."""
        return bool(
            self._n_predictions < MIN_PREDICTIONS
            or self._n_frames >= CLASSIFY_EVERY
            or time_s - self._classified_s > CLASSIFY_WITHIN - TIME_STEP
            or self.probabilities.max() < CERTAIN_FROM
            or box_iou(box[None], self._classified_box[None])[0, 0] < SAME_VIEW_IOU
            or (abs(detector_scores - self._detector_scores) > SAME_SCORES).any()
        )

    def see(self, box: np.ndarray, time_s: float) -> None:
        """Take in that the face is at (4,) xyxy, whether it was classified there or not."""
        self.box, self.seen_s = box, time_s
        self._n_frames += 1

    def learn(self, box: np.ndarray, detector_scores: np.ndarray, probabilities: np.ndarray, time_s: float) -> None:
        """Take in a prediction (n_classes,) of the face at (4,) xyxy."""
        decay = max(np.exp((self._classified_s - time_s) / MEMORY), MIN_DECAY)
        weight = probabilities.max() - probabilities.mean() + MIN_WEIGHT
        self._weighted_sum = decay * self._weighted_sum + weight * probabilities
        self._weight = decay * self._weight + weight
        self._n_predictions += 1
        self._n_frames = 0
        self._classified_s, self._classified_box, self._detector_scores = time_s, box, detector_scores
