"""Prepare a second time, interrupted, or where it cannot be done."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mask_detection.data import jobs
from tests.helpers.data_sets import hashes, left_out, made, prepare, size_of, write
from tests.helpers.outcomes import the_only_line
from tests.helpers.paths import ROOT


def test_the_same_command_again_gives_the_same(source, destination, capsys):
    write(source / "with_mask" / "copy.jpg", (source / "with_mask" / "1.jpg").read_bytes())
    prepare(source, destination)
    first = {path: entry[0] for path, entry in hashes(destination).items()}
    capsys.readouterr()

    assert prepare(source, destination) == 0
    assert {path: entry[0] for path, entry in hashes(destination).items()} == first
    assert capsys.readouterr().err == ""


def test_after_a_kill_the_same_command_goes_on(source, destination):
    write(destination / "left_out.0a1b2c3d.part.csv", "path,reason,copy_of\r\n")
    write(destination / "with_mask" / "1.0a1b2c3d.tmp.part.jpg", b"\xff\xd8 half")

    assert prepare(source, destination) == 0
    assert made(destination) == ["with_mask/1.jpg", "with_mask/2.jpg", "without_mask/3.jpg", "without_mask/4.jpg"]
    assert not list(destination.rglob("*.part.*"))
    assert (destination / "left_out.recovered-1.csv").read_bytes() == b"path,reason,copy_of\r\n"


def test_what_the_source_no_longer_has_is_pointed_out_and_kept(source, destination, capsys):
    prepare(source, destination)
    (source / "with_mask" / "1.jpg").unlink()
    capsys.readouterr()

    assert prepare(source, destination) == 0
    assert (destination / "with_mask" / "1.jpg").exists()
    assert f"{destination / 'with_mask' / '1.jpg'}: not of this run, 1 such files" in the_only_line(capsys)


def test_an_interrupted_run_leaves_whole_files_and_a_list(source, destination, monkeypatch, capsys):
    write(source / "with_mask" / "0.jpg", b"no image")

    def interrupted(entry):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "_report", interrupted)

    assert prepare(source, destination) == 130
    assert list(left_out(destination)) == ["with_mask/0.jpg"]
    assert all(size_of(destination / name) == (40, 30) for name in made(destination))
    assert the_only_line(capsys) == "interrupted"
    monkeypatch.undo()
    assert prepare(source, destination) == 1


def test_a_full_disk_is_one_line(source, destination, monkeypatch, capsys):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)

    assert prepare(source, destination) == 2
    assert "cannot be written (No space left on device)" in the_only_line(capsys)
    assert made(destination) == []


@pytest.mark.parametrize("place", [".", "clean", "..", "with_mask"])
def test_overlapping_folders_are_refused(source, capsys, place):
    before = hashes(source)

    assert prepare(source, source / place) == 2
    assert "overlaps" in the_only_line(capsys)
    assert hashes(source) == before
    assert not (source / "clean").exists()


def test_a_folder_with_other_files_is_refused(source, destination, capsys):
    write(destination / "thesis.txt", "years of work")

    assert prepare(source, destination) == 2
    assert "is not empty and not of an earlier run" in the_only_line(capsys)
    assert made(destination) == ["thesis.txt"]


def test_a_file_as_destination_is_refused(source, tmp_path, capsys):
    assert prepare(source, write(tmp_path / "file", "x")) == 2
    assert "cannot be made a folder" in the_only_line(capsys)


def test_an_unwritable_destination_is_refused(source, destination, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *args: False)  # root may write anywhere, so no chmod

    assert prepare(source, destination) == 2
    assert "denies writing" in the_only_line(capsys)


@pytest.mark.parametrize(("content", "message"), [(None, "no such folder"), ("", "holds no images")])
def test_a_source_without_images_is_refused(tmp_path, destination, capsys, content, message):
    if content is not None:
        write(tmp_path / "raw" / "notes.txt", content)

    assert prepare(tmp_path / "raw", destination) == 2
    assert message in the_only_line(capsys)


def test_status_2_when_nothing_could_be_read(tmp_path, destination):
    write(tmp_path / "raw" / "with_mask" / "1.jpg", b"junk")

    assert prepare(tmp_path / "raw", destination) == 2
    assert list(left_out(destination)) == ["with_mask/1.jpg"]


@pytest.mark.parametrize("option", [("--margin", "0"), ("--annotations", "."), ("--leave-out-fold", "A")])
def test_options_of_crop_faces_are_refused(source, destination, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        prepare(source, destination, *option)
    assert stopped.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_help_teaches_and_loads_nothing_heavy():
    code = (
        "import sys, mask_detection.commands.prepare as p\n"
        "try: p.main(['--help'])\n"
        "except SystemExit: sys.exit('cv2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "left_out.csv" in done.stdout
