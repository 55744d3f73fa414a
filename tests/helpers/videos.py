"""Videos in the tests: making one, what is in one, and a stream on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

FRAME_RATE = 10.0
FRAME_SIZE = 240  # width and height of generated videos in pixels
FRAME_COUNT = 20

CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "mp4v"}


def write_video(path: Path, frames: Iterable[np.ndarray], frame_rate: float = FRAME_RATE) -> Path:
    """Write frames, all (H, W, 3) BGR uint8, with the codec that its suffix stands for; return the path."""
    first, *others = frames
    height, width = first.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODECS[path.suffix]), frame_rate, (width, height))
    for frame in (first, *others):
        writer.write(frame)
    writer.release()
    return path


class Facts(NamedTuple):
    """What a player gets out of a video."""

    n_frames: int
    size: tuple[int, int]  # width, height
    frame_rate: float


def facts_of(path: Path) -> Facts:
    """Play a video to its end."""
    capture = cv2.VideoCapture(str(path))
    sizes = []
    while True:
        arrived, frame = capture.read()
        if not arrived:
            break
        sizes.append(frame.shape[1::-1])
    (size,) = set(sizes)
    return Facts(len(sizes), size, round(capture.get(cv2.CAP_PROP_FPS), 3))


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Act(NamedTuple):
    """What one connection to a stream gets to see, and whether the stream then stalls or is cut."""

    images: Iterable[np.ndarray]
    stalls: bool = False


GONE = None  # the act of a server that has nothing to show


N_SHOWN = 15  # pictures that a stream shows before something happens to it


def shown(first_level: int = 0, size: tuple[int, int] = (160, 120)) -> list[np.ndarray]:
    """Grey pictures, each 5 levels lighter than the one before; size is width, height in pixels."""
    width, height = size
    return [np.full((height, width, 3), first_level + 5 * i, np.uint8) for i in range(N_SHOWN)]


def endless(images: list[np.ndarray]) -> Iterator[np.ndarray]:
    """These images, and then the last one for as long as there is somebody to see it."""
    return chain(images, repeat(images[-1]))


class MjpegServer(ThreadingHTTPServer):
    """Streams Motion JPEG as IP cameras do; each connection sees the next act, and none is left for those after.

    Closing it ends what still runs, and waits for it: no thread is left.
    """

    daemon_threads = False  # ThreadingHTTPServer's own are not waited for

    def __init__(self, acts: Iterable[Act | None], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _MjpegHandler)
        self.address = f"http://127.0.0.1:{self.server_port}/stream"
        self.acts = iter(acts)
        self.is_over = threading.Event()


class _MjpegHandler(BaseHTTPRequestHandler):
    server: MjpegServer
    timeout = 10  # seconds to wait for a client that neither reads nor leaves

    def do_GET(self) -> None:
        act = next(self.server.acts, GONE)
        if act is GONE:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for image in act.images:
                if self.server.is_over.is_set():
                    return
                self._send(cv2.imencode(".jpg", image)[1].tobytes())
        except OSError:  # the client has left
            return
        if act.stalls:
            self.server.is_over.wait()

    def _send(self, jpeg: bytes) -> None:
        header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        self.wfile.write(header.encode() + jpeg + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def streaming(*acts: Act | None, port: int = 0) -> Iterator[MjpegServer]:
    """Run a stream while the block runs, on any port unless one is named."""
    with MjpegServer(acts, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.shutdown()
            thread.join()
