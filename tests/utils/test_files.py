"""Listing folders: hidden files, links, pipes and folders that cannot be listed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import list_files


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def listed(folder: Path, **options: object) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_files(folder, **options)]


def test_files_are_listed_by_path_to_the_bottom_or_not(tmp_path):
    fill(tmp_path, "b/deep/down/1.txt", "b/2.txt", "a.txt", "c.txt")
    assert listed(tmp_path) == ["a.txt", "b/2.txt", "b/deep/down/1.txt", "c.txt"]
    assert listed(tmp_path, subfolders=False) == ["a.txt", "c.txt"]


def test_hidden_files_and_folders_are_not_listed(tmp_path):
    assert listed(fill(tmp_path, "seen.txt", ".hidden.txt", ".git/config")) == ["seen.txt"]


def test_links_are_followed_once_or_not_at_all(tmp_path):
    folder, elsewhere = fill(tmp_path / "folder", "1.txt"), fill(tmp_path / "elsewhere", "2.txt")
    try:
        (folder / "back").symlink_to(folder, target_is_directory=True)
        (folder / "there").symlink_to(elsewhere, target_is_directory=True)
        (folder / "there too").symlink_to(elsewhere, target_is_directory=True)
        (folder / "dead.txt").symlink_to(folder / "gone.txt")
    except OSError:
        pytest.skip("this system allows no links")
    assert listed(folder) == ["1.txt", "dead.txt", "there/2.txt"]
    assert listed(folder, follow_links=False) == ["1.txt", "dead.txt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_are_not_listed(tmp_path):
    os.mkfifo(fill(tmp_path, "1.txt") / "pipe")
    assert listed(tmp_path) == ["1.txt"]


def test_a_folder_that_cannot_be_listed_is_an_error_or_reported(tmp_path, monkeypatch):
    fill(tmp_path, "a/1.txt", "b/2.txt")
    really_scan = os.scandir

    def deny(path: Path | str) -> object:  # root may list anything, so no chmod
        if Path(path) == tmp_path / "a":
            raise PermissionError(13, "Permission denied", str(path))
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(MaskDetectionError, match=r"a: cannot be listed \(Permission denied\)"):
        list_files(tmp_path)
    faults: list[MaskDetectionError] = []
    assert listed(tmp_path, on_error=faults.append) == ["b/2.txt"]
    assert len(faults) == 1


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(MaskDetectionError, match="nowhere: cannot be listed"):
        list_files(tmp_path / "nowhere")
