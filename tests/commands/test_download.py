"""Fetching pinned files: against a server on this machine, through the command line wherever possible."""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import pytest

from mask_detection.commands import cli, download
from mask_detection.utils import downloads
from tests.conftest import disk_with_room_for

DATA = bytes(range(256)) * 1000
IMAGES = {"with_mask/0.jpg": b"masked", "without_mask/0.jpg": b"bare", "without_mask/1.jpg": b"bare too"}


class Server(ThreadingHTTPServer):
    """Answers by path; `released` ends the answers that hang."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.released = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        behaviour, _, rest = self.path.strip("/").partition("/")
        if behaviour == "redirect":
            self._start(302, Location=rest)
        elif behaviour == "circle":
            self._start(302, Location=self.path)
        elif behaviour == "headers":
            self._start(200, **{f"X_{number}": "chatter" for number in range(200)})
        elif behaviour == "silent":
            self.server.released.wait(20)
        elif behaviour == "stalls":
            self._start(200, Content_Length="1000")
            self.wfile.write(b"one chunk")
            self.server.released.wait(20)
        elif behaviour == "cut":
            self._start(200, Content_Length=str(len(DATA)))
            self.wfile.write(DATA[:1000])
        elif behaviour == "endless":
            self._start(200)
            while not self.server.released.is_set():
                self.wfile.write(DATA)
        elif self.path in self.server.files:
            data = self.server.files[self.path]
            self._start(200, Content_Length=str(len(data)))
            self.wfile.write(data)
        else:
            self.send_error(404)

    def _start(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client had enough
            super().handle()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def pin(monkeypatch: pytest.MonkeyPatch, address: str, data: bytes = DATA) -> None:
    """Make the Caffe kit one file at an address of the test's own."""
    remote_file = downloads.RemoteFile("net.bin", address, len(data), hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(downloads.KITS, "caffe", (remote_file,))


def fetch(folder: Path, *options: str) -> int:
    return download.main(["caffe", "--to", str(folder), *options])


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one error line; every other line on standard error says what is being done."""
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- pinned files ---


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
        assert len(bytes.fromhex(remote_file.sha256)) == 32


@pytest.mark.parametrize("argv", [[], ["ssd"], ["caffe", "--timeout", "0"], ["caffe", "--timeout", "nan"]])
def test_bad_arguments_are_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        download.main(argv)
    assert stopped.value.code == cli.EXIT_UNUSABLE
    assert "usage: python -m mask_detection download" in capsys.readouterr().err


# --- the data set ---


@pytest.fixture
def listed(server, monkeypatch, tmp_path) -> Server:
    """A server, and a list of three images to fetch from it as `/set.zip`."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in IMAGES.items()]
    (tmp_path / "list.sha256").write_text("\n".join(lines))
    monkeypatch.setattr(download, "DATASET_HASHES", tmp_path / "list.sha256")
    monkeypatch.setattr(download, "DATASET_ADDRESS", f"{server.address}/set.zip")
    return server


def zipped(images: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("observations-cdcf450/README.md", "Mask Classifier")
        for name, data in images.items():
            archive.writestr(f"observations-cdcf450/experiements/data/{name}", data)
    return buffer.getvalue()


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
    monkeypatch.setattr(download, "MAX_IMAGE_BYTES", 7)
    assert fetch_dataset(tmp_path / "dataset") == cli.EXIT_UNUSABLE
    assert "without_mask/1.jpg in the archive is not the listed image" in the_error(capsys)

    monkeypatch.setattr(download, "MAX_ARCHIVE_BYTES", 100)
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
    hashes = download._listed_hashes()
    names = [name.split("/") for name in hashes]
    assert [len(parts) for parts in names] == [2] * 1376
    assert sum(parts[0] == "with_mask" for parts in names) == 690
    assert len(set(hashes.values())) == 1376 - 97  # 97 byte-for-byte copies
    assert not any(part in {"", ".", ".."} for parts in names for part in parts)
