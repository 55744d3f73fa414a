"""Put the page together that finds faces on the device itself, in a browser, and serve it or write it to a folder.

python -m mask_detection web                                # on this machine: open the address that it prints
python -m mask_detection web --port 9000
python -m mask_detection web --to site                      # for any static host, such as GitHub Pages
python -m mask_detection web --to site --model my_model.h5  # with a classifier of your own

Both networks run in the browser, with LiteRT.js; no image leaves the device. The first run fetches LiteRT.js from the
npm registry (12 MB), checks it against its sha512 and keeps it in the user's cache folder. Ctrl-C ends the server.
Exit status: 0 written, 2 not done, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from mask_detection.commands import cli, options, outputs
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, make_folder

HOST = "127.0.0.1"
# A browser keeps the page for use offline, which must not be in the way of what is served at this port another day.
PREFIX = "/face-masks/"
INDEX = "index.html"
TYPES = {  # Python's own list depends on the machine
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.argument_parser(__doc__)
    parser.prog = "python -m mask_detection web"
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--port",
        type=options.whole_number(0, 65535),
        default=8000,
        help="serve it here, on this machine alone; 0 takes any free one (default: %(default)s)",
    )
    place.add_argument("--to", type=Path, metavar="DIR", help="write it into this folder, and serve nothing")
    options.add_face_folder_option(parser)
    options.add_model_option(parser)
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments(argv)
    from mask_detection.commands.site import assemble

    site = assemble(args.model, args.face)
    if args.to:
        write(site, args.to, inputs=[args.model, args.face])
        print(args.to)
    else:
        serve(site, args.port)
    return cli.EXIT_DONE


def write(site: Mapping[str, bytes], folder: Path, inputs: Sequence[Path]) -> None:
    """Write a site's files below a folder; other files there stay.

    Raises:
        MaskDetectionError: they cannot be written there, or one of them is an input.
    """
    targets = {folder / name: data for name, data in site.items()}
    outputs.check(inputs, targets)
    for path, data in targets.items():
        make_folder(path.parent)
        with atomic_write(path) as part:
            part.write_bytes(data)


def serve(site: Mapping[str, bytes], port: int) -> None:
    """Serve a site on this machine until Ctrl-C, and print its address.

    Raises:
        MaskDetectionError: the port is taken.
    """
    try:
        server = SiteServer(site, port)
    except OSError as error:
        raise MaskDetectionError(f"--port {port}: cannot be opened ({error.strerror}); name another one") from None
    with server:
        print(server.address)
        server.serve_forever()


class SiteServer(ThreadingHTTPServer):
    """Serves files out of memory, to this machine only.

    Attributes:
        site: their bytes by name.
        address: of the page.
    """

    daemon_threads = True

    def __init__(self, site: Mapping[str, bytes], port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.site = site
        self.address = f"http://{HOST}:{self.server_port}{PREFIX}"


class _Handler(BaseHTTPRequestHandler):
    server: SiteServer
    timeout = 30.0  # seconds; a connection that says nothing is closed

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/", PREFIX.rstrip("/")):
            self._start(HTTPStatus.FOUND, {"Location": PREFIX, "Content-Length": "0"})
            return
        name = path.removeprefix(PREFIX) or INDEX
        data = self.server.site.get(name) if path.startswith(PREFIX) else None
        if data is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content_type = TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
        self._start(HTTPStatus.OK, {"Content-Type": content_type, "Content-Length": str(len(data))})
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815 (the library's name)

    def _start(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing: each visit would be two dozen lines."""
