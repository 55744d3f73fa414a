"""The command that puts the page together: what is in it, where it goes, what can be wrong."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import socket
import tarfile
from base64 import b64encode
from http.client import HTTPConnection
from pathlib import Path
from unittest import mock

import pytest

from mask_detection.commands import cli, site, web
from mask_detection.inference import drawing, tracking
from mask_detection.models.fcos import STRIDES
from mask_detection.utils.defaults import BUILTIN_PHOTO_SIZE, FACE_FOLDER, WEB_FOLDER
from mask_detection.utils.downloads import RemoteFile
from mask_detection.utils.files import list_files
from tests.helpers.browser import served
from tests.helpers.outcomes import the_error
from tests.helpers.paths import ROOT

CLASSIFIER = ROOT / "mask_detector.tflite"


@pytest.fixture
def small_litert(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in the place of LiteRT.js, in the cache already."""
    members = {name: member for names in site.LITERT.values() for name, member in names.items()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for member in dict.fromkeys(members.values()):
            text = b'import { createWasmLib } from "@litertjs/wasm-utils";\n'
            entry = tarfile.TarInfo(member)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    data = packed.getvalue()
    (cache_folder / "small.tgz").write_bytes(data)
    package = RemoteFile(
        "small.tgz", "https://example.org/small.tgz", len(data), hashlib.sha512(data).hexdigest(), "sha512"
    )
    monkeypatch.setattr(site, "LITERT", {package: members})


@pytest.fixture
def assembled(small_litert: None) -> dict[str, bytes]:
    return site.assemble(CLASSIFIER, FACE_FOLDER)


def test_the_site_holds_the_page_the_models_and_the_library(assembled):
    sources = {path.relative_to(WEB_FOLDER).as_posix() for path in list_files(WEB_FOLDER)}
    assert {"index.html", "app.js", "worker.js", "sw.js", "manifest.webmanifest", "icons/icon-512.png"} <= sources
    assert sources < {*assembled}
    assert assembled[site.CLASSIFIER] == CLASSIFIER.read_bytes()
    assert b'from "./wasm-utils.js"' in assembled[site.LIBRARY]


def test_every_file_that_the_page_names_is_there(assembled):
    page = assembled["index.html"].decode()
    named = re.findall(r'(?:href|src)="(?!https:)([^"#]+)"', page)
    scripts = [name for name in assembled if name.endswith(".js") and "/" not in name]
    for name in scripts:
        named += [found.removeprefix("./") for found in re.findall(r'from "(\./[\w.]+)"', assembled[name].decode())]
    named += [icon["src"] for icon in json.loads(assembled["manifest.webmanifest"])["icons"]]
    assert len(named) > 15
    assert {*named} <= {*assembled}


def test_numbers_come_from_where_python_holds_them(assembled, monkeypatch):
    settings = json.loads(assembled[site.SETTINGS])
    assert settings["detector"]["strides"] == [*STRIDES]
    assert settings["detector"]["photo_passes"][0]["size"] == BUILTIN_PHOTO_SIZE
    assert settings["detector"]["photo_passes"][-1]["max_face"] is None
    blue, green, red = drawing.GREEN
    assert settings["drawing"]["classes"]["with_mask"]["color"] == f"#{red:02x}{green:02x}{blue:02x}"
    monkeypatch.setattr(tracking, "MIN_IOU", 0.123)
    monkeypatch.setattr(drawing, "TEXT_FRACTION", 0.456)
    changed = json.loads(site.assemble(CLASSIFIER, FACE_FOLDER)[site.SETTINGS])
    assert changed["tracking"]["min_iou"] == 0.123
    assert changed["drawing"]["text_fraction"] == 0.456


@pytest.mark.parametrize(
    ("n_of_classifier", "n_of_detector", "columns"),
    [
        (2, 2, {"shared": [0, 1], "order": [0, 1], "alone": []}),
        (3, 2, {"shared": [0, 1], "order": [0, 1], "alone": [2]}),
        (3, 3, {"shared": [0, 1, 2], "order": [0, 1, 2], "alone": []}),
        (2, 3, None),
    ],
)
def test_classes_of_all_models_are_joined_and_shown(n_of_classifier, n_of_detector, columns):
    names = ("with_mask", "without_mask", "mask_weared_incorrect")
    detector = mock.Mock(class_names=names[:n_of_detector], input_size=416)
    settings = site.settings(names[:n_of_classifier], detector)
    assert settings["join"] == columns
    looks = settings["drawing"]["classes"]
    assert [*looks] == [*names[: max(n_of_classifier, n_of_detector)]]
    if len(looks) == 3:
        assert (looks[names[2]]["shown"], looks[names[2]]["is_dashed"]) == ("worn wrong", True)


def test_the_list_of_files_has_their_hashes_and_changes_with_them(assembled, monkeypatch):
    listed = json.loads(assembled[site.FILE_LIST].decode().removeprefix("self.SITE = ").rstrip(";\n"))
    assert {*listed["files"]} == {*assembled} - {site.FILE_LIST}
    for name, integrity in listed["files"].items():
        assert integrity == f"sha256-{b64encode(hashlib.sha256(assembled[name]).digest()).decode()}"
    assert site.assemble(CLASSIFIER, FACE_FOLDER) == assembled
    monkeypatch.setattr(tracking, "MIN_IOU", 0.123)
    assert listed["version"].encode() not in site.assemble(CLASSIFIER, FACE_FOLDER)[site.FILE_LIST]


def test_it_is_written_into_a_folder_and_the_rest_of_that_stays(small_litert, tmp_path, capsys):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "CNAME").write_text("example.org")
    assert web.main(["--to", str(tmp_path / "site")]) == cli.EXIT_DONE
    assert capsys.readouterr().out == f"{tmp_path / 'site'}\n"
    written = {
        path.relative_to(tmp_path / "site").as_posix(): path.read_bytes() for path in list_files(tmp_path / "site")
    }
    assert written == {**site.assemble(ROOT / "mask_detector.h5", FACE_FOLDER), "CNAME": b"example.org"}


