"""Who may see the page: requests for this host, from those who know the token where there is one."""

from __future__ import annotations

import hmac
import ipaddress
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mask_detection.serving.page.rendering import login_page

COOKIE = "mask_detection"
COOKIE_SECONDS = 30 * 24 * 3600
MAX_TRIES, TRIES_S = 5, 60.0  # wrong tokens from one address, in so many seconds
MAX_ADDRESSES = 1000  # whose tries are remembered
MISDIRECTED = 421  # HTTP's status for a host that is not served here
OPEN_PATHS = ("/healthz", "/login", "/page.css")  # which need no token
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class WrongTries:
    """Counts wrong tokens by address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str) -> None:
        """Count one more."""
        self._tries.setdefault(address, deque(maxlen=MAX_TRIES)).append(self._clock())
        self._tries.move_to_end(address)
        while len(self._tries) > MAX_ADDRESSES:
            self._tries.popitem(last=False)

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again; 0 where it may now."""
        tries = self._tries.get(address) or deque()
        return max(0.0, tries[0] + TRIES_S - self._clock()) if len(tries) == MAX_TRIES else 0.0


class Access:
    """Checks a token: once sent by the form of the page, then as a cookie; or in each request's header.

    The cookie is no token: it is made of it, and whoever changes the token makes it void.
    """

    def __init__(self, token: str | None) -> None:
        """Set the token; None lets everybody in."""
        self._token = token
        self._cookie = _made_of(token, "cookie")
        self._cookie_name = f"{COOKIE}_{_made_of(token, 'name')[:8]}"  # browsers keep one jar for all ports of a host
        self._wrong = WrongTries()

    @property
    def is_open(self) -> bool:
        """Whether there is no token."""
        return self._token is None

    def wait_s(self, address: str) -> float:
        """Seconds for which nothing from this address is looked at, after too many wrong tokens."""
        return self._wrong.wait_s(address)

    def allows(self, request: Request) -> bool:
        """Tell whether a request brings the cookie or, as ``Authorization: Bearer``, the token."""
        if self._token is None or _is_same(request.cookies.get(self._cookie_name, ""), self._cookie):
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.try_token(address_of(request), token.strip())

    def try_token(self, address: str, token: str) -> bool:
        """Tell whether a token is the right one, and count it where it isn't."""
        if self.wait_s(address):
            return False
        if self._token is not None and _is_same(token, self._token):
            return True
        self._wrong.add(address)
        return False

    def let_in(self, request: Request) -> Response:
        """The way to the page, with the cookie."""
        response = RedirectResponse("/", 303)
        is_encrypted = request.headers.get("x-forwarded-proto") == "https"  # by a proxy before us
        response.set_cookie(
            self._cookie_name, self._cookie, max_age=COOKIE_SECONDS, httponly=True, samesite="lax", secure=is_encrypted
        )
        return response


def address_of(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else ""


def _made_of(token: str | None, purpose: str) -> str:
    """A text that nobody can make who doesn't know the token, and of which nobody can tell it."""
    return hmac.new((token or "").encode(), purpose.encode(), "sha256").hexdigest()


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def is_this_host(header: str) -> bool:
    """Tell whether a request's ``Host`` is an IP address or a name of this machine.

    A page elsewhere can let its own name lead to this machine (DNS rebinding), but then sends that name.
    """
    host = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    host = host.strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = socket.gethostname().lower()
        return host in {"localhost", name, f"{name}.local"}
    return True


class Gate:
    """The application behind it gets only requests that are for this host and may be answered."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        request = Request(scope)
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or not is_this_host(hosts[0]):
            return PlainTextResponse("This name is not served here; use the machine's address.\n", MISDIRECTED)
        if scope["path"] in OPEN_PATHS or self._access.allows(request):
            return None
        if wait_s := self._access.wait_s(address_of(request)):
            return too_many_tries(wait_s)
        if scope["path"] == "/":
            return Response(login_page(), 401, media_type="text/html", headers=_challenge())
        return PlainTextResponse("Log in on the page, or send the token as Authorization: Bearer.\n", 401, _challenge())


def too_many_tries(wait_s: float) -> Response:
    """The answer to who has sent too many wrong tokens."""
    return PlainTextResponse(
        f"Too many wrong tokens; wait {wait_s:.0f} seconds.\n", 429, {"Retry-After": f"{wait_s:.0f}"}
    )


def _challenge() -> Mapping[str, str]:
    return {"WWW-Authenticate": "Bearer"}
