"""Who may look: tokens, wrong tokens, hosts; nothing that is secret gets into a line or an address."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from urllib.parse import urlencode

import pytest

from mask_detection.serving.page import access, app
from mask_detection.serving.page.access import MAX_ADDRESSES, MAX_TRIES, TRIES_S, WrongTries, is_this_host
from mask_detection.serving.page.token_file import read_token
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.live import Clock, ask

TOKEN = "0123456789abcdef" * 4
FORM = {"Content_Type": "application/x-www-form-urlencoded"}
GUARDED = ("/", "/now", "/stream/door", "/alarms/1.jpg", "/api/status", "/metrics", "/page.js", "/nothing")


@pytest.fixture
def guarded(serve):
    return serve("door", token=TOKEN)


def log_in(url: str, token: str, **headers: str):
    return ask(url, "/login", "POST", urlencode({"token": token}), **FORM, **headers)


# --- the token ---


def test_a_token_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "token"
    token = read_token(path)
    assert len(bytes.fromhex(token)) == 32
    assert read_token(path) == token
    assert read_token(tmp_path / "another") != token
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_that_others_can_read_is_named_but_not_shown(tmp_path, caplog):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    assert read_token(path) == TOKEN
    assert "chmod 600" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("content", ["", "short", "a" * 5000, "a b " * 20, "ä" * 40, "\x00" * 40])
def test_what_is_no_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_text(content, "utf-8")
    path.chmod(0o600)
    with pytest.raises(MaskDetectionError, match="token"):
        read_token(path)


def test_a_token_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(MaskDetectionError, match="cannot be written"):
        read_token(tmp_path / "nowhere" / "token")


# --- requests ---


@pytest.mark.parametrize("path", GUARDED)
def test_nothing_is_shown_without_the_token(guarded, path):
    assert ask(guarded.url, path).status == 401
    assert ask(guarded.url, path, Cookie="mask_detection=0").status == 401


def test_health_needs_no_token(guarded):
    assert ask(guarded.url, "/healthz").status == 200


def test_the_form_gives_a_cookie_that_is_no_token(guarded):
    form = ask(guarded.url)
    assert 'type="password"' in form.text
    answer = log_in(guarded.url, TOKEN)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert ask(guarded.url, "/api/status", Cookie=cookie.split(";")[0]).status == 200
    assert "Secure" in log_in(guarded.url, TOKEN, X_Forwarded_Proto="https").headers["set-cookie"]


def test_a_header_takes_the_token_too(guarded):
    assert ask(guarded.url, "/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert ask(guarded.url, "/metrics", Authorization=f"Basic {TOKEN}").status == 401


def test_a_token_in_the_address_opens_nothing(guarded):
    assert ask(guarded.url, f"/api/status?token={TOKEN}").status == 401


def test_five_wrong_tokens_a_minute_and_then_not_even_the_right_one(guarded, caplog):
    caplog.set_level(logging.DEBUG)
    cookie = log_in(guarded.url, TOKEN).headers["set-cookie"].split(";")[0]
    statuses = [log_in(guarded.url, f"wrong{i}").status for i in range(MAX_TRIES + 1)]
    assert statuses == [401] * (MAX_TRIES - 1) + [429] * 2
    refused = log_in(guarded.url, TOKEN)
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= TRIES_S
    assert ask(guarded.url, "/metrics", Authorization=f"Bearer {TOKEN}").status == 429
    assert ask(guarded.url, "/", Cookie=cookie).status == 200  # who is in stays in
    assert "wrong" not in caplog.text
    assert TOKEN not in caplog.text


def test_wrong_tokens_in_headers_count(guarded):
    statuses = [ask(guarded.url, "/metrics", Authorization="Bearer x").status for _ in range(MAX_TRIES + 1)]
    assert statuses == [401] * (MAX_TRIES - 1) + [429] * 2


def test_tries_are_forgotten_after_a_minute_and_addresses_are_bounded():
    clock = Clock()
    tries = WrongTries(clock)
    for _ in range(MAX_TRIES):
        assert tries.wait_s("10.0.0.1") == 0
        tries.add("10.0.0.1")
    assert tries.wait_s("10.0.0.1") == TRIES_S
    assert tries.wait_s("10.0.0.2") == 0
    clock.now += TRIES_S
    assert tries.wait_s("10.0.0.1") == 0
    for i in range(2 * MAX_ADDRESSES):
        tries.add(f"address {i}")
    assert len(tries._tries) == MAX_ADDRESSES


@pytest.mark.parametrize("body", ["", "token", "token=" + "a" * 100_000, "\x00\xff", "token=ä", "a=b&" * 100])
def test_a_form_of_anything_is_a_wrong_token(guarded, body):
    assert ask(guarded.url, "/login", "POST", body.encode().decode("latin-1"), **FORM).status == 401


def test_a_form_that_never_arrives_is_given_up(guarded, monkeypatch):
    monkeypatch.setattr(app, "FORM_S", 0.2)
    assert ask(guarded.url, "/login", "POST", "token=", Content_Length="100").status == 401


def test_runs_on_one_machine_share_no_cookie(serve):
    cookies = [log_in(serve("door", token=token).url, token).headers["set-cookie"] for token in (TOKEN, TOKEN[::-1])]
    assert len({cookie.split("=")[0] for cookie in cookies}) == 2


# --- hosts ---


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080", "[::1]", "192.168.1.5:80"]
)
def test_this_machine(host):
    assert is_this_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "a:b:c", "@", "["],
)
def test_another_host(host):
    assert not is_this_host(host)


def test_this_machines_name(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Door-Box")
    assert is_this_host("door-box.local:8080")
    assert is_this_host("door-box")


@pytest.mark.parametrize("path", ["/", "/healthz", "/login", "/api/status"])
def test_requests_for_another_host_get_nothing(page, path):
    assert ask(page.url, path, Host="evil.example").status == access.MISDIRECTED


def test_a_forwarded_host_changes_nothing(page):
    assert ask(page.url, "/", X_Forwarded_Host="127.0.0.1", Host="evil.example").status == access.MISDIRECTED


def test_a_forwarded_address_is_not_believed(guarded):
    statuses = [
        log_in(guarded.url, "wrong", X_Forwarded_For=f"10.0.0.{i}", Forwarded=f"for=10.0.0.{i}").status
        for i in range(6)
    ]
    assert statuses[-1] == 429


def test_the_page_as_files_has_no_inline_script():
    folder = Path(access.__file__).parent
    assert "innerHTML" not in (folder / "page.js").read_text("utf-8")
    assert "style=" not in (folder / "rendering.py").read_text("utf-8")
