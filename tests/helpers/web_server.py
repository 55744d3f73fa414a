"""A server on this machine whose answers go wrong in every way that a test asks for by path."""

from __future__ import annotations

import contextlib
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = bytes(range(256)) * 1000


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
        elif behaviour == "close":
            self._start(200)
            self.wfile.write(self.server.files[self.path])
        elif behaviour == "guarded" and self.headers["Authorization"] != f"Basic {b64encode(b'admin:p@ss').decode()}":
            self._start(401, WWW_Authenticate='Basic realm="camera"', Content_Length="0")
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


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server that answers until the block ends."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()
