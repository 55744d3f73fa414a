"""Folders, files and objects are read, listed and written alike; an address never carries a secret into the rows."""

from __future__ import annotations

import pyarrow.fs as fs
import pytest

from mask_detection.distributed import places
from mask_detection.distributed.places import open_place
from mask_detection.utils.errors import MaskDetectionError


def test_a_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = open_place("photos/../a.jpg")
    assert (place.address, place.is_local) == (str(tmp_path / "a.jpg"), True)


@pytest.fixture(params=["folder", "store"])
def base(request, tmp_path):
    """A folder, and a prefix of a store."""
    if request.param == "folder":
        return open_place(str(tmp_path))
    request.getfixturevalue("store")
    return open_place("s3://archive/base")


def test_what_is_written_is_there(base):
    file = base / "a b?c%20.json"
    file.write(b"{}")
    assert file.read("a job") == b"{}"
    assert file.kind() == fs.FileType.File
    (base / "below" / "c.json").write(b"[]")
    names = {place.address[len(base.address) + 1 :] for place in base.files(recursive=True)}
    assert {"a b?c%20.json", "below/c.json"} <= names
    (again,) = (place for place in base.files() if place.address.endswith("%20.json"))
    assert open_place(again.address).read("a job") == b"{}"


@pytest.mark.parametrize(("content", "reason"), [(None, "no such"), (b"", "is empty"), (b"123", "too many for a job")])
def test_a_bad_object_is_named_in_one_line(base, content, reason, monkeypatch):
    monkeypatch.setattr(places, "MAX_READ_BYTES", 2)
    monkeypatch.setattr("mask_detection.utils.files.MAX_READ_BYTES", 2)
    file = base / "bad.json"
    if content is not None:
        file.write(content)
    with pytest.raises(MaskDetectionError, match=reason) as caught:
        file.read("a job")
    assert str(caught.value).startswith(file.address)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_has_no_files(base):
    assert (base / "nowhere").files() == []


@pytest.mark.parametrize(
    "address",
    ["s3://key:secret@bucket/a.jpg", "s3://user@bucket/a.jpg", "s3://bucket?endpoint_override=evil.example", "s3://"],
)
def test_an_address_with_more_than_a_bucket_is_refused(address):
    with pytest.raises(MaskDetectionError, match="environment"):
        open_place(address)


@pytest.mark.parametrize("address", ["http://host/a.jpg", "file:///etc/passwd", "ftp://host/a.jpg"])
def test_other_schemes_are_refused(address):
    with pytest.raises(MaskDetectionError, match="is not read here"):
        open_place(address)
