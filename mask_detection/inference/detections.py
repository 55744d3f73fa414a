"""What was found in one image: the type that travels between the stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import supervision as sv

CERTAIN_FROM = 0.8  # probability; the shipped model is trained to stay below it where it sees no face


class Face(NamedTuple):
    """One face of :class:`Detections`.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the image, x2 and y2 exclusive.
        label: its most probable class.
        probability: of that class.
        uncertain: whether the probability is too low to rely on.
        confidence: of the face detector that this is a face, 0..1.
        track: its number in the video; None where it isn't tracked.
    """

    box: tuple[int, int, int, int]
    label: str
    probability: float
    uncertain: bool
    confidence: float
    track: int | None


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """N faces of one image with the probabilities of each class; no faces are N = 0 with the same columns.

    ``detections[i]`` is a :class:`Face`, as are the items of an iteration; ``detections[mask]``, a slice or an array of
    indices give :class:`Detections` of fewer faces.

    Attributes:
        boxes: (N, 4) int32, xyxy in pixels of the image, x2 and y2 exclusive, inside the image.
        face_confidences: (N,) float32, of the face detector, 0..1.
        probabilities: (N, n_classes) float32, rows sum to 1.
        class_names: the classes in the order of the columns of ``probabilities``.
        track_ids: (N,) int32, the number of each face's track in a video, from 1 on; -1 for one that is not tracked.
            None where nothing is tracked, as in a single image.
    """

    boxes: np.ndarray
    face_confidences: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    track_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check shapes and types once, so that no later stage has to."""
        count = len(self.boxes)
        expected = {
            "boxes": ((count, 4), np.int32),
            "face_confidences": ((count,), np.float32),
            "probabilities": ((count, len(self.class_names)), np.float32),
        }
        if self.track_ids is not None:
            expected["track_ids"] = ((count,), np.int32)
        for name, (shape, dtype) in expected.items():
            column = getattr(self, name)
            if column.shape != shape or column.dtype != dtype:
                raise ValueError(f"{name} is {column.shape} {column.dtype}, expected {shape} {np.dtype(dtype)}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        counts = Counter(self.labels)
        classes = ", ".join(f"{counts[name]} {name}" for name in self.class_names if counts[name])
        faces = "1 face" if len(self) == 1 else f"{len(self) or 'no'} faces"
        return f"Detections({faces}: {classes})" if classes else f"Detections({faces})"

    def __iter__(self) -> Iterator[Face]:
        columns = (self.boxes.tolist(), self.labels, self.label_probabilities.tolist(), self.uncertain.tolist())
        for box, *values in zip(*columns, self.face_confidences.tolist(), self.tracks, strict=True):
            yield Face(tuple(box), *values)

    @overload
    def __getitem__(self, index: int | np.integer) -> Face: ...

    @overload
    def __getitem__(self, index: slice | np.ndarray | list[int] | list[bool]) -> Detections: ...

    def __getitem__(self, index: int | np.integer | slice | np.ndarray | list[int] | list[bool]) -> Face | Detections:
        """One face by its index; or some of them by a mask (N,) bool, a slice or indices (M,) int."""
        if isinstance(index, (int, np.integer)):
            (face,) = self[[range(len(self))[index]]]
            return face
        chosen = np.arange(len(self))[np.asarray(index, int) if isinstance(index, list) and not index else index]
        return replace(
            self,
            boxes=self.boxes[chosen],
            face_confidences=self.face_confidences[chosen],
            probabilities=self.probabilities[chosen],
            track_ids=None if self.track_ids is None else self.track_ids[chosen],
        )

    @property
    def class_ids(self) -> np.ndarray:
        """(N,) index of each face's most probable class."""
        return self.probabilities.argmax(axis=1)

    @property
    def labels(self) -> list[str]:
        """The most probable class of each face."""
        return [self.class_names[i] for i in self.class_ids]

    @property
    def label_probabilities(self) -> np.ndarray:
        """(N,) float32, the probability of each face's label."""
        return self.probabilities.max(axis=1, initial=0.0)

    @property
    def uncertain(self) -> np.ndarray:
        """(N,) bool, where the label's probability is too low to rely on it."""
        return self.label_probabilities < CERTAIN_FROM

    @property
    def tracks(self) -> list[int | None]:
        """The number of each face's track in a video, None for one that is not tracked."""
        if self.track_ids is None:
            return [None] * len(self)
        return [track_id if track_id >= 0 else None for track_id in self.track_ids.tolist()]

    def to_records(self) -> list[dict[str, Any]]:
        """One plain dictionary a face, ready for JSON: ``uncertain`` and ``track`` stand only where they apply.

        ``probabilities`` holds that of each class.
        """
        records = []
        for face, probabilities in zip(self, self.probabilities.astype(float).round(4).tolist(), strict=True):
            record: dict[str, Any] = {
                "box": list(face.box),
                "label": face.label,
                "probability": round(face.probability, 4),
                "face_confidence": round(face.confidence, 4),
            }
            if face.uncertain:
                record["uncertain"] = True
            if face.track is not None:
                record["track"] = face.track
            record["probabilities"] = dict(zip(self.class_names, probabilities, strict=True))
            records.append(record)
        return records

    def to_supervision(self) -> sv.Detections:
        """The same as ``supervision.Detections``, whose confidence is that of the face times that of the label.

        Raises:
            ImportError: supervision is not installed; run `pip install supervision`.
        """
        import supervision as sv

        return sv.Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.face_confidences * self.label_probabilities,
            class_id=self.class_ids,
            tracker_id=self.track_ids,
            data={"class_name": np.array(self.labels, str), "face_confidence": self.face_confidences},
        )

    def to_pandas(self) -> pd.DataFrame:
        """A row a face: x1, y1, x2, y2, label, probability, uncertain, face_confidence, track.

        Raises:
            ImportError: pandas is not installed; run `pip install pandas`.
        """
        import pandas as pd

        columns = ["x1", "y1", "x2", "y2", "label", "probability", "uncertain", "face_confidence", "track"]
        return pd.DataFrame([(*face.box, *face[1:]) for face in self], columns=columns)
