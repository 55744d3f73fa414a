"""The server of the live page: uvicorn in a thread beside the run, and gone with it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from mask_detection.serving.page.access import Access
from mask_detection.serving.page.app import App
from mask_detection.serving.page.connections import Connections
from mask_detection.serving.page.motion_jpeg import Viewers
from mask_detection.serving.pictures import Pictures
from mask_detection.serving.state import LiveState
from mask_detection.utils.errors import MaskDetectionError

MAX_HEADER_BYTES = 16 * 1024
KEEP_ALIVE_S = 10
SEND_BUFFER_BYTES = 256 * 1024  # a few frames: what is beyond waits with us, and frames that come late are left out
STOP_S = 1  # for answers under way when the run ends

logger = logging.getLogger(__name__)


@contextmanager
def live_page(
    address: tuple[str, int], token: str | None, state: LiveState, pictures: Pictures, shows_crops: bool = False
) -> Iterator[str]:
    """Serve the page while the block lasts.

    Args:
        address: IP address and port to listen on; port 0 takes any that is free.
        token: what viewers have to know; None lets everybody in.
        state: what the page shows.
        pictures: the frames that it shows.
        shows_crops: whether it shows the faces of alarms that the state keeps.

    Yields:
        The page's address, such as ``http://127.0.0.1:8080/``.

    Raises:
        MaskDetectionError: nothing can listen there.
    """
    connections = Connections()
    viewers = Viewers()
    app = App(state, pictures, Access(token), viewers, shows_crops).application()
    config = uvicorn.Config(
        connections.bounded(app),
        http=connections.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )
    listener = _listen(*address)
    server = _Server(config, viewers)
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, listener, connections)), daemon=True)
    thread.start()
    url = _url(listener)
    logger.info("live page: %s", url)
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class _Server(uvicorn.Server):
    """One whose viewers are dismissed first when it ends: their answers have no end of their own."""

    def __init__(self, config: uvicorn.Config, viewers: Viewers) -> None:
        super().__init__(config)
        self._viewers = viewers

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the answers under way."""
        self._viewers.dismissed.set()
        await super().shutdown(sockets)


async def _serve(server: uvicorn.Server, listener: socket.socket, connections: Connections) -> None:
    sweeper = asyncio.ensure_future(connections.sweep())
    try:
        await server.serve(sockets=[listener])
    finally:
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections inherit it
        return listener
    except OSError as error:
        reason = error.strerror or error
        raise MaskDetectionError(
            f"--serve {_joined(host, port)}: cannot be listened on ({reason}); name another address or port"
        ) from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://{_joined(host, port)}/"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
