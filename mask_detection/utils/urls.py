"""Addresses (URLs): what they lead to, and how they may be shown, without the secrets in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit
from urllib.request import url2pathname

HIDDEN = "…"
LONGEST_NAME = 60  # characters of a source's short name
SCHEME = r"[A-Za-z][\w+.-]+:[/\\]+"  # of two letters at least, as C:/ is none; FFmpeg takes rtsp:/ and rtsp:///, too
# A host that is no user's name: with a dot, or in brackets. Only behind such a one can an @ belong to the path.
PLAIN_HOST = r"(?:[\w-]+(?:\.[\w-]+)+|localhost|\[[\dA-Fa-f:.%]+\])(?::\d*)?"
HIDDEN_WORDS = "pas|pwd|psw|pw|token|key|auth|secret|sig|cred|session|hmac|hdn|jwt|ticket|acl"
HIDDEN_NAME = rf"[\w.~%\[\]-]*(?:{HIDDEN_WORDS})[\w.~%\[\]-]*"
HIDDEN_FOLDER = r"(?:password|passwd|pass|pwd|token|api-?key|key|auth|secret|session)"


def scheme_of(source: str) -> str:
    """``rtsp`` for ``RTSP://camera.local/1``; empty for what is no address, such as a path or a camera's index."""
    scheme, mark, _ = source.partition("://")
    return scheme.lower() if mark else ""


def without_file_scheme(source: str) -> str:
    """The path of a file that is given as an address, ``/tmp/a b.mp4`` for ``file:///tmp/a%20b.mp4``; others stay."""
    return url2pathname(urlsplit(source).path) if scheme_of(source) == "file" else source


def without_secrets(text: str) -> str:
    """A source's name as it may be shown: ``rtsp://user:…@camera.local/1?token=…`` for one with secrets.

    Where it is open whether something is a secret, it is hidden: all before the last ``@`` but for the user's name,
    a user's name without a password, and what is called password, token, key and so on in the query or path.

    Args:
        text: an address, as the user typed it, malformed ones too; anything else is returned as it is, except what
            looks like ``user:password@host``.
    """
    scheme = re.match(rf"(.*?{SCHEME}|//)(.*)", text, re.DOTALL)
    if not scheme:
        return re.sub(r"^([^/\\@:]+:)[^/\\].*@", rf"\1{HIDDEN}@", text, flags=re.DOTALL)
    start, rest = scheme.groups()
    host = re.match(rf"{PLAIN_HOST}(?=[/?#]|$)", rest)
    if host:
        return start + host[0] + _without_named_secrets(_without_inner_users(rest[host.end() :]))
    user, at, place = rest.rpartition("@")
    return start + (_shown_user(user) + at if at else "") + _without_named_secrets(place)


def safe_name(source: str) -> str:
    """A short name for a source, of letters, digits, ``_``, ``-`` and ``.``, without what may be secret.

    ``camera.local-stream1`` for ``rtsp://user:password@camera.local/stream1?token=1``, ``door`` for
    ``videos/door.mp4``, ``camera-0`` for camera 0.
    """
    if source.isdecimal():
        return f"camera-{source[:LONGEST_NAME]}"
    shown = without_secrets(without_file_scheme(source))
    if scheme_of(shown):
        place = re.sub(r"[?#].*", "", shown.partition("://")[2].rpartition("@")[2], flags=re.DOTALL)
    else:
        place = re.split(r"[/\\]", shown.rstrip("/\\"))[-1]
        place = re.sub(r"(?<=.)\.\w{1,5}$", "", place)
    name = re.sub(r"[^\w.]+", "-", place)[:LONGEST_NAME].strip("-.")
    return name or "source"


def without_secrets_in_line(line: str) -> str:
    """A message in which addresses are shown by :func:`without_secrets`; a password may hold blanks."""
    return re.sub(rf"\S*{SCHEME}(.*@)?\S*?(?=[:;,.)'\"]*(\s|$))", lambda address: without_secrets(address[0]), line)


def _shown_user(user: str) -> str:
    name, _, password = user.partition(":")
    return f"{name}:{HIDDEN}" if password and "@" not in name else HIDDEN  # a name alone is a token


def _without_inner_users(path: str) -> str:
    """An address within the path or query, without its user and password."""
    return re.sub(rf"({SCHEME}|%3A%2F%2F).*(@|%40)", rf"\1{HIDDEN}\2", path, flags=re.DOTALL | re.IGNORECASE)


def _without_named_secrets(place: str) -> str:
    path, mark, query = re.fullmatch(r"([^?#]*)([?#]?)(.*)", place, re.DOTALL).groups()  # type: ignore[union-attr]
    flags = re.IGNORECASE | re.DOTALL
    path = re.sub(rf"({HIDDEN_NAME}=)[^/&]+", rf"\1{HIDDEN}", path, flags=flags)
    path = re.sub(rf"(/{HIDDEN_FOLDER}/)[^/]+", rf"\1{HIDDEN}", path, flags=flags)
    return path + mark + re.sub(rf"({HIDDEN_NAME}=)[^&]+", rf"\1{HIDDEN}", query, flags=flags)
