"""A camera on loopback, in a process of its own: Motion JPEG of 720p at a fixed pace, which may restart itself.

python -m tests.robustness.paced_stream --port 8001 --rate 25 --up 50 --down 10
"""

from __future__ import annotations

import argparse
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from tests.helpers.paths import GROUP

SIZE = (1280, 720)  # width, height in pixels
N_PICTURES = 50  # different ones, again and again
QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 80)


def pictures() -> list[bytes]:
    """JPEGs of the example's group, moving sideways."""
    image = cv2.resize(cv2.imread(str(GROUP)), SIZE, interpolation=cv2.INTER_AREA)
    shifts = (round(40 * np.sin(2 * np.pi * i / N_PICTURES)) for i in range(N_PICTURES))
    return [cv2.imencode(".jpg", np.roll(image, shift, axis=1), QUALITY)[1].tobytes() for shift in shifts]


class Camera(ThreadingHTTPServer):
    """Streams to everyone who asks, until it is shut down."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, rate: float, jpegs: list[bytes]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.rate, self.jpegs = rate, jpegs
        self.is_over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        started, number = time.monotonic(), 0
        while not self.server.is_over.wait(max(0.0, started + number / self.server.rate - time.monotonic())):
            jpeg = self.server.jpegs[number % len(self.server.jpegs)]
            number = max(number + 1, int((time.monotonic() - started) * self.server.rate))  # late ones are left out
            header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                self.wfile.write(header.encode() + jpeg + b"\r\n")
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Stream until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--up", type=float, default=1e9, help="seconds until it goes down")
    parser.add_argument("--down", type=float, default=0.0, help="seconds until it comes back")
    args = parser.parse_args()
    jpegs = pictures()
    while True:
        with Camera(args.port, args.rate, jpegs) as camera:
            threading.Timer(args.up, camera.shutdown).start() if args.up < 1e9 else None
            camera.serve_forever(0.1)
            camera.is_over.set()
        time.sleep(args.down)


if __name__ == "__main__":
    main()
