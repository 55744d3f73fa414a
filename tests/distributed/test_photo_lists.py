"""Photos come from folders, globs, lists and stores, each once, and are written down for the workers."""

from __future__ import annotations

import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mask_detection.distributed import photo_lists
from mask_detection.distributed.photo_lists import write_photo_list
from mask_detection.distributed.places import open_place
from mask_detection.utils.errors import MaskDetectionError


@pytest.fixture
def listed(tmp_path):
    """A function that lists inputs and returns what was written, in order."""

    def write(*inputs: object) -> list[str]:
        folder = tmp_path / "list"
        counted = write_photo_list([str(text) for text in inputs], open_place(str(folder)))
        photos = pq.read_table(folder)["image"].to_pylist()
        assert counted.n_photos == len(photos) == len({*photos})
        return photos

    return write


def test_a_folder_a_glob_and_a_file_give_each_photo_once(listed, many_photos, monkeypatch):
    monkeypatch.chdir(many_photos.parent)
    photos = listed(many_photos.name, many_photos / "*.jpg", many_photos / "03.jpg")
    assert photos == sorted(map(str, many_photos.rglob("*.jpg")))


def test_lists_are_read_line_by_line_and_row_by_row(listed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, table = tmp_path / "a.txt", tmp_path / "b.parquet"
    text.write_text("\ufeff/x/1.jpg\r\n\n2 3.jpg\n/x/1.jpg\ns3://bucket/4.jpg\n", encoding="utf-8")
    pq.write_table(pa.table({"size": [1, 2], "image": ["/x/5.jpg", None]}), table)
    assert listed(text, table) == ["/x/1.jpg", str(tmp_path / "2 3.jpg"), "s3://bucket/4.jpg", "/x/5.jpg"]


def test_a_prefix_of_a_store_is_searched_to_the_bottom(listed, store):
    wanted = [store(f"photos/{name}", b"x") for name in ("a.jpg", "below/b c.PNG", "below/ä#?.webp")]
    store("photos/notes.txt", b"x")
    assert listed("s3://archive/photos") == sorted(wanted)


def test_a_list_lies_in_a_store_too(listed, store):
    assert listed(store("lists/some.txt", b"/x/1.jpg\n/x/2.jpg")) == ["/x/1.jpg", "/x/2.jpg"]


def test_a_long_list_is_written_in_parts(listed, tmp_path, monkeypatch):
    monkeypatch.setattr(photo_lists, "PHOTOS_PER_LIST_FILE", 3)
    (tmp_path / "many.txt").write_text("\n".join(f"/x/{i}.jpg" for i in range(8)))
    assert len(listed(tmp_path / "many.txt")) == 8
    assert len([*(tmp_path / "list").iterdir()]) == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file names of other systems are Unicode")
def test_a_name_that_is_no_utf8_is_counted_and_named(tmp_path, many_photos, caplog):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes((many_photos / "03.jpg").read_bytes())
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    assert write_photo_list([str(folder)], open_place(str(tmp_path / "list"))) == (1, 1)
    assert "its name is no UTF-8" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"\xff\xfe\x00", "is no text in UTF-8"),
        ("a.txt", b"\n\n", "no photos are there"),
        ("a.txt", b"http://host/a.jpg", "is not read here"),
        ("a.txt", None, "no such list"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.parquet", pa.table({"a": ["x"], "b": ["y"]}), "has no column of text called image or path"),
        ("a.parquet", pa.table({"image": [1]}), "has no column of text"),
    ],
)
def test_a_bad_list_is_named_in_one_line(listed, tmp_path, name, content, reason):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        pq.write_table(content, tmp_path / name)
    with pytest.raises(MaskDetectionError, match=reason) as caught:
        listed(tmp_path / name)
    assert "\n" not in str(caught.value)
