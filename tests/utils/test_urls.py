"""Addresses are shown without secrets, whatever they look like; names of files are shown as they are."""

from __future__ import annotations

import pytest

from mask_detection.utils.urls import safe_name, without_secrets, without_secrets_in_line


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:secret@camera.local/1", "rtsp://admin:…@camera.local/1"),
        ("rtsp://admin:p:s@s@camera.local/1", "rtsp://admin:…@camera.local/1"),
        ("rtsp://admin:s/e?c#r@t@camera/1", "rtsp://admin:…@camera/1"),
        ("rtsp://admin:12/34@camera/1", "rtsp://admin:…@camera/1"),
        ("rtsp://:secret@camera/1", "rtsp://:…@camera/1"),
        ("RTSP://admin:secret@camera/1", "RTSP://admin:…@camera/1"),
        ("http://secret@camera.local/", "http://…@camera.local/"),
        ("http://se/cret@camera.local/", "http://…@camera.local/"),
        ("http://secret:@camera.local/", "http://…@camera.local/"),
        ("http://me@mail.org:secret@camera/", "http://…@camera/"),
    ],
)
def test_users_and_passwords_are_hidden_up_to_the_last_at(address, shown):
    assert without_secrets(address) == shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp:/admin:secret@camera/1", "rtsp:/admin:…@camera/1"),
        ("rtsp:///admin:secret@camera/1", "rtsp:///admin:…@camera/1"),
        ("rtsp:\\\\admin:secret@camera", "rtsp:\\\\admin:…@camera"),
        ("rtsp:admin:secret@camera/1", "rtsp:…@camera/1"),
        ("//admin:secret@camera/1", "//admin:…@camera/1"),
        ("admin:secret@camera/1", "admin:…@camera/1"),
    ],
)
def test_malformed_addresses_hide_them_too(address, shown):
    assert without_secrets(address) == shown


@pytest.mark.parametrize("name", ["pwd", "password", "Passwd", "loginpas", "token", "access_token", "key", "apikey"])
@pytest.mark.parametrize("rest", ["&n=1", ""])
def test_secrets_in_the_query_are_hidden(name, rest):
    assert without_secrets(f"http://camera/x.cgi?user=a&{name}=s/e?c;ret{rest}") == (
        f"http://camera/x.cgi?user=a&{name}=…{rest}"
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://h.org/x?Authorization=a%20b", "http://h.org/x?Authorization=…"),
        ("http://h.org/x?X-Amz-Signature=ab&n=1", "http://h.org/x?X-Amz-Signature=…&n=1"),
        ("http://h.org/x#access_token=ab", "http://h.org/x#access_token=…"),
        ("rtsp://h/user=admin&password=secret&channel=1", "rtsp://h/user=admin&password=…&channel=1"),
        ("rtsp://h/user=admin_password=se_cret_channel=1.sdp?real", "rtsp://h/user=admin_password=…?real"),
        ("http://h.org/live;token=ab/1", "http://h.org/live;token=…/1"),
        ("http://h.org/token/ab/1.mjpg", "http://h.org/token/…/1.mjpg"),
        ("http://h.org/?url=rtsp://admin:secret@h/", "http://h.org/?url=rtsp://…@h/"),
        ("http://h.org/?url=rtsp%3A%2F%2Fadmin%3Asecret%40h", "http://h.org/?url=rtsp%3A%2F%2F…%40h"),
    ],
)
def test_secrets_in_paths_and_signatures_are_hidden(address, shown):
    assert without_secrets(address) == shown


@pytest.mark.parametrize(
    "name",
    [
        "rtsp://camera.local:554/user@1",
        "http://[::1]:8000/user@1",
        "http://127.0.0.1:8000/stream?n=1",
        "street.mp4",
        "0",
        "C:/Users/me@home.mp4",
        "C:\\Users\\me@home.mp4",
        "/data/token/a:b@c.mp4",
        "password=1/street.mp4",
    ],
)
def test_what_holds_no_secret_stays(name):
    assert without_secrets(name) == name
    assert without_secrets_in_line(f"{name}: no such file") == f"{name}: no such file"


def test_a_line_may_hold_addresses():
    line = "unrecognized arguments: rtsp://a:sec ret@c/1 --x http://h/?key=secret"
    assert without_secrets_in_line(line) == "unrecognized arguments: rtsp://a:…@c/1 --x http://h/?key=…"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("0", "camera-0"),
        ("/dev/video0", "video0"),
        ("videos/door.mp4", "door"),
        ("C:\\videos\\door.mp4", "door"),
        ("frames/", "frames"),
        ("rtsp://camera.local/stream1", "camera.local-stream1"),
        ("rtsp://admin:secret@camera.local:554/1?token=secret#secret", "camera.local-554-1"),
        ("rtsp://secret@camera.local/token/secret/1", "camera.local-token-1"),
        ("file:///videos/a%20b.mp4", "a-b"),
        ("..", "source"),
        ("a/.hidden", "hidden"),
        ("{source}", "source"),
        ("x" * 500, "x" * 60),
    ],
)
def test_a_sources_short_name_is_safe_in_file_names(source, name):
    assert safe_name(source) == name
