"""Fetching the classic data set: all of it and nothing else, from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mask_detection.commands import cli, download
from mask_detection.data import classic
from tests.helpers.outcomes import the_error
from tests.helpers.web_server import Server, serving

IMAGES = {"with_mask/0.jpg": b"masked", "without_mask/0.jpg": b"bare", "without_mask/1.jpg": b"bare too"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server


@pytest.fixture
def listed(server, monkeypatch, tmp_path) -> Server:
    """A server, and a list of three images to fetch from it as `/set.zip`."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in IMAGES.items()]
    (tmp_path / "list.sha256").write_text("\n".join(lines))
    monkeypatch.setattr(classic, "HASHES", tmp_path / "list.sha256")
    monkeypatch.setattr(classic, "ADDRESS", f"{server.address}/set.zip")
    return server


def zipped(images: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("observations-cdcf450/README.md", "Mask Classifier")
        for name, data in images.items():
            archive.writestr(f"observations-cdcf450/experiements/data/{name}", data)
    return buffer.getvalue()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fetch_dataset(folder: Path) -> int:
    return download.main(["dataset", "--to", str(folder)])


def test_the_data_set_arrives_as_class_folders(listed, tmp_path, capsys):
    listed.files["/set.zip"] = zipped(IMAGES)
    folder = tmp_path / "dataset"
    (folder / "with_mask").mkdir(parents=True)  # empty, so it may be filled
    (folder / "README.md").write_bytes(b"mine")

    assert fetch_dataset(folder) == cli.EXIT_DONE

    assert files_below(folder) == {**IMAGES, "README.md": b"mine"}
    assert names_in(folder) == ["README.md", "with_mask", "without_mask"]
    assert capsys.readouterr().out.splitlines() == [
        f"{folder / 'with_mask'}: 1 images",
        f"{folder / 'without_mask'}: 2 images",
    ]


def test_members_that_are_not_listed_are_never_written(listed, tmp_path):
    evil = {
        "../evil": b"!",
        "../../../../evil": b"!",
        "with_mask/../../evil": b"!",
        "with_mask/extra.jpg": b"?",
    }
    listed.files["/set.zip"] = zipped({**IMAGES, **evil})
    folder = tmp_path / "deep" / "dataset"
    assert fetch_dataset(folder) == cli.EXIT_DONE
    assert files_below(tmp_path / "deep") == {f"dataset/{name}": data for name, data in IMAGES.items()}
    assert not list(tmp_path.parent.rglob("evil"))


@pytest.mark.parametrize(
    ("archive", "fault"),
    [
        (
            zipped({**IMAGES, "without_mask/1.jpg": b"retouched"}),
            "without_mask/1.jpg in the archive is not the listed",
        ),
        (zipped({"with_mask/0.jpg": b"masked"}), "the archive lacks the image without_mask/0.jpg"),
        (zipped(IMAGES)[:-40], "is not a whole zip archive"),
        (zipped(IMAGES).replace(b"masked", b"mosked"), "is not a whole zip archive"),
        (zipped(IMAGES, zipfile.ZIP_LZMA), "in the archive is not the listed image"),
        (zipped(IMAGES, zipfile.ZIP_BZIP2), "in the archive is not the listed image"),
        (b"<html>", "is not a whole zip archive"),
        (None, "the server answered 404 Not Found"),
    ],
    ids=["wrong hash", "missing image", "cut archive", "damaged image", "lzma", "bzip2", "no archive", "404"],
)
def test_a_data_set_that_fails_leaves_nothing(archive, fault, listed, tmp_path, capsys):
    if archive is not None:
        listed.files["/set.zip"] = archive
    folder = tmp_path / "dataset"
    assert fetch_dataset(folder) == cli.EXIT_UNUSABLE
    error = the_error(capsys)
    assert error.startswith(f"error: {listed.address}/set.zip: ")
    assert fault in error
    assert names_in(folder) == []


def test_an_archive_or_image_beyond_its_limit_is_refused(listed, monkeypatch, tmp_path, capsys):
    listed.files["/set.zip"] = zipped(IMAGES)
    monkeypatch.setattr(classic, "MAX_IMAGE_BYTES", 7)
    assert fetch_dataset(tmp_path / "dataset") == cli.EXIT_UNUSABLE
    assert "without_mask/1.jpg in the archive is not the listed image" in the_error(capsys)

    monkeypatch.setattr(classic, "MAX_ARCHIVE_BYTES", 100)
    assert fetch_dataset(tmp_path / "dataset") == cli.EXIT_UNUSABLE
    assert "is larger than the 100 bytes" in the_error(capsys)


def test_an_image_that_unpacks_to_more_than_it_announces_is_refused_in_little_memory(listed, tmp_path, capsys):
    archive = zipped({**IMAGES, "without_mask/1.jpg": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    listed.files["/set.zip"] = archive.replace(struct.pack("<I", 100 << 20), struct.pack("<I", 1000))
    tracemalloc.start()
    try:
        assert fetch_dataset(tmp_path / "dataset") == cli.EXIT_UNUSABLE
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "is not a whole zip archive" in the_error(capsys)
    assert peak_bytes < 10 << 20


def test_class_folders_with_files_are_not_touched(listed, tmp_path, capsys):
    mine = tmp_path / "dataset" / "without_mask" / "me.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"me")
    assert fetch_dataset(tmp_path / "dataset") == cli.EXIT_UNUSABLE
    assert f"{mine.parent}: is there already and not empty" in the_error(capsys)
    assert files_below(tmp_path / "dataset") == {"without_mask/me.jpg": b"me"}
    assert listed.requests == []


def test_the_committed_list_names_the_classic_set():
    hashes = classic.listed_hashes()
    names = [name.split("/") for name in hashes]
    assert [len(parts) for parts in names] == [2] * 1376
    assert sum(parts[0] == "with_mask" for parts in names) == 690
    assert len(set(hashes.values())) == 1376 - 97  # 97 byte-for-byte copies
    assert not any(part in {"", ".", ".."} for parts in names for part in parts)
