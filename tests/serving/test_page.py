"""What the page answers: HTML, JSON, metrics, health; names of anybody are escaped, files are never served."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from html.parser import HTMLParser

import pytest

from mask_detection.io.capture import SourceState
from mask_detection.serving.page.app import HEALTHY_S
from mask_detection.serving.page.chart import draw_chart
from mask_detection.serving.page.rendering import MAX_STREAMS
from mask_detection.serving.state import UNCERTAIN
from tests.helpers.live import BARE, MASKED, UNSURE, alarm_event, ask, faces, frame_of, live_state

EVIL = '"><script>alert(1)</script>'


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data

    def of(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.found if tag == name]


def test_the_page_shows_sources_counts_chart_and_alarms(serve):
    page = serve("door", "yard", keeps_crops=True, shows_crops=True)
    page.state.write(frame_of("door"), faces((1, MASKED), (2, BARE), (3, BARE)))
    page.state.add_alarm(alarm_event("door"))
    answer = ask(page.url)
    assert answer.status == 200
    tags = Tags(answer.text)
    assert [image["src"] for image in tags.of("img")] == ["/stream/door", "/stream/yard", "/alarms/1.jpg"]
    numbers = re.findall(r'data-label="(\w+)">(\d+)<', answer.text)
    assert numbers[:3] == [("with_mask", "1"), ("without_mask", "2"), (UNCERTAIN, "0")]
    assert len(tags.of("rect")) == 2  # bars: one a class, at the door
    assert "without_mask at door" in tags.words
    crop = ask(page.url, "/alarms/1.jpg")
    assert (crop.status, crop.headers["content-type"], crop.body[:2]) == (200, "image/jpeg", b"\xff\xd8")


def test_the_parts_that_the_script_renews_are_those_of_the_page(page):
    whole, parts = ask(page.url), ask(page.url, "/now")
    ids = [attributes["id"] for _, attributes in Tags(parts.text).found if "id" in attributes]
    assert ids == ["now-door", "alarms"]
    assert {*ids} < {attributes.get("id") for _, attributes in Tags(whole.text).found}


def test_crops_are_not_shown_unless_asked_for(serve):
    page = serve("door", keeps_crops=True)  # as for MQTT
    page.state.write(frame_of("door"), faces((1, BARE)))
    page.state.add_alarm(alarm_event("door"))
    assert "/alarms/" not in ask(page.url).text
    assert ask(page.url, "/alarms/1.jpg").status == 404
    assert ask(page.url, "/api/status").text.count('"crop":false') == 1


def test_names_are_escaped_wherever_they_stand(serve):
    page = serve(EVIL, "door\u202e\n\x1b[2J")
    page.state.write(frame_of(EVIL), faces((1, BARE)))
    page.state.add_alarm(alarm_event(EVIL))
    for path in ("/", "/now"):
        answer = ask(page.url, path)
        assert "<script>alert" not in answer.text
        assert all(
            tag != "script" or attributes == {"src": "/page.js", "defer": None}
            for tag, attributes in Tags(answer.text).found
        )
        assert "alert(1)" in Tags(answer.text).words
        assert "\x1b" not in answer.text
    assert ask(page.url, "/metrics").text.count('source="\\"><script>') > 3
    json.loads(ask(page.url, "/api/status").body)


def test_the_class_names_of_a_model_are_escaped():
    chart = draw_chart([(0.0, Counter({EVIL: 1})), (300.0, Counter())], {EVIL: "#fff"}, EVIL)
    assert "<script" not in chart


def test_a_source_that_is_down_says_since_when_and_why(serve):
    page = serve("door")
    page.state._sources["door"].source.state = SourceState(False, time.time() - 100, "gives no <frame>")
    assert "gives no &lt;frame&gt;" in ask(page.url).text
    (source,) = json.loads(ask(page.url, "/api/status").body)["sources"]
    assert (source["up"], source["reason"]) == (False, "gives no <frame>")
    assert source["since"].endswith("+00:00")


def test_browsers_open_six_connections_so_not_all_of_many_sources_move_at_once(serve):
    names = [f"camera {i}" for i in range(7)]
    page = serve(*names)
    images = Tags(ask(page.url).text).of("img")
    assert len(images) == MAX_STREAMS
    alone = Tags(ask(page.url, "/?source=camera_6").text).of("img")
    assert [image["src"] for image in alone] == ["/stream/camera_6"]


def test_the_status_is_json(page):
    page.state.write(frame_of("door"), faces((1, MASKED)))
    status = json.loads(ask(page.url, "/api/status").body)
    (source,) = status["sources"]
    assert source["faces"] == {"with_mask": 1, "without_mask": 0, UNCERTAIN: 0}
    assert source["history"][0]["with_mask"] == 1
    assert source["frames"] == 1


def test_the_metrics_are_what_prometheus_reads(page):
    page.state.write(frame_of("door"), faces((1, MASKED), (2, UNSURE)))
    answer = ask(page.url, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'mask_detection_\w+(\{(\w+="([^"\\\n]|\\["\\n])*",?)+\})? [\d.e+-]+')
    lines = answer.text.splitlines()
    assert all(line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line) for line in lines)
    assert 'mask_detection_faces{source="door",class="uncertain"} 1' in lines
    assert 'mask_detection_source_up{source="door"} 1.0' in lines


def test_a_run_is_well_while_a_source_gives_frames(page):
    assert ask(page.url, "/healthz").status == 200  # no frame yet, but it has just begun
    page.state.write(frame_of("door"), faces())
    assert ask(page.url, "/healthz").status == 200
    page.state._clock = lambda: time.time() + HEALTHY_S + 1
    assert ask(page.url, "/healthz").status == 503


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/page.css/../app.py",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/app.py",
        "/stream/../../etc/passwd",
        "/stream/nobody",
        "/stream/" + "a" * 3000,
        "/alarms/-1.jpg",
        "/alarms/99999999999999999999.jpg",
        "/app.py",
        "/?source=nobody",
        "//etc/passwd",
        "/%00",
    ],
)
def test_there_are_no_files_and_no_other_paths(page, path):
    answer = ask(page.url, path)
    assert answer.status == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(page, method):
    answer = ask(page.url, "/", method)
    assert answer.status == 405
    assert "access-control-allow-origin" not in answer.headers


def test_every_answer_forbids_foreign_content(page):
    for path in ("/", "/now", "/api/status", "/metrics", "/healthz", "/page.js", "/nothing"):
        headers = ask(page.url, path, Origin="http://evil.example").headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_a_chart_without_tracks_is_drawn():
    views = live_state("door").views()
    assert draw_chart(views[0].intervals, {"with_mask": "#28b43c"}, "none").count("<rect") == 0
