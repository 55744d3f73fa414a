"""Old recordings are deleted, the oldest first; nothing else ever is, whatever stands in the manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mask_detection.io.growing import cut_after_last_line
from mask_detection.recording.retention import HEADER, Manifest, Retention, open_manifest
from mask_detection.utils.errors import OutputError

NOW_S = 1_800_000_000.0


def record(manifest: Manifest, folder: Path, name: str, n_bytes: int = 100, age_s: float = 0.0) -> Path:
    path = folder / name
    manifest.begin(path)
    path.write_bytes(b"x" * n_bytes)
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    manifest.finish(path)
    return path


@contextmanager
def kept(folder: Path, keep_bytes: float | None = None, keep_s: float | None = None) -> Iterator[tuple]:
    with open_manifest(folder / "door.mkv.manifest", cut_after_last_line) as manifest:
        retention = Retention(keep_bytes, keep_s, clock=lambda: NOW_S)
        retention.manifests.append(manifest)
        yield manifest, retention


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.mkv"))


def test_the_oldest_are_deleted_until_the_rest_fits(tmp_path):
    (tmp_path / "holiday.mkv").write_bytes(b"x" * 1000)
    with kept(tmp_path, keep_bytes=250) as (manifest, retention):
        for i in range(4):
            record(manifest, tmp_path, f"{i}.mkv", age_s=100 - i)
        retention.tidy()
        assert names(tmp_path) == ["2.mkv", "3.mkv", "holiday.mkv"]
        retention.tidy()
        assert names(tmp_path) == ["2.mkv", "3.mkv", "holiday.mkv"]


def test_what_is_too_old_is_deleted(tmp_path):
    with kept(tmp_path, keep_s=50) as (manifest, retention):
        for age_s in (100, 51, 49, 0):
            record(manifest, tmp_path, f"{age_s}.mkv", age_s=age_s)
        retention.tidy()
    assert names(tmp_path) == ["0.mkv", "49.mkv"]


def test_several_manifests_share_the_limit(tmp_path):
    with (
        open_manifest(tmp_path / "a.manifest", cut_after_last_line) as first,
        open_manifest(tmp_path / "b.manifest", cut_after_last_line) as second,
    ):
        retention = Retention(150, None, clock=lambda: NOW_S)
        retention.manifests += [first, second]
        record(first, tmp_path, "old.mkv", age_s=10)
        record(second, tmp_path, "older.mkv", age_s=20)
        record(first, tmp_path, "new.mkv", age_s=0)
        retention.tidy()
    assert names(tmp_path) == ["new.mkv"]


def test_the_next_run_goes_on_with_the_recordings(tmp_path):
    with kept(tmp_path) as (manifest, _):
        for i in range(3):
            record(manifest, tmp_path, f"{i}.mkv", age_s=100 - i)
    with kept(tmp_path, keep_bytes=100) as (_, retention):
        retention.tidy()
    assert names(tmp_path) == ["2.mkv"]
    with kept(tmp_path):
        pass
    lines = (tmp_path / "door.mkv.manifest").read_text().splitlines()
    assert lines[0] == HEADER
    assert [json.loads(line)["file"] for line in lines[1:]] == ["2.mkv"]


def test_a_file_that_was_replaced_is_left_alone(tmp_path):
    with kept(tmp_path, keep_bytes=0) as (manifest, retention):
        path = record(manifest, tmp_path, "0.mkv", age_s=100)
        path.write_bytes(b"my own")
        linked = record(manifest, tmp_path, "1.mkv", age_s=90)
        linked.rename(tmp_path / "moved.txt")
        linked.symlink_to(tmp_path / "moved.txt")
        retention.tidy()
        assert not manifest.recordings
    assert names(tmp_path) == ["0.mkv", "1.mkv"]
    assert (tmp_path / "moved.txt").exists()


@pytest.mark.parametrize("name", ["../precious.mkv", "/etc/precious.mkv", "", ".", "..", "sub/precious.mkv"])
def test_an_entry_never_leads_out_of_the_folder(tmp_path, name):
    folder = tmp_path / "recordings"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path, folder / "sub"):
        (place / "precious.mkv").write_bytes(b"x")
        os.utime(place / "precious.mkv", (1, 1))
    entry = {"file": name, "bytes": 1, "modified_ns": 1_000_000_000}
    (folder / "door.mkv.manifest").write_text(f"{HEADER}\n{json.dumps(entry)}\n")
    with kept(folder, keep_bytes=0) as (_, retention):
        retention.tidy()
    assert (tmp_path / "precious.mkv").exists()
    assert (folder / "sub" / "precious.mkv").exists()


@pytest.mark.parametrize("line", ["[]", "7", "{", '{"file": 3}', '{"bytes": 1}', '{"file": "a", "bytes": "many"}'])
def test_what_is_no_entry_is_left_out(tmp_path, line):
    (tmp_path / "door.mkv.manifest").write_text(f"{HEADER}\n{line}\n")
    with kept(tmp_path, keep_bytes=0) as (manifest, retention):
        retention.tidy()
        assert not manifest.recordings


def test_another_file_of_that_name_is_refused(tmp_path):
    (tmp_path / "door.mkv.manifest").write_text("my notes\n")
    with pytest.raises(OutputError, match="holds something else"), kept(tmp_path):
        pytest.fail("it was opened")
    assert (tmp_path / "door.mkv.manifest").read_text() == "my notes\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_one_run_at_a_time_uses_a_manifest(tmp_path):
    with kept(tmp_path) as (manifest, _):
        record(manifest, tmp_path, "0.mkv")
        with pytest.raises(OutputError, match="another run is writing it"), kept(tmp_path):
            pytest.fail("it was opened")


def test_what_a_killed_run_left_is_recovered_and_listed(tmp_path):
    with kept(tmp_path) as (manifest, _):
        manifest.begin(tmp_path / "door-1.jsonl")
    (tmp_path / "door-1.1a2b3c4d.part.jsonl").write_text("one\ntwo\nthr")
    with kept(tmp_path) as (manifest, _):
        assert [*manifest.recordings] == ["door-1.recovered-1.jsonl"]
    assert (tmp_path / "door-1.recovered-1.jsonl").read_text() == "one\ntwo\n"
