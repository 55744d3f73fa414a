"""A row a photo: its columns in Arrow, the line of JSON with the same content, and the sums over all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mask_detection.distributed.places import Place, cannot_read
from mask_detection.inference.detections import Detections

MAX_EXAMPLES = 5  # of photos that failed
READERS = 8  # files of a store that are read at a time

Record = dict[str, Any]


def photo_schema(class_names: Sequence[str]) -> pa.Schema:
    """The columns of a row: image, width, height, faces, error; the last is null, or those between are.

    A face has the fields of :meth:`Detections.to_records`, of which ``uncertain`` is always there.
    """
    face = pa.struct(
        [
            ("box", pa.list_(pa.int32())),
            ("label", pa.string()),
            ("probability", pa.float64()),
            ("face_confidence", pa.float64()),
            ("uncertain", pa.bool_()),
            ("probabilities", pa.struct([(name, pa.float64()) for name in class_names])),
        ]
    )
    columns = {"image": pa.string(), "width": pa.int32(), "height": pa.int32(), "faces": pa.list_(face)}
    return pa.schema([*columns.items(), ("error", pa.string())])


def photo_record(name: str, image: np.ndarray, detections: Detections) -> Record:
    """The row of a photo, (H, W, 3), in which faces were looked for."""
    height, width = image.shape[:2]
    faces = [{"uncertain": False, **face} for face in detections.to_records()]
    return {"image": name, "width": width, "height": height, "faces": faces}


def failure_record(name: str, reason: object) -> Record:
    """The row of a photo that failed."""
    return {"image": name, "error": str(reason)}


def json_line(row: Record) -> str:
    """The row as ``detect_mask_image.py --json`` writes it: nulls and ``uncertain: false`` left away."""
    record = {name: value for name, value in row.items() if value is not None}
    if "faces" in record:
        record["faces"] = [_without_certain(face) for face in record["faces"]]
    return json.dumps(record)


def _without_certain(face: Record) -> Record:
    return {name: value for name, value in face.items() if name != "uncertain" or value}


@dataclass
class Totals:
    """The sums over all rows.

    Attributes:
        n_photos: how many rows there are.
        n_failed: rows with an error.
        n_empty: photos without a face.
        faces: how many, by label.
        uncertain: how many of them are uncertain, by label.
        examples: a few of the errors.
    """

    n_photos: int = 0
    n_failed: int = 0
    n_empty: int = 0
    faces: Counter[str] = field(default_factory=Counter)
    uncertain: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, faces: pa.Array, errors: pa.Array) -> None:
        """Add some rows, given their columns ``faces`` and ``error``."""
        self.n_photos += len(errors)
        self.n_failed += len(errors) - errors.null_count
        self.n_empty += pc.sum(pc.equal(pc.list_value_length(faces), 0)).as_py() or 0
        found = pc.list_flatten(faces)
        labels = pc.struct_field(found, "label")
        self.faces.update(_counts(labels))
        self.uncertain.update(_counts(labels.filter(pc.struct_field(found, "uncertain"))))
        self.examples = [*self.examples, *errors.drop_null()[:MAX_EXAMPLES].to_pylist()][:MAX_EXAMPLES]

    def merge(self, other: Totals) -> None:
        """Add other sums."""
        self.n_photos += other.n_photos
        self.n_failed += other.n_failed
        self.n_empty += other.n_empty
        self.faces.update(other.faces)
        self.uncertain.update(other.uncertain)
        self.examples = [*self.examples, *other.examples][:MAX_EXAMPLES]

    def table(self) -> str:
        """For the terminal: a line of sums, and one for each class."""
        failed = f"{self.n_failed:,} failed, {self.n_empty:,} without a face"
        head = f"photos: {self.n_photos:,} ({failed}); faces: {self.faces.total():,}"
        width = max(map(len, ("class", *self.faces)))
        rows = [f"{name:<{width}} {self.faces[name]:>13,} {self.uncertain[name]:>13,}" for name in sorted(self.faces)]
        return "\n".join([head, f"{'class':<{width}} {'faces':>13} {'uncertain':>13}", *rows])


def _counts(labels: pa.Array) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(labels).to_pylist()}


def total_of(folder: Place, format_: str, schema: pa.Schema) -> Totals:
    """Add up all rows in a folder.

    Raises:
        MaskDetectionError: a file cannot be read.
    """
    totals = Totals()
    with ThreadPoolExecutor(READERS) as readers:
        for part in readers.map(lambda file: _total_of_file(file, format_, schema), folder.files()):
            totals.merge(part)
    return totals


def _total_of_file(file: Place, format_: str, schema: pa.Schema) -> Totals:
    totals = Totals()
    try:
        for batch in _batches(file, format_, schema):
            totals.add(batch.column("faces"), batch.column("error"))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise cannot_read(file.address, error) from None
    return totals


def _batches(file: Place, format_: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with file.filesystem.open_input_file(file.path) as stream:
        if format_ == "parquet":
            yield from pq.ParquetFile(stream).iter_batches(columns=["faces", "error"])
        else:
            rows = [json.loads(line) for line in stream.read().splitlines()]
            yield pa.RecordBatch.from_pylist([_completed(row) for row in rows], schema=schema)


def _completed(row: Record) -> Record:
    if "faces" not in row:
        return row
    return {**row, "faces": [{"uncertain": False, **face} for face in row["faces"]]}
