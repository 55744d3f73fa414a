"""How rows are written: Parquet as Ray Data does it, or JSON lines."""

from __future__ import annotations

from typing import Any

from ray.data import Dataset
from ray.data.datasource import BlockBasedFileDatasink

from mask_detection.distributed.places import Place
from mask_detection.distributed.records import json_line

WRITER_CPUS = 0.25


class JsonLines(BlockBasedFileDatasink):
    """Writes a line a photo, with the fields that ``detect_mask_image.py --json`` writes."""

    def __init__(self, folder: Place) -> None:
        super().__init__(folder.path, filesystem=folder.filesystem, file_format="jsonl")

    def write_block_to_file(self, block: Any, file: Any) -> None:
        """Write a block of rows into an open file."""
        for row in block.to_arrow().to_pylist():
            file.write(f"{json_line(row)}\n".encode())


def write_rows(rows: Dataset, folder: Place, format_: str) -> None:
    """Write all rows, a file for each block; this runs the whole job."""
    options = {"num_cpus": WRITER_CPUS}
    if format_ == "parquet":
        rows.write_parquet(folder.path, filesystem=folder.filesystem, ray_remote_args=options)
    else:
        rows.write_datasink(JsonLines(folder), ray_remote_args=options)
