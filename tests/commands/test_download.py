"""Fetching pinned files: against a server on this machine, through the command line wherever possible."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request

import pytest

from mask_detection.commands import cli, download
from mask_detection.utils import downloads
from tests.helpers.outcomes import disk_with_room_for, the_error
from tests.helpers.web_server import DATA, Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server


def pin(monkeypatch: pytest.MonkeyPatch, address: str, data: bytes = DATA) -> None:
    """Make the Caffe kit one file at an address of the test's own."""
    remote_file = downloads.RemoteFile("net.bin", address, len(data), hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(downloads.KITS, "caffe", (remote_file,))


def fetch(folder: Path, *options: str) -> int:
    return download.main(["caffe", "--to", str(folder), *options])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_good_file_arrives_whole_and_its_path_is_printed(server, monkeypatch, tmp_path, capsys):
    server.files["/net.bin"] = DATA
    pin(monkeypatch, f"{server.address}/net.bin")

    assert fetch(tmp_path / "new" / "folder") == cli.EXIT_DONE

    path = tmp_path / "new" / "folder" / "net.bin"
    assert path.read_bytes() == DATA
    assert downloads.is_known(path)
    assert capsys.readouterr().out.splitlines() == [str(path)]
    assert names_in(path.parent) == ["net.bin"]


def test_no_progress_bar_where_standard_error_is_no_terminal(server, monkeypatch, tmp_path, capsys):
    server.files["/net.bin"] = DATA
    pin(monkeypatch, f"{server.address}/net.bin")
    fetch(tmp_path)
    assert capsys.readouterr().err == f"fetching {server.address}/net.bin\n"


def test_a_redirect_within_the_rules_is_followed(server, monkeypatch, tmp_path):
    server.files["/net.bin"] = DATA
    pin(monkeypatch, f"{server.address}/redirect/{server.address}/net.bin")
    assert fetch(tmp_path) == cli.EXIT_DONE
    assert (tmp_path / "net.bin").read_bytes() == DATA


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("nowhere.bin", "the server answered 404 Not Found"),
        ("other.bin", "another file arrived"),
        ("shorter.bin", "another file arrived (3 bytes"),
        ("longer.bin", "is larger than the 256,000 bytes"),
        ("endless/", "is larger than the 256,000 bytes"),
        ("cut/", "the transfer was cut off after 1,000 of 256,000 bytes"),
        ("silent/", "the server was silent for 0.2 s"),
        ("stalls/", "the server was silent for 0.2 s"),
        (
            "redirect/http://example.org/net.bin",
            "redirects to http://example.org/net.bin, which is not https",
        ),
        ("redirect/ftp://127.0.0.1/net.bin", "redirects to ftp://127.0.0.1/net.bin, which is not https"),
        ("redirect/file:///etc/hostname", "the server answered 302"),
        ("redirect/http://[", "cannot be reached"),
        ("circle/", "the server answered 302"),
        ("headers/", "cannot be reached (got more than 100 headers)"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(path, fault, server, monkeypatch, tmp_path, capsys):
    server.files["/other.bin"] = DATA[::-1]
    server.files["/shorter.bin"] = b"LFS"
    server.files["/longer.bin"] = DATA + b"!"
    address = f"{server.address}/{path}"
    pin(monkeypatch, address)

    assert fetch(tmp_path, "--timeout", "0.2") == cli.EXIT_UNUSABLE

    error = the_error(capsys)
    assert error.startswith(f"error: {address}: ")
    assert fault in error
    assert f"try again, or fetch it by hand and put it at {tmp_path / 'net.bin'}" in error
    assert names_in(tmp_path) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(server, monkeypatch, tmp_path, capsys):
    server.files["/net.bin"] = DATA
    pin(monkeypatch, f"{server.address}/net.bin")
    with disk_with_room_for(len(DATA) // 2):
        assert fetch(tmp_path) == cli.EXIT_UNUSABLE
    assert f"{tmp_path / 'net.bin'}: cannot be written (File too large)" in the_error(capsys)
    assert names_in(tmp_path) == []


def test_no_server_at_all(server, monkeypatch, tmp_path, capsys):
    with Server() as closed:
        address = f"{closed.address}/net.bin"
    pin(monkeypatch, address)
    assert fetch(tmp_path) == cli.EXIT_UNUSABLE
    assert f"{address}: the server cannot be reached" in the_error(capsys)
    assert names_in(tmp_path) == []


def test_no_network(monkeypatch, tmp_path, capsys):
    def no_answer(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    monkeypatch.setenv("no_proxy", "*")
    pin(monkeypatch, "https://example.org/net.bin")
    assert fetch(tmp_path) == cli.EXIT_UNUSABLE
    assert "no network?" in the_error(capsys)


@pytest.mark.parametrize("address", ["http://example.org/net.bin", "ftp://127.0.0.1/net.bin", "file:///net.bin"])
def test_only_https_and_this_machine_are_asked(address, monkeypatch, tmp_path, capsys):
    pin(monkeypatch, address)
    assert fetch(tmp_path) == cli.EXIT_UNUSABLE
    assert f"{address}: is not an https address" in the_error(capsys)


def test_https_never_leads_back_to_http_even_on_this_machine():
    asked = Request("https://example.org/net.bin")
    with pytest.raises(downloads.TransferError, match="not https"):
        downloads._CheckedRedirects().redirect_request(asked, None, 302, "Found", {}, "http://127.0.0.1/net.bin")


def test_a_server_that_never_ends_is_given_up(server, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "TRANSFER_LIMIT_S", -1.0)
    with pytest.raises(downloads.TransferError, match="had not arrived whole"):
        downloads.transfer(f"{server.address}/stalls/", tmp_path / "net.bin", 1000, timeout_s=5.0)


def test_a_good_file_is_kept_without_network(server, monkeypatch, tmp_path, capsys):
    pin(monkeypatch, f"{server.address}/net.bin")
    (tmp_path / "net.bin").write_bytes(DATA)
    assert fetch(tmp_path) == cli.EXIT_DONE
    assert server.requests == []
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "net.bin")]


def test_another_file_of_the_name_is_replaced_by_a_whole_one_only(server, monkeypatch, tmp_path, capsys):
    pin(monkeypatch, f"{server.address}/net.bin")
    path = tmp_path / "net.bin"
    path.write_bytes(b"my own")

    assert fetch(tmp_path) == cli.EXIT_UNUSABLE
    assert path.read_bytes() == b"my own"
    assert f"{path}, where another file lies" in the_error(capsys)

    server.files["/net.bin"] = DATA
    assert fetch(tmp_path) == cli.EXIT_DONE
    assert path.read_bytes() == DATA
    assert f"{path}: is not the known file; it is replaced" in capsys.readouterr().err


def test_a_place_that_cannot_be_a_folder(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert fetch(tmp_path / "file") == cli.EXIT_UNUSABLE
    assert f"{tmp_path / 'file'}: cannot be made a folder" in the_error(capsys)


def test_only_files_of_the_table_are_known(tmp_path):
    path = tmp_path / "deploy.prototxt"
    path.write_bytes(bytes(downloads.CAFFE[0].n_bytes))
    assert not downloads.is_known(path)
    assert not downloads.is_known(tmp_path / "missing")


def test_the_table_is_pinned_and_https():
    for remote_file in downloads.CAFFE + downloads.YUNET:
        assert remote_file.address.startswith("https://")
        assert remote_file.address.endswith(f"/{remote_file.name}")
        assert (remote_file.algorithm, len(bytes.fromhex(remote_file.digest))) == ("sha256", 32)


@pytest.mark.parametrize("argv", [[], ["ssd"], ["caffe", "--timeout", "0"], ["caffe", "--timeout", "nan"]])
def test_bad_arguments_are_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        download.main(argv)
    assert stopped.value.code == cli.EXIT_UNUSABLE
    assert "usage: python -m mask_detection download" in capsys.readouterr().err
