"""Bounds on connections: how many there are, and how long one may be idle or leave unread what it asked for."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 100
IDLE_S = 15.0  # without a whole request
UNREAD_S = 10.0  # until something that was sent is read
SWEEP_S = 1.0  # between two looks at what is idle


@dataclass(eq=False)
class _Connection:
    transport: asyncio.Transport
    since: float = field(default_factory=time.monotonic)
    n_requests: int = 0  # that are being answered


class _Unread(Exception):  # noqa: N818 (no fault of ours)
    """The other side does not read."""


class Connections:
    """All open connections. One too many closes the longest idle one, so that idle ones keep nobody out.

    uvicorn itself bounds the size of headers, but neither waits for them for a limited time, nor for a reader.
    """

    def __init__(self) -> None:
        self._open: dict[object, _Connection] = {}  # by the address of the other side

    def protocol(self) -> type[asyncio.Protocol]:
        """Uvicorn's protocol, which tells us of its connections."""
        connections = self

        class _Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                connections._add(self.client, transport)

            def connection_lost(self, exc: Exception | None) -> None:
                connections._remove(self.client, self.transport)
                super().connection_lost(exc)

        return _Protocol

    async def sweep(self) -> None:
        """Close what is idle for too long, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            oldest = time.monotonic() - IDLE_S
            for address in self._idle():
                if self._open[address].since < oldest:
                    self._open.pop(address).transport.abort()

    def bounded(self, app: ASGIApp) -> ASGIApp:
        """The same application; requests that it answers are known here, and end where nobody reads the answer."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            connection = self._open.get(scope.get("client"))
            if connection is None:  # closed meanwhile
                return

            async def send_in_time(message: Message) -> None:
                try:
                    await asyncio.wait_for(send(message), UNREAD_S)
                except asyncio.TimeoutError:
                    connection.transport.abort()
                    raise _Unread from None

            connection.n_requests += 1
            try:
                with suppress(_Unread):
                    await app(scope, receive, send_in_time)
            finally:
                connection.n_requests -= 1
                connection.since = time.monotonic()

        return answer

    def _add(self, address: object, transport: asyncio.Transport) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            idle = min(self._idle(), key=lambda address: self._open[address].since, default=None)
            if idle is None:
                transport.abort()
                return
            self._open.pop(idle).transport.abort()
        self._open[address] = _Connection(transport)

    def _remove(self, address: object, transport: asyncio.Transport) -> None:
        if (connection := self._open.get(address)) and connection.transport is transport:
            del self._open[address]

    def _idle(self) -> list[object]:
        return [address for address, connection in self._open.items() if not connection.n_requests]