def get(address: str, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection(address.split("/")[2], timeout=60)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


def test_it_is_served(assembled):
    with served(assembled) as server:
        status, headers, body = get(server.address, "/face-masks/")
        assert (status, headers["Content-Type"], body) == (200, "text/html; charset=utf-8", assembled["index.html"])
        types = {
            "worker.js": "text/javascript; charset=utf-8",
            site.RUNTIME.replace(".js", ".wasm"): "application/wasm",
            "manifest.webmanifest": "application/manifest+json",
            site.DETECTOR: "application/octet-stream",
        }
        for name, content_type in types.items():
            status, headers, body = get(server.address, f"/face-masks/{name}?version=1")
            assert (status, headers["Content-Type"], body) == (200, content_type, assembled[name])
        status, headers, body = get(server.address, "/face-masks/app.js", "HEAD")
        assert (status, int(headers["Content-Length"]), body) == (200, len(assembled["app.js"]), b"")
        assert get(server.address, "/")[:1] == (302,)
        for path in ("/face-masks/../settings.json", "/settings.json", "/face-masks//etc/hostname", "/face-masks/x"):
            assert get(server.address, path)[0] == 404


# --- what can be wrong ---


def test_a_port_that_is_taken_is_one_line(small_litert, capsys):
    with socket.socket() as taken:
        taken.bind((web.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert web.main(["--port", str(port)]) == cli.EXIT_UNUSABLE
    assert the_error(capsys).startswith(f"error: --port {port}: cannot be opened (")


def test_no_network_is_one_line_and_nothing_is_written(monkeypatch, tmp_path, capsys):
    package = RemoteFile("absent.tgz", "https://127.0.0.1:9/absent.tgz", 1, "00", "sha512")
    monkeypatch.setattr(site, "LITERT", {package: {}})
    assert web.main(["--to", str(tmp_path / "site")]) == cli.EXIT_UNUSABLE
    error = the_error(capsys)
    assert error.startswith("error: https://127.0.0.1:9/absent.tgz: the server cannot be reached")
    assert "face detector" not in error
    assert not (tmp_path / "site").exists()


def test_a_model_without_its_export(small_litert, tiny_model, tmp_path, capsys):
    alone = Path(shutil.copy(tiny_model, tmp_path / "alone.h5"))
    assert web.main(["--to", str(tmp_path / "site"), "--model", str(alone)]) == cli.EXIT_UNUSABLE
    assert f"there is no alone.tflite beside it; run `python -m mask_detection export --model {alone}`" in the_error(
        capsys
    )


def test_an_export_of_another_model(small_litert, tiny_model, tmp_path, capsys):
    model = Path(shutil.copy(tiny_model, tmp_path / "mine.h5"))
    export = Path(shutil.copy(CLASSIFIER, tmp_path / "mine.tflite"))
    assert web.main(["--to", str(tmp_path / "site"), "--model", str(model)]) == cli.EXIT_UNUSABLE
    assert the_error(capsys).startswith(f"error: {export}: was made of another model than mine.h5; run ")


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("README.md", "there is no README.tflite beside it"),
        ("nowhere.tflite", "no such file"),
        ("mask_face_detector.tflite", "maps float32"),
    ],
)
def test_what_is_no_classifier_is_one_line(small_litert, model, fault, tmp_path, capsys):
    path = FACE_FOLDER / model
    assert web.main(["--to", str(tmp_path / "site"), "--model", str(path)]) == cli.EXIT_UNUSABLE
    assert fault in the_error(capsys)


def test_a_place_that_is_a_file(small_litert, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert web.main(["--to", str(tmp_path / "file")]) == cli.EXIT_UNUSABLE
    assert f"{tmp_path / 'file'}: cannot be made a folder" in the_error(capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_models_own_folder_is_not_written_over(small_litert, tmp_path, capsys):
    models = tmp_path / "models"
    models.mkdir()
    classifier = Path(shutil.copy(CLASSIFIER, models))
    assert web.main(["--to", str(tmp_path), "--model", str(classifier)]) == cli.EXIT_UNUSABLE
    assert str(classifier) in the_error(capsys)
    assert [path.name for path in models.iterdir()] == [classifier.name]
