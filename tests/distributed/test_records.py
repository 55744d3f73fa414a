"""A row holds what a line of JSON holds, whatever the model's classes are called; the sums are those of the rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mask_detection.distributed.places import open_place
from mask_detection.distributed.records import (
    failure_record,
    json_line,
    photo_record,
    photo_schema,
    total_of,
)
from mask_detection.inference.detections import Detections

CLASSES = ("yes", "no", "b ä")
IMAGE = np.zeros((30, 40, 3), np.uint8)


def some_faces(*probabilities: list[float]) -> Detections:
    boxes = np.array([[i, 2, i + 10, 20] for i in range(len(probabilities))], np.int32).reshape(-1, 4)
    rows = np.array(probabilities, np.float32).reshape(-1, len(CLASSES))
    return Detections(boxes, np.full(len(boxes), 0.9, np.float32), rows, CLASSES)


@pytest.fixture
def rows() -> list[dict]:
    return [
        photo_record("/a.jpg", IMAGE, some_faces([0.9, 0.05, 0.05], [0.2, 0.5, 0.3], [0.1, 0.9, 0.0])),
        photo_record("/b.jpg", IMAGE, some_faces()),
        failure_record("/c.jpg", "/c.jpg: is empty"),
    ]


def through_arrow(rows: list[dict]) -> list[dict]:
    return pa.Table.from_pylist(rows, schema=photo_schema(CLASSES)).to_pylist()


def test_a_row_becomes_the_line_of_the_photo_script(rows):
    lines = [json.loads(json_line(row)) for row in through_arrow(rows)]
    faces = some_faces([0.9, 0.05, 0.05], [0.2, 0.5, 0.3], [0.1, 0.9, 0.0]).to_records()
    assert json_line(through_arrow(rows)[0]) == json.dumps(
        {"image": "/a.jpg", "width": 40, "height": 30, "faces": faces}
    )
    assert lines[1] == {"image": "/b.jpg", "width": 40, "height": 30, "faces": []}
    assert lines[2] == {"image": "/c.jpg", "error": "/c.jpg: is empty"}


@pytest.mark.parametrize("format_", ["parquet", "jsonl"])
def test_the_sums_are_those_of_all_files(rows, tmp_path, format_):
    schema = photo_schema(CLASSES)
    for number, part in enumerate((rows[:1], rows[1:])):
        file = tmp_path / f"{number}.{format_}"
        if format_ == "parquet":
            pq.write_table(pa.Table.from_pylist(part, schema=schema), file)
        else:
            file.write_text("".join(f"{json_line(row)}\n" for row in through_arrow(part)))
    totals = total_of(open_place(str(tmp_path)), format_, schema)
    assert (totals.n_photos, totals.n_failed, totals.n_empty) == (3, 1, 1)
    assert (totals.faces, totals.uncertain) == ({"yes": 1, "no": 2}, {"no": 1})
    assert totals.examples == ["/c.jpg: is empty"]
    assert totals.table().splitlines()[1:] == [
        "class         faces     uncertain",
        "no                2             1",
        "yes               1             0",
    ]


def test_only_failures_have_sums_too(tmp_path):
    schema = photo_schema(CLASSES)
    pq.write_table(pa.Table.from_pylist([failure_record("/c.jpg", "x")] * 9, schema=schema), tmp_path / "a.parquet")
    totals = total_of(open_place(str(tmp_path)), "parquet", schema)
    assert (totals.n_photos, totals.n_failed, totals.n_empty, len(totals.examples)) == (9, 9, 0, 5)
