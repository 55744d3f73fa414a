"""Motion JPEG over HTTP: an answer without an end, in which each JPEG replaces the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BOUNDARY = b"--frame\r\n"
PART = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
MEDIA_TYPE = "multipart/x-mixed-replace; boundary=frame"


class Viewers:
    """Those who look at a picture now.

    Attributes:
        count: how many they are.
        dismissed: set when they have to leave, as the run ends.
    """

    def __init__(self) -> None:
        self.count = 0
        self.dismissed = asyncio.Event()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count one while the block lasts."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class MotionJpeg(Response):
    """Sends frames until the viewer leaves. A slow viewer misses frames and keeps nobody waiting."""

    media_type = MEDIA_TYPE

    def __init__(self, next_frame: Callable[[], Awaitable[bytes]], viewers: Viewers) -> None:
        """Start nothing yet.

        Args:
            next_frame: waits for the next JPEG.
            viewers: counts this one.
        """
        super().__init__()
        del self.headers["content-length"]
        self._next_frame, self._viewers = next_frame, viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        with self._viewers.one_more():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            until = (self._send_frames(send), _wait_until_gone(receive), self._viewers.dismissed.wait())
            tasks = [asyncio.ensure_future(each) for each in until]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            await send({"type": "http.response.body", "body": b""})
        for error in results:
            if isinstance(error, Exception):
                raise error

    async def _send_frames(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": BOUNDARY, "more_body": True})
        while True:
            jpeg = await self._next_frame()
            # The next boundary at once: browsers show a part when it has ended.
            body = PART % len(jpeg) + jpeg + b"\r\n" + BOUNDARY
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
