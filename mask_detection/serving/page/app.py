"""What the live page answers to each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mask_detection import __version__
from mask_detection.serving.page.access import Access, Gate, address_of, too_many_tries
from mask_detection.serving.page.metrics import CONTENT_TYPE, metrics_text
from mask_detection.serving.page.motion_jpeg import MotionJpeg, Viewers
from mask_detection.serving.page.rendering import changing_parts, full_page, login_page
from mask_detection.serving.pictures import Pictures
from mask_detection.serving.state import Alarm, LiveState, SourceView

MAX_VIEWERS = 40  # pictures that are being looked at
MAX_FORM_BYTES = 4096
FORM_S = 10.0  # until a form has arrived
HEALTHY_S = 60.0  # after which a run without a new frame is not well

Answer = Callable[[Request], Awaitable[Response]]


class App:
    """The application's answers; all that they show is read from the state and the pictures."""

    def __init__(
        self, state: LiveState, pictures: Pictures, access: Access, viewers: Viewers, shows_crops: bool
    ) -> None:
        self._state, self._pictures, self._access = state, pictures, access
        self._viewers, self._shows_crops = viewers, shows_crops
        self._started = time.time()

    def application(self) -> Starlette:
        """All routes, behind the :class:`Gate`."""
        routes = [
            Route("/", self._page),
            Route("/login", self._login_form, methods=["GET"]),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/now", self._now),
            Route("/stream/{key}", self._stream),
            Route("/alarms/{number:int}.jpg", self._crop),
            Route("/api/status", self._status),
            Route("/metrics", self._metrics),
            Route("/healthz", self._health),
            Route("/page.css", _constant("page.css", "text/css")),
            Route("/page.js", _constant("page.js", "text/javascript")),
        ]
        return Starlette(routes=routes, middleware=[Middleware(Gate, access=self._access)])

    async def _page(self, request: Request) -> Response:
        key = request.query_params.get("source")
        if key is not None:
            self._source(key)
        return _html(full_page(self._state.views(), self._alarms(), self._state.class_names, key))

    async def _now(self, request: Request) -> Response:
        return _html(changing_parts(self._state.views(), self._alarms(), self._state.class_names))

    async def _login_form(self, request: Request) -> Response:
        return _html(login_page())

    async def _log_in(self, request: Request) -> Response:
        token = await _token_in_form(request)
        address = address_of(request)
        if self._access.is_open or self._access.try_token(address, token):
            return self._access.let_in(request)
        if wait_s := self._access.wait_s(address):
            return too_many_tries(wait_s)
        return _html(login_page("This is not the token."), 401)

    async def _stream(self, request: Request) -> Response:
        source = self._source(request.path_params["key"])
        if self._viewers.count >= MAX_VIEWERS:
            return PlainTextResponse("Too many viewers; try again later.\n", 503, {"Retry-After": "10"})
        return MotionJpeg(partial(self._pictures.next, source), self._viewers)

    async def _crop(self, request: Request) -> Response:
        number = request.path_params["number"]
        crop = next((alarm.crop for alarm in self._alarms() if alarm.number == number), None)
        if crop is None:
            raise HTTPException(404)
        return Response(crop, media_type="image/jpeg")

    async def _status(self, request: Request) -> Response:
        sources = [_source_record(view) for view in self._state.views()]
        alarms = [_alarm_record(alarm) for alarm in self._alarms()]
        return JSONResponse({"version": __version__, "sources": sources, "alarms": alarms})

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse(
            metrics_text(self._state.views(), self._viewers.count), headers={"Content-Type": CONTENT_TYPE}
        )

    async def _health(self, request: Request) -> Response:
        """Well is a run in which a source gives frames, and one that is less than a minute old."""
        views = self._state.views()
        ages = [view.frame_age_s for view in views if view.state.is_up and view.frame_age_s is not None]
        is_well = min(ages, default=time.time() - self._started) < HEALTHY_S
        return PlainTextResponse("ok\n" if is_well else "no source gives frames\n", 200 if is_well else 503)

    def _alarms(self) -> list[Alarm]:
        alarms = self._state.alarms()
        return alarms if self._shows_crops else [replace(alarm, crop=None) for alarm in alarms]

    def _source(self, key: str) -> str:
        """The source that has this key in addresses."""
        source = self._state.source_of(key)
        if source is None:
            raise HTTPException(404)
        return source


def _html(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="text/html")


def _constant(name: str, media_type: str) -> Answer:
    """An answer that is always the same: a file beside this one, read now, never when it is asked for."""
    content = files(__package__).joinpath(name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer


async def _token_in_form(request: Request) -> str:
    """What the form of the page sends; empty for anything else."""
    try:
        body = await asyncio.wait_for(_body(request), FORM_S)
    except (asyncio.TimeoutError, ClientDisconnect):
        return ""
    return parse_qs(body.decode("ascii", errors="replace")).get("token", [""])[0].strip()


async def _body(request: Request) -> bytes:
    """What is sent, or as much of it as a form may have."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            break
    return body[:MAX_FORM_BYTES]


def _source_record(view: SourceView) -> dict[str, Any]:
    state = view.state
    return {
        "name": view.name,
        "key": view.key,
        "up": state.is_up,
        "since": _iso(state.since),
        "reason": state.reason,
        "frames": view.n_frames,
        "frames_per_second": view.frames_per_second,
        "faces": view.faces,
        "tracks": view.tracks,
        "alarms": view.n_alarms,
        "history": [{"start": _iso(start), **counts} for start, counts in view.intervals if counts],
        "statistics": view.statistics,
    }


def _alarm_record(alarm: Alarm) -> dict[str, Any]:
    return {"number": alarm.number, "time": _iso(alarm.time), **alarm.event, "crop": alarm.crop is not None}


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
