"""The archive command: the rows of detect_mask_image.py, each photo once, however a run ended before."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

import detect_mask_image
from mask_detection.commands import archive, cli
from mask_detection.distributed import run as run_module
from mask_detection.distributed.places import open_place
from mask_detection.distributed.records import Record, json_line
from mask_detection.distributed.worker import PhotoDetector
from tests.helpers.data_sets import hashes
from tests.helpers.videos import lines_of

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("one_ray")]
DEADLY = "13.jpg"
COLUMNS = ("image", "width", "height", "faces", "error")


@pytest.fixture(scope="session")
def stages(tiny_model: Path) -> list[str]:
    return ["--detector", "builtin", "--model", str(tiny_model)]


@pytest.fixture
def start(stages: list[str], tmp_path: Path) -> Callable[..., int]:
    """A function that runs the command on photos, with the output ``out``; files hold 5 rows."""

    def run(*arguments: object, output: object = tmp_path / "out") -> int:
        words = ("--output", output, "--photos-per-file", 5, *stages, *arguments)
        return archive.main([str(word) for word in words])

    return run


@pytest.fixture(scope="session")
def plain(tmp_path_factory, stages, many_photos, bad_photos) -> dict[str, str]:
    """The line that detect_mask_image.py writes for each photo."""
    path = tmp_path_factory.mktemp("plain") / "plain.jsonl"
    photos = [*sorted(many_photos.rglob("*.jpg")), *bad_photos]
    arguments = ["--image", *photos, "--json", path, "--no-display", *stages]
    assert detect_mask_image.main([str(word) for word in arguments]) == cli.EXIT_SOME_FAILED
    return {record["image"]: json.dumps(record) for record in lines_of(path)}


def rows_in(output: object) -> dict[str, str]:
    """The line of JSON that each row is worth, by photo; each photo has one row."""
    place = open_place(f"{output}/records")
    rows = pads.dataset(place.path, filesystem=place.filesystem).to_table().to_pylist()
    lines = {row["image"]: json_line(row) for row in rows}
    assert len(lines) == len(rows)
    return lines


def forget(output: Path, n_files: int) -> None:
    """Leave what a run would that was killed before so many of its files, and while one was written."""
    job = json.loads((output / "job.json").read_text())
    (output / "job.json").write_text(json.dumps({**job, "finished": False}))
    done = sorted((output / "checkpoint").iterdir())
    for checkpoint in done[:n_files]:
        (file,) = (output / "records").glob(f"{checkpoint.stem}*")
        file.unlink()
        checkpoint.unlink()
    done[n_files].rename(done[n_files].with_suffix(".pending.parquet"))


def test_an_interrupted_run_is_gone_on_with_and_a_finished_one_is_left_as_it_is(
    start, plain, many_photos, bad_photos, tmp_path, capsys
):
    photos = ("--image", many_photos, *bad_photos)
    output = tmp_path / "out"
    assert start(*photos) == cli.EXIT_SOME_FAILED
    assert rows_in(output) == plain
    printed = capsys.readouterr()
    assert "\nphotos: 27 (3 failed, " in f"\n{printed.out}"
    assert all(f"error: {photo}: " in printed.err for photo in bad_photos)

    assert {tuple(pq.read_schema(file).names) for file in (output / "records").iterdir()} == {COLUMNS}

    forget(output, n_files=2)
    half_done = hashes(output)
    assert start(*photos) == cli.EXIT_UNUSABLE
    assert "a job was begun there; --resume goes on with it" in capsys.readouterr().err
    assert start(*photos, "--resume", "--confidence", 0.9) == cli.EXIT_UNUSABLE
    assert "was begun with another confidence: 0.5" in capsys.readouterr().err
    assert hashes(output) == half_done
    assert start(*photos, "--resume") == cli.EXIT_SOME_FAILED
    assert rows_in(output) == plain

    finished = hashes(output)
    assert start(*photos) == cli.EXIT_UNUSABLE
    assert start(*photos, "--resume") == cli.EXIT_DONE
    assert "is finished, nothing is left to do" in capsys.readouterr().err
    assert hashes(output) == finished


def test_photos_lists_and_rows_may_lie_in_a_store(start, store, plain, many_photos, tmp_path):
    expected, addresses = {}, []
    for path in sorted(many_photos.glob("*.jpg")):
        addresses.append(store(f"many/{path.name}", path.read_bytes()))
        expected[addresses[-1]] = plain[str(path)].replace(str(path), addresses[-1])
    missing = "s3://archive/many/missing.jpg"
    photo_list = store("all.txt", "\n".join([*addresses, missing]).encode())
    output = "s3://archive/rows"
    assert start("--image", photo_list, output=output) == cli.EXIT_SOME_FAILED
    rows = rows_in(output)
    assert json.loads(rows.pop(missing)) == {"image": missing, "error": f"{missing}: no such object; check the address"}
    assert rows == expected
    assert start("--image", photo_list, "--resume", output=output) == cli.EXIT_DONE


class Fragile(PhotoDetector):
    """A worker that a photo kills."""

    def _row(self, photo: str) -> Record:
        if photo.endswith(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._row(photo)


def test_a_photo_that_kills_workers_becomes_an_error(start, plain, many_photos, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "PhotoDetector", Fragile)
    assert start("--image", many_photos, "--format", "jsonl") == cli.EXIT_SOME_FAILED
    lines = [line for file in (tmp_path / "out" / "records").iterdir() for line in file.read_text().splitlines()]
    (failed,) = (record for record in map(json.loads, lines) if "error" in record)
    assert failed["image"].endswith(DEADLY)
    assert "ended the processes that read it" in failed["error"]
    others = {line for line in lines if json.loads(line)["image"] != failed["image"]}
    assert others == {plain[str(photo)] for photo in many_photos.rglob("*.jpg") if photo.name != DEADLY}
