"""Addresses: what they may make FFmpeg do, and the secrets in them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator

import pytest

import detect_mask_video
from mask_detection.commands import cli
from mask_detection.io import ffmpeg
from mask_detection.io.sources import open_source
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.videos import FRAME_COUNT, N_SHOWN, Act, endless, streaming
from tests.helpers.web_server import serving

pytestmark = pytest.mark.usefixtures("short_pauses", "no_stale_frames")


# --- what sources may make FFmpeg do ---

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("form", [HLS, "ffconcat version 1.0\nfile {}\n"], ids=["HLS", "concat"])
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_a_playlist_on_a_server_reaches_no_other_host(form, name, video, served, detect, tmp_path, errors):
    with serving() as other:
        other.files["/clip.avi"] = video.read_bytes()
        address = served(name, form.format(f"{other.address}/clip.avi").encode())
        assert detect(address, "--log", tmp_path / "seen.csv", "--timeout", 0.5) == cli.EXIT_UNUSABLE
        assert other.requests == []
    (error,) = errors()
    assert error.startswith(f"error: {address}: does not open; ")
    assert ("playlist" in error) == name.endswith(".m3u8")


@pytest.mark.parametrize("address", ["concat://a|b", "gopher://127.0.0.1/1", "lavfi://testsrc", "subfile://x"])
def test_addresses_of_other_kinds_are_refused(address, detect, tmp_path, errors):
    assert detect(address, "--log", tmp_path / "seen.csv") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: {address}: is no address that is read here; use one of http, https, rtsp, ")


def test_options_of_the_users_own_come_first_and_stay(monkeypatch, served, video):
    own = "format_whitelist;mov|probesize;500000"
    monkeypatch.setenv(ffmpeg.OPTIONS_VARIABLE, own)
    address = served("clip.avi", video.read_bytes())
    with pytest.raises(MaskDetectionError, match="does not open"):
        open_source(address, timeout_s=0.3)
    assert os.environ[ffmpeg.OPTIONS_VARIABLE] == own
    monkeypatch.delenv(ffmpeg.OPTIONS_VARIABLE)
    with open_source(address) as source:
        assert len(list(source)) == FRAME_COUNT
    assert ffmpeg.OPTIONS_VARIABLE not in os.environ


def test_threads_that_open_different_kinds_keep_apart(video, served):
    address, failed = served("clip.avi", video.read_bytes()), []

    def open_often(source: str) -> None:
        for _ in range(20):
            try:
                open_source(source).close()
            except MaskDetectionError as error:
                failed.append(error)

    threads = [threading.Thread(target=open_often, args=(source,)) for source in [address, str(video)] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert ffmpeg.OPTIONS_VARIABLE not in os.environ


# --- secrets of addresses ---


SECRETS = ("secr@t", "ab/c")


@pytest.fixture
def secret_stream(small_portrait) -> Iterator[str]:
    """The address of a stream that needs a password and a token, and drops twice."""
    portraits = [small_portrait] * N_SHOWN
    with streaming(Act(portraits), Act(endless(portraits))) as server:
        yield server.address.replace("//", f"//admin:{SECRETS[0]}@") + f"?token={SECRETS[1]}"


def test_secrets_get_into_no_output(secret_stream, detect, tmp_path, capfd):
    told, summary, log = (tmp_path / name for name in ("told.jsonl", "summary.json", "seen.jsonl"))
    copy = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"w\").write(sys.stdin.read())' {told}"
    alarm = ["--alert-command", copy, "--alert-after", 0, "--alert-class", "with_mask", "without_mask"]
    outputs = ["--summary", summary, "--log", log, *alarm]

    assert detect(secret_stream, *outputs, "--max-frames", 2 * N_SHOWN) == cli.EXIT_DONE

    shown = secret_stream.replace(SECRETS[0], "…").replace(SECRETS[1], "…")
    printed = "".join(capfd.readouterr())
    assert f"{shown}: is back after " in printed
    assert json.loads(summary.read_text("utf-8"))["source"] == json.loads(told.read_text("utf-8"))["source"] == shown
    texts = [printed, *(path.read_text("utf-8") for path in tmp_path.iterdir())]
    assert not any(secret in text for secret in SECRETS for text in texts)


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://admin:a@secret@127.0.0.1:9/1",
        "rtsp:/admin:a@secret@127.0.0.1",
        "admin:a@secret@127.0.0.1",
        "x:secret@" * 99,
    ],
)
def test_secrets_stay_out_of_errors(source, detect, tmp_path, capfd):
    assert detect(source, "--log", tmp_path / "seen.csv", "--timeout", 0.2) == cli.EXIT_UNUSABLE
    printed = capfd.readouterr().err
    assert printed.splitlines()[-1].startswith("error: ")
    assert "secret" not in printed


def test_an_address_that_is_no_option_is_not_repeated_with_its_password(capsys):
    with pytest.raises(SystemExit):
        detect_mask_video.main(["rtsp://admin:secret@camera/1"])
    assert "secret" not in capsys.readouterr().err


def options_of(*arguments: object) -> argparse.Namespace:
    return detect_mask_video.parse_arguments([str(argument) for argument in arguments])


def test_a_source_may_stand_in_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "camera.txt"
    file.write_text(" rtsp://admin:secret@camera/1\n", "utf-8")
    assert options_of("--source-file", file).source == ["rtsp://admin:secret@camera/1"]
    assert options_of().source == ["0"]
    monkeypatch.setenv("MASK_SOURCE", "rtsp://camera/2")
    assert options_of().source == ["rtsp://camera/2"]
    assert options_of("--source", "street.mp4").source == ["street.mp4"]
    assert options_of("--source-file", file).source == ["rtsp://admin:secret@camera/1"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read (No such file or directory); check the path"),
        (b"secret \xff", "cannot be read (it is no text); check the path"),
        (b" \n", "holds 0 lines; write one into it"),
        (b"secret\nsecret", "holds 2 lines; write one into it"),
    ],
)
def test_a_file_without_a_source_is_one_line(tmp_path, content, fault, capsys):
    file = tmp_path / "camera.txt"
    if content is not None:
        file.write_bytes(content)
    assert detect_mask_video.main(["--source-file", str(file), "--log", "-"]) == cli.EXIT_UNUSABLE
    assert capsys.readouterr().err == f"error: --source-file {file}: {fault}\n"
