"""The options of the live page and of MQTT, through the script."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import detect_mask_video
from mask_detection.commands.video import serving
from tests.helpers.live import ask
from tests.helpers.mosquitto import Ear, Mosquitto
from tests.helpers.paths import ROOT
from tests.helpers.videos import Act, endless, shown, streaming
from tests.helpers.waiting import eventually

WRONG = [
    (["--serve", "8080"], "is no IP address with a port"),
    (["--serve", "door.local:8080"], "is no IP address with a port"),
    (["--serve", "127.0.0.1:99999"], "is no IP address with a port"),
    (["--serve", "127.0.0.1:-1"], "is no IP address with a port"),
    (["--serve", "0.0.0.0:8080"], "--serve-token-file"),
    (["--serve", "[::]:8080"], "--serve-token-file"),
    (["--serve-token-file", "token"], "needs --serve"),
    (["--serve-crops"], "needs --serve"),
    (["--mqtt-discovery"], "needs --mqtt"),
    (["--mqtt-snapshots"], "needs --mqtt"),
    (["--mqtt-password-file", "password"], "needs --mqtt"),
]


@pytest.mark.parametrize(
    ("arguments", "fault"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_makes_no_sense_is_a_usage_error(arguments, fault, capsys):
    with pytest.raises(SystemExit) as stopped:
        detect_mask_video.parse_arguments(arguments)
    assert stopped.value.code == 2
    assert fault in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("localhost:1", ("127.0.0.1", 1)), ("[::1]:80", ("::1", 80))],
)
def test_addresses_to_listen_on(text, address):
    assert serving.listening_address(text) == address


def test_an_address_that_is_taken_is_one_line(detect, video, errors):
    with streaming() as other:
        assert detect(video, "--serve", f"127.0.0.1:{other.server_port}") == 2
    (line,) = errors()
    assert "cannot be listened on" in line


def test_a_password_on_the_command_line_is_refused_and_not_repeated(detect, video, capsys):
    assert detect(video, "--mqtt", "mqtt://me:s3cret@127.0.0.1") == 2
    line = capsys.readouterr().err
    assert "s3cret" not in line
    assert "--mqtt-password-file" in line


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
def test_a_password_file_that_is_none(detect, video, errors, tmp_path, content):
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
    assert detect(video, "--mqtt", "mqtt://me@127.0.0.1:1", "--mqtt-password-file", path) == 2
    (line,) = errors()
    assert "--mqtt-password-file" in line


def test_a_library_that_is_missing_is_one_line_with_its_remedy(detect, video, errors, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for module in [name for name in sys.modules if name.startswith("mask_detection.serving.page")]:
        monkeypatch.delitem(sys.modules, module)
    assert detect(video, "--serve", "127.0.0.1:0") == 2
    (line,) = errors()
    assert "pip install -r" in line
    assert "requirements-serve.txt" in line


def test_the_token_file_is_no_output(detect, video, errors, tmp_path):
    path = tmp_path / "token.jsonl"
    path.write_text("0" * 64)
    assert detect(video, "--serve", "127.0.0.1:0", "--serve-token-file", path, "--log", path) == 2
    assert "is an input" in errors()[0]
    assert path.read_text() == "0" * 64


def test_help_needs_none_of_the_libraries():
    program = """
import sys, detect_mask_video
detect_mask_video.parse_arguments([])
print({"starlette", "uvicorn", "paho", "numpy", "cv2"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- a run ---


class Run:
    """The script in a process of its own, on an endless stream."""

    def __init__(self, stack: ExitStack, model: Path, *arguments: object) -> None:
        stream = stack.enter_context(streaming(*[Act(endless(shown())) for _ in range(9)]))
        words = ["--source", stream.address, "--name", "door", "--no-display", "--model", model, "--detector", "haar"]
        command = [sys.executable, "detect_mask_video.py", *map(str, (*words, *arguments))]
        environment = {**os.environ, "MASK_MQTT_PASSWORD": ""}
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **streams)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        stack.callback(self.stop)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)

    def waits_for(self, pattern: str) -> re.Match[str]:
        """What it prints that is such, as soon as it is there."""
        assert eventually(lambda: re.search(pattern, "".join(self.lines)), 60), self.lines
        found = re.search(pattern, "".join(self.lines))
        assert found
        return found

    def url(self) -> str:
        """The page's address."""
        return self.waits_for(r"live page: (\S+)\n")[1]

    def stop(self, number: int = signal.SIGKILL) -> int:
        """End it; the status."""
        self.process.send_signal(number)
        status = self.process.wait(30)
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()
        return status


@pytest.fixture
def start(tiny_model: Path) -> Iterator[Callable[..., Run]]:
    """A function that starts the script with arguments, on a stream called door."""
    if os.name == "nt":
        pytest.skip("Windows has no SIGTERM to send")
    with ExitStack() as stack:
        yield lambda *arguments: Run(stack, tiny_model, *arguments)


def test_a_run_with_page_and_broker(start, tmp_path):
    token_file = tmp_path / "token"
    with ExitStack() as stack:
        broker = Mosquitto(tmp_path, "allow_anonymous true")
        stack.callback(broker.kill)
        ear = Ear(broker.port)
        stack.callback(ear.close)
        address = f"mqtt://127.0.0.1:{broker.port}/masks"
        page = ("--serve", "127.0.0.1:0", "--serve-token-file", token_file)
        run = start(*page, "--mqtt", address, "--mqtt-discovery", "--interval", "1s")
        url = run.url()
        token = token_file.read_text().strip()
        assert ask(url).status == 401
        assert ear.waits_for("masks/door/available", b"online", 30)
        assert ear.waits_for("masks/door/statistics", timeout_s=30)
        status = json.loads(ask(url, "/api/status", Authorization=f"Bearer {token}").body)
        assert [source["name"] for source in status["sources"]] == ["door"]
        assert status["sources"][0]["frames"] > 0
        assert ask(url, "/healthz").status == 200
        started = time.monotonic()
        assert run.stop(signal.SIGTERM) == 130
        assert time.monotonic() - started < 5
        assert ear.waits_for("masks/available", b"offline")
    assert token not in "".join(run.lines)
    assert not any("Traceback" in line for line in run.lines)


def test_a_run_whose_broker_is_not_there_ends_in_time(start):
    run = start("--mqtt", "mqtt://127.0.0.1:1", "--serve", "127.0.0.1:0")
    url = run.url()
    assert ask(url, "/healthz").status == 200
    run.waits_for("cannot be reached")
    started = time.monotonic()
    assert run.stop(signal.SIGTERM) == 130
    assert time.monotonic() - started < 5
    assert sum("cannot be reached" in line for line in run.lines) == 1
