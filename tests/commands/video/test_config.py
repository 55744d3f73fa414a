"""The configuration file: any option, a table a source, and the command line wins; what is unknown is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import detect_mask_video
from mask_detection.commands import cli
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import ROOT
from tests.helpers.videos import lines_of

DOOR = """
keep = "10GB"
keep-days = 7
segment = "10m"
log = "door-{source}.jsonl"
every = 2
confidence = 0.6
no-display = true
one-stage = false
alert-class = ["without_mask", "mask_weared_incorrect"]
clips = "clips"

[source.entrance]
address = "rtsp://camera.local/1"
user = "viewer"
password = "p@ss:/ä"

[source.desk]
address = "0"
"""


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a configuration file."""

    def write(text: str) -> Path:
        path = tmp_path / "door.toml"
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        return path

    return write


def parse(*words: object):
    return detect_mask_video.parse_arguments([str(word) for word in words])


def test_options_and_sources_come_from_the_file(config):
    args = parse("--config", config(DOOR))
    assert (args.keep, args.keep_days, args.segment, args.every, args.confidence) == (10**10, 7, 600, 2, 0.6)
    assert (args.no_display, args.one_stage) == (True, False)
    assert args.alert_class == ["without_mask", "mask_weared_incorrect"]
    assert args.name == ["entrance", "desk"]
    assert args.source == ["rtsp://viewer:p%40ss%3A%2F%C3%A4@camera.local/1", "0"]


def test_the_command_line_wins(config):
    args = parse("--every", 3, f"--config={config(DOOR)}", "--source", "1", "--log", "-")
    assert (args.every, args.source, args.name, str(args.log)) == (3, ["1"], None, "-")
    assert args.keep_days == 7
    args = parse("--config", config(DOOR), "--name", "a", "b")
    assert args.name == ["a", "b"]


def test_a_password_may_stand_in_a_file_of_its_own(config, tmp_path):
    (tmp_path / "password").write_text("secret\n")
    table = f'[source.door]\naddress = "rtsp://camera/1"\nuser = "me"\npassword-file = "{tmp_path / "password"}"\n'
    assert parse("--config", config(table)).source == ["rtsp://me:secret@camera/1"]


def test_the_file_is_enough_to_run(play_cards, config, tmp_path):
    path = config(f'log = "{tmp_path / "seen.jsonl"}"\nmax-frames = 5\n')
    assert play_cards("M" * 9, "--config", path) == cli.EXIT_DONE
    assert len(lines_of(tmp_path / "seen.jsonl")) == 5


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_password_that_others_may_read_is_said(config, caplog):
    path = config(DOOR)
    path.chmod(0o644)
    parse("--config", path)
    assert "holds a password and others may read it; run chmod 600" in caplog.text
    assert "p@ss" not in caplog.text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kep = 3", "kep is no option"),
        ("config = 'other.toml'", "config is no option"),
        ("no = true", "no is no option"),
        ("keep = 'much'", "argument --keep: 'much' is not a size"),
        ("every = 0", "argument --every: '0' is not a whole number"),
        ("detector = 'best'", "argument --detector: invalid choice: 'best'"),
        ("log = {a = 1}", "log is neither text nor number"),
        ("log = 2026-01-31", "log is neither text nor number"),
        ("log = []", "log is neither text nor number"),
        ("no-display = 7", "argument --no-display: ignored explicit argument '7'"),
        ("source = 7 7", "is no TOML"),
        ("[source.'../door']\naddress='0'", "is no name of up to 60"),
        ("[source.door]\nuser='me'", "[source.door]: address is missing"),
        ("[source.door]\naddress='0'\ncolour='red'", "[source.door]: colour is no key"),
        ("[source.door]\naddress=0", "[source.door]: is no table of texts"),
        ("[source]\ndoor='0'", "[source.door]: is no table of texts"),
        ("[source.door]\naddress='0'\nuser='me'", "user and password are for addresses"),
        ("[source.door]\naddress='rtsp://a:b@c/1'\nuser='me'", "user and password are for addresses that hold none"),
        ("[source.door]\naddress='rtsp://c/1'\npassword-file='/nowhere/x'", "password-file /nowhere/x: cannot be read"),
    ],
)
def test_what_is_wrong_in_it_is_one_line_that_names_the_file(config, text, fault, errors):
    path = config(text)
    assert detect_mask_video.main(["--config", str(path)]) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: {path}")
    assert fault in error


def test_the_file_of_the_docs_works(config, tmp_path):
    text = (ROOT / "docs" / "deploy" / "door.toml").read_text("utf-8")
    (tmp_path / "entrance").write_text("secret")
    args = parse("--config", config(re.sub(r'"/run/credentials/.*?"', f'"{tmp_path / "entrance"}"', text)))
    assert (args.name, args.source) == (["entrance"], ["rtsp://viewer:secret@camera.local/stream"])
    assert (args.keep_days, args.blur_faces, args.timeout) == (3, True, 86400)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(MaskDetectionError, match="cannot be read"):
        parse("--config", tmp_path / "none.toml")
