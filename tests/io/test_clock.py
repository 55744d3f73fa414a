"""Intervals of the day: from midnight on, one after the other, also where the clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from mask_detection.io.clock import interval_around

BERLIN = ZoneInfo("Europe/Berlin")


def intervals(first: str, length_s: float, n: int, zone: ZoneInfo = BERLIN) -> list[str]:
    """The local starts of the interval that holds a moment and of those after it."""
    moment, starts = datetime.fromisoformat(first), []
    for _ in range(n):
        start, moment = interval_around(moment, length_s, zone)
        starts.append(start.astimezone(zone).strftime("%d %H:%M %z"))
    return starts


def test_intervals_begin_anew_at_midnight():
    assert intervals("2026-01-31T23:10:00+01:00", 3600, 2) == ["31 23:00 +0100", "01 00:00 +0100"]
    assert intervals("2026-01-31T20:00:00+01:00", 7 * 3600, 3) == ["31 14:00 +0100", "31 21:00 +0100", "01 00:00 +0100"]
    assert intervals("2026-01-31T20:00:00+01:00", 86400, 2) == ["31 00:00 +0100", "01 00:00 +0100"]


def test_the_hour_that_comes_twice_is_two_intervals():
    assert intervals("2026-10-25T01:30:00+02:00", 3600, 4) == [
        *("25 01:00 +0200", "25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100")
    ]
    assert intervals("2026-10-25T01:30:00+02:00", 6 * 3600, 2) == ["25 00:00 +0200", "25 06:00 +0100"]


def test_the_hour_that_is_left_out_is_none():
    assert intervals("2026-03-29T01:30:00+01:00", 3600, 2) == ["29 01:00 +0100", "29 03:00 +0200"]
    assert intervals("2026-03-29T01:30:00+01:00", 86400, 2) == ["29 00:00 +0100", "30 00:00 +0200"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("length_s", [600, 900, 3600, 5000, 3 * 3600, 7 * 3600, 86400])
@pytest.mark.parametrize("day", ["2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"])
def test_each_moment_is_in_one_interval(zone, length_s, day):
    moment = datetime.fromisoformat(day).replace(tzinfo=timezone.utc)
    last = moment + timedelta(days=3)
    start, end = interval_around(moment, length_s, ZoneInfo(zone))
    while start < last:
        for fraction in (0.0, 0.4, 0.99):
            assert interval_around(start + fraction * (end - start), length_s, ZoneInfo(zone)) == (start, end)
        following, following_end = interval_around(end, length_s, ZoneInfo(zone))
        assert following == end
        start, end = following, following_end
