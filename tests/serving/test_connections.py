"""Bounds: idle connections, endless headers, viewers that never read; one JPEG for all viewers, and none for nobody."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import cv2
import numpy as np
import pytest

from mask_detection.io.sources import Frame
from mask_detection.serving import pictures
from mask_detection.serving.page import connections
from mask_detection.serving.pictures import LONGEST_SIDE, MAX_RATE, Pictures
from tests.helpers.live import Clock, ask, faces
from tests.helpers.waiting import eventually

SOON_S = 8.0


def connect(page) -> socket.socket:
    return socket.create_connection(page.address, timeout=10)


def is_closed(client: socket.socket) -> bool:
    client.settimeout(0.01)
    try:
        return client.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@contextmanager
def showing(page, image: np.ndarray) -> Iterator[list[int]]:
    """Offer a frame of the door a hundred times a second, as a run would; gives how many were wanted."""
    ended, wanted = threading.Event(), [0]

    def run() -> None:
        while not ended.wait(0.01):
            if page.pictures.wants("door"):
                wanted[0] += 1
                page.pictures.write(Frame(image, 0, 0.0, source="door"), faces())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield wanted
    finally:
        ended.set()
        thread.join()


def stream(page) -> socket.socket:
    client = connect(page)
    client.sendall(b"GET /stream/door HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def read_frames(client: socket.socket, n_frames: int) -> list[bytes]:
    """Read that many JPEGs of a stream."""
    file = client.makefile("rb")
    found: list[bytes] = []
    while len(found) < n_frames:
        line = file.readline()
        assert line, "the stream has ended"
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
            file.readline()
            found.append(file.read(length))
    return found


# --- pictures ---


def test_a_frame_is_made_only_while_somebody_looks(page):
    assert not page.pictures.wants("door")
    with showing(page, np.full((120, 160, 3), 80, np.uint8)) as wanted:
        time.sleep(0.3)
        assert wanted == [0]
        with stream(page) as client:
            for jpeg in read_frames(client, 3):
                image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
                assert image.shape == (120, 160, 3)
        assert wanted[0] >= 3
        assert eventually(lambda: "mask_detection_viewers 0" in ask(page.url, "/metrics").text, SOON_S)
        before = wanted[0]
        time.sleep(0.5)
        assert wanted[0] <= before + 1


def test_all_viewers_get_the_same_frame_encoded_once(page, monkeypatch):
    encoded, encode = [], pictures._encode
    monkeypatch.setattr(pictures, "_encode", lambda image: encoded.append(1) or encode(image))
    with showing(page, np.full((120, 160, 3), 80, np.uint8)), ExitStack() as stack:
        clients = [stack.enter_context(stream(page)) for _ in range(10)]
        assert eventually(lambda: "mask_detection_viewers 10" in ask(page.url, "/metrics").text, SOON_S)
        before, started = len(encoded), time.monotonic()
        for client in clients:
            read_frames(client, 5)
        time.sleep(max(0.0, 1 - (time.monotonic() - started)))
        elapsed_s = time.monotonic() - started
        assert len(encoded) - before <= MAX_RATE * elapsed_s + 2


def test_frames_are_small_and_few():
    clock = Clock(0.0)
    shown = Pictures(clock)
    taken: list[np.ndarray] = []

    async def look() -> None:
        for _ in range(1000):  # a frame each hundredth of a second
            waiting = asyncio.ensure_future(shown.next("door"))
            await asyncio.sleep(0)
            if shown.wants("door"):
                shown.write(Frame(np.zeros((1080, 1920, 3), np.uint8), 0, 0.0, source="door"), faces())
                taken.append(cv2.imdecode(np.frombuffer(await waiting, np.uint8), cv2.IMREAD_COLOR))
            waiting.cancel()
            clock.now += 0.01
            if len(taken) == 20:
                return

    asyncio.run(look())
    assert clock.now >= 19 / MAX_RATE - 0.02
    assert taken[0].shape == (720, LONGEST_SIDE, 3)


# --- connections ---


def test_a_viewer_that_never_reads_is_left_and_keeps_nobody_waiting(page, monkeypatch):
    monkeypatch.setattr(connections, "UNREAD_S", 0.5)
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    with showing(page, noise), stream(page) as lazy, stream(page) as keen:
        read_frames(keen, 12)
        assert eventually(lambda: "mask_detection_viewers 1" in ask(page.url, "/metrics").text, SOON_S)
        read_frames(keen, 2)
        lazy.settimeout(5)
        with pytest.raises(OSError):
            while True:
                if not lazy.recv(1 << 20):
                    raise ConnectionResetError


def test_idle_connections_are_closed(page, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_S", 0.3)
    with connect(page) as silent, connect(page) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(3):
            slow.sendall(b"X-More: 1\r\n")
            time.sleep(0.1)
        assert eventually(lambda: is_closed(silent), SOON_S)
        assert eventually(lambda: is_closed(slow), SOON_S)


def test_two_hundred_idle_connections_keep_nobody_out(page):
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(page)) for _ in range(200)]
        assert ask(page.url, "/healthz").status == 200
        still_open = [client for client in idle if not is_closed(client)]
        assert len(still_open) <= connections.MAX_CONNECTIONS
        assert ask(page.url).status == 200


def test_viewers_are_not_closed_for_idle_connections(page):
    with showing(page, np.zeros((120, 160, 3), np.uint8)), stream(page) as viewer, ExitStack() as stack:
        read_frames(viewer, 1)
        for _ in range(connections.MAX_CONNECTIONS + 20):
            stack.enter_context(connect(page))
        read_frames(viewer, 3)


def test_endless_headers_are_refused(page):
    with connect(page) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for _ in range(10_000):
                client.sendall(b"X-More: " + b"a" * 1000 + b"\r\n")
        except OSError:
            return
        assert b" 400 " in client.recv(1000)


def test_a_long_path_is_refused(page):
    with connect(page) as client:
        try:
            client.sendall(b"GET /" + b"a" * 1_000_000)
        except OSError:
            return
        assert b" 400 " in client.recv(1000)


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_no_page(page, request_line):
    with connect(page) as client:
        client.sendall(request_line + b"\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(1000)
        assert answer == b"" or b" 400 " in answer or b" 421 " in answer
    assert ask(page.url, "/healthz").status == 200


def test_the_end_of_a_run_ends_viewers_and_threads(serve):
    from mask_detection.serving.page.server import live_page
    from tests.helpers.live import live_state

    before = threading.active_count()
    shown = Pictures()
    with ExitStack() as clients:
        with live_page(("127.0.0.1", 0), None, live_state("door"), shown) as url:
            host, port = url.removeprefix("http://").rstrip("/").split(":")
            for _ in range(5):
                client = clients.enter_context(socket.create_connection((host, int(port)), timeout=5))
                client.sendall(b"GET /stream/door HTTP/1.1\r\nHost: localhost\r\n\r\n")
                client.recv(100)
            started = time.monotonic()
        assert time.monotonic() - started < 3
    assert eventually(lambda: threading.active_count() <= before, SOON_S)
