"""What reaches a real broker: counts, events, alarms, statistics, and what happens when it is killed and comes back."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mask_detection.io.capture import SourceState
from mask_detection.serving.mqtt import broker as broker_module
from mask_detection.serving.mqtt.address import BrokerAddress, parse_broker_address
from mask_detection.serving.mqtt.broker import MAX_QUEUED, Broker
from mask_detection.serving.mqtt.reports import mqtt_reports
from mask_detection.serving.state import LiveState
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.live import BARE, CLASSES, MASKED, StandInSource, alarm_event, faces, frame_of, live_state
from tests.helpers.mosquitto import PASSWORD, USER, Ear, Mosquitto
from tests.helpers.paths import ROOT
from tests.helpers.waiting import eventually

OPEN = "allow_anonymous true"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "PAUSES_S", (1, 1))
    monkeypatch.setattr(broker_module, "TICK_S", 0.1)


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """A function that starts a broker, with lines of its configuration."""
    with ExitStack() as stack:

        def start(*settings: str) -> Mosquitto:
            mosquitto = Mosquitto(tmp_path, *(settings or (OPEN,)))
            stack.callback(mosquitto.kill)
            return mosquitto

        yield start


@pytest.fixture
def mosquitto(start_broker: Callable[..., Mosquitto]) -> Mosquitto:
    return start_broker()


@pytest.fixture
def listen() -> Iterator[Callable[..., Ear]]:
    """A function that hears all that a broker publishes."""
    with ExitStack() as stack:

        def start(mosquitto: Mosquitto, **options: Any) -> Ear:
            ear = Ear(mosquitto.port, **options)
            stack.callback(ear.close)
            return ear

        yield start


def address_of(mosquitto: Mosquitto, **changes: Any) -> BrokerAddress:
    return parse_broker_address(f"mqtt://127.0.0.1:{mosquitto.port}/masks")._replace(**changes)


def reports(state: LiveState, mosquitto: Mosquitto, discovery: bool = False, snapshots: bool = False):
    return mqtt_reports(state, address_of(mosquitto), None, discovery, snapshots)


# --- topics ---


def test_counts_events_and_the_end(mosquitto, listen):
    ear, state = listen(mosquitto), live_state("front door")
    with reports(state, mosquitto):
        state.write(frame_of("front door"), faces((1, MASKED), (2, BARE)))
        assert ear.waits_for("masks/available", b"online")
        assert ear.waits_for("masks/front_door/with_mask", b"1")
        assert ear.waits_for("masks/front_door/all", b"2")
        assert ear.waits_for("masks/front_door/available", b"online")
        state.write(frame_of("front door", 1.0), faces((1, MASKED)))
        assert ear.waits_for("masks/front_door/without_mask", b"0")
        state.close()
    assert ear.messages[-1] == ("masks/available", b"offline")
    events = [json.loads(payload) for payload in ear.of("masks/front_door/events")]
    assert [(event["type"], event["after"]["track"]) for event in events] == [
        ("new", 1),
        ("new", 2),
        ("end", 1),
        ("end", 2),
    ]
    assert not ear.retained
    late = listen(mosquitto)
    assert late.retained["masks/available"] == b"offline"
    assert "masks/front_door/events" not in late.retained


def test_an_alarm_comes_after_its_snapshot_and_neither_is_retained(mosquitto, listen):
    ear, state = listen(mosquitto), live_state("door", keeps_crops=True)
    with reports(state, mosquitto, snapshots=True):
        state.write(frame_of("door"), faces((1, BARE)))
        state.add_alarm(alarm_event("door"))
        assert ear.waits_for("masks/door/alarm")
    (picture,) = ear.of("masks/door/snapshot")
    assert picture.startswith(b"\xff\xd8")
    topics = [topic for topic, _ in ear.messages]
    assert topics.index("masks/door/snapshot") < topics.index("masks/door/alarm")
    assert json.loads(ear.of("masks/door/alarm")[0])["label"] == "without_mask"
    assert not {"masks/door/snapshot", "masks/door/alarm"} & {*listen(mosquitto).retained}


def test_no_snapshot_unless_asked_for(mosquitto, listen):
    ear, state = listen(mosquitto), live_state("door", keeps_crops=True)  # as for the page
    with reports(state, mosquitto):
        state.write(frame_of("door"), faces((1, BARE)))
        state.add_alarm(alarm_event("door"))
        assert ear.waits_for("masks/door/alarm")
    assert not ear.of("masks/door/snapshot")


def test_statistics_are_retained(mosquitto, listen):
    state, row = live_state("door"), {"source": "door", "with_mask": 3}
    with reports(state, mosquitto):
        state.add_statistics(row)
        assert listen(mosquitto).waits_for("masks/door/statistics", json.dumps(row).encode())
    assert "masks/door/statistics" in listen(mosquitto).retained


def test_a_source_that_drops_is_offline(mosquitto, listen):
    source = StandInSource("door")
    ear, state = listen(mosquitto), LiveState([source], CLASSES)
    with reports(state, mosquitto):
        assert ear.waits_for("masks/door/available", b"online")
        source.state = SourceState(False, time.time(), "gives no frame")
        assert ear.waits_for("masks/door/available", b"offline")


def test_counts_that_change_fast_are_published_no_faster_than_the_tick(mosquitto, listen, monkeypatch):
    monkeypatch.setattr(broker_module, "TICK_S", 0.5)
    ear, state = listen(mosquitto), live_state("door")
    with reports(state, mosquitto):
        assert ear.waits_for("masks/door/with_mask", b"0")
        for i in range(200):
            state.write(frame_of("door", i / 25), faces((1, (MASKED, BARE)[i % 2])))
            time.sleep(0.005)
    assert len(ear.of("masks/door/with_mask")) <= 8


# --- the broker goes and comes ---


def test_a_broker_that_is_killed_gets_all_again_when_it_is_back(mosquitto, listen, caplog):
    caplog.set_level(logging.INFO)
    state = live_state("door")
    with reports(state, mosquitto, discovery=True) as running:
        state.write(frame_of("door"), faces((1, MASKED)))
        assert listen(mosquitto).waits_for("masks/door/with_mask", b"1")
        mosquitto.kill()
        assert eventually(lambda: not running.broker.is_connected)
        state.write(frame_of("door", 5.0), faces((2, BARE)))  # while nobody hears it
        mosquitto.start()
        ear = listen(mosquitto)
        assert ear.waits_for("masks/available", b"online")
        assert ear.waits_for("masks/door/without_mask", b"1")
        assert ear.waits_for("homeassistant/device/masks_door/config")
        assert eventually(lambda: len(ear.of("masks/door/events")) >= 2)
    kinds = [(event["type"], event["after"]["track"]) for event in map(json.loads, ear.of("masks/door/events"))]
    assert kinds[:2] == [("end", 1), ("new", 2)]
    lines = [record.getMessage() for record in caplog.records if "--mqtt" in record.getMessage()]
    assert sum("is gone" in line for line in lines) == 1
    assert sum("connected" in line for line in lines) == 2


def test_a_run_begins_without_its_broker(mosquitto, listen, caplog):
    mosquitto.kill()
    state = live_state("door")
    with reports(state, mosquitto) as running:
        state.write(frame_of("door"), faces((1, MASKED)))
        time.sleep(2.5)  # several tries
        assert not running.broker.is_connected
        mosquitto.start()
        assert listen(mosquitto).waits_for("masks/door/with_mask", b"1")
    assert sum("cannot be reached" in record.getMessage() for record in caplog.records) == 1


PUBLISHING = """
import sys, time
from mask_detection.serving.mqtt.address import parse_broker_address
from mask_detection.serving.mqtt.reports import mqtt_reports
from tests.helpers.live import live_state
with mqtt_reports(live_state("door"), parse_broker_address(sys.argv[1]), None, False, False):
    time.sleep(60)
"""


def test_a_run_that_is_killed_leaves_its_last_will(mosquitto, listen):
    ear = listen(mosquitto)
    process = subprocess.Popen([sys.executable, "-c", PUBLISHING, str(address_of(mosquitto))], cwd=ROOT)
    try:
        assert ear.waits_for("masks/available", b"online")
    finally:
        process.kill()
        process.wait()
    assert ear.waits_for("masks/available", b"offline")


def test_what_waits_for_the_broker_is_bounded_and_the_newest_is_kept(mosquitto, listen, caplog):
    caplog.set_level(logging.INFO)
    mosquitto.kill()
    broker = Broker(address_of(mosquitto), None, "masks/available", lambda: None)
    for i in range(MAX_QUEUED + 200):
        broker.send("masks/door/events", str(i))
    broker.start()
    mosquitto.start()
    ear = listen(mosquitto)
    assert ear.waits_for("masks/door/events", str(MAX_QUEUED + 199).encode())
    broker.close()
    assert ear.of("masks/door/events") == [str(i).encode() for i in range(200, MAX_QUEUED + 200)]
    assert "200 older messages were dropped" in caplog.text


def test_a_run_ends_soon_without_its_broker(mosquitto):
    mosquitto.kill()
    started = time.monotonic()
    with reports(live_state("door"), mosquitto):
        time.sleep(0.3)
    assert time.monotonic() - started < 5


def test_no_thread_is_left(mosquitto):
    before = threading.active_count()
    with reports(live_state("door"), mosquitto) as running:
        assert eventually(lambda: running.broker.is_connected)
    assert eventually(lambda: threading.active_count() <= before)


# --- who may publish ---


@pytest.fixture
def with_password(start_broker, tmp_path: Path) -> Mosquitto:
    program = shutil.which("mosquitto_passwd")
    if not program:
        pytest.skip("mosquitto_passwd is not installed here (apt install mosquitto)")
    passwords = tmp_path / "passwords"
    subprocess.run([program, "-b", "-c", passwords, USER, PASSWORD], check=True, capture_output=True)
    return start_broker("allow_anonymous false", f"password_file {passwords}")


def test_a_broker_with_a_password(with_password, listen):
    state, ear = live_state("door"), listen(with_password, with_password=True)
    with mqtt_reports(state, address_of(with_password, user=USER), PASSWORD, False, False):
        assert ear.waits_for("masks/available", b"online")


def test_a_wrong_password_is_one_line_without_it(with_password, caplog):
    state = live_state("door")
    with mqtt_reports(state, address_of(with_password, user=USER), "wrong", False, False) as running:
        assert eventually(lambda: "refuses the connection" in caplog.text)
        time.sleep(1.5)
        assert not running.broker.is_connected
    assert caplog.text.count("refuses the connection") == 1
    assert "wrong" not in caplog.text


@pytest.fixture
def encrypted(start_broker, tmp_path: Path) -> Mosquitto:
    """A broker with a certificate of an authority of its own."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed here")
    key, certificate = tmp_path / "broker.key", tmp_path / "broker.pem"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=broker -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return start_broker(OPEN, f"certfile {certificate}", f"keyfile {key}")


def test_an_encrypted_connection_to_a_certificate_that_is_known(encrypted, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "broker.pem"))
    with mqtt_reports(live_state("door"), address_of(encrypted, is_encrypted=True), None, False, False) as running:
        assert eventually(lambda: running.broker.is_connected)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_that_is_unknown_or_of_another_host_is_refused(encrypted, tmp_path, monkeypatch, caplog, host):
    if host == "localhost":  # known, but made for the address
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "broker.pem"))
    address = address_of(encrypted, is_encrypted=True, host=host)
    with mqtt_reports(live_state("door"), address, None, False, False) as running:
        assert eventually(lambda: "cannot be reached" in caplog.text)
        assert not running.broker.is_connected
    assert "certificate" in caplog.text


# --- sources that are no more ---


def test_sources_of_the_run_before_disappear_and_the_others_stay(mosquitto, listen):
    with reports(live_state("door", "yard"), mosquitto, discovery=True):
        ear = listen(mosquitto)
        assert ear.waits_for("homeassistant/device/masks_yard/config")
        assert ear.waits_for("masks/yard/all")
    with reports(live_state("door"), mosquitto, discovery=True):
        assert ear.waits_for("homeassistant/device/masks_yard/config", b"")
        assert ear.waits_for("masks/yard/all", b"")
    left = {*listen(mosquitto).retained}
    assert not [topic for topic in left if "yard" in topic]
    assert "homeassistant/device/masks_door/config" in left


def test_without_discovery_the_devices_disappear(mosquitto, listen):
    ear = listen(mosquitto)
    with reports(live_state("door"), mosquitto, discovery=True):
        assert ear.waits_for("homeassistant/device/masks_door/config")
    with reports(live_state("door"), mosquitto):
        assert ear.waits_for("masks/sources")
        assert ear.waits_for("homeassistant/device/masks_door/config", b"")
    assert "homeassistant/device/masks_door/config" not in listen(mosquitto).retained


JUNK = [b"{", b"5", b'{"sources": 5}', b'{"sources": ["../x", "a/b", "#", 7, null]}', b"[" * 9999, b"\xff"]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_anything_may_stand_in_the_list_of_sources(mosquitto, listen, junk):
    ear = listen(mosquitto)
    ear._client.publish("masks/sources", junk, 1, retain=True)
    assert ear.waits_for("masks/sources", junk)
    with reports(live_state("door"), mosquitto):
        assert ear.waits_for("masks/sources", b'{"sources": ["door"], "discovery": false}')
        assert ear.waits_for("masks/door/all", b"0")
    assert not [topic for topic, _ in ear.messages if "x" in topic.split("/") or "b" in topic.split("/")]


# --- addresses ---


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt://broker.local", ("broker.local", 1883, "", False, "mask_detection")),
        ("mqtts://me@10.0.0.1/home/masks/", ("10.0.0.1", 8883, "me", True, "home/masks")),
        ("mqtt://a%40b@[::1]:99/x", ("::1", 99, "a@b", False, "x")),
    ],
)
def test_addresses(text, address):
    assert parse_broker_address(text) == address


NO_ADDRESSES = [
    *("", "broker.local", "http://a", "mqtt://", "mqtt://a:0", "mqtt://a:99999", "mqtt://[::1", "mqtt://a?x=1"),
    *("mqtt://a/x/#", "mqtt://a/+/b", "mqtt://a/%00", "mqtt://" + "a" * 300, "mqtt://a/" + "x" * 300),
]


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address(text):
    with pytest.raises(MaskDetectionError, match="--mqtt"):
        parse_broker_address(text)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(MaskDetectionError) as refused:
        parse_broker_address("mqtt://me:s3cret@broker.local")
    assert "s3cret" not in str(refused.value)
    assert "--mqtt-password-file" in str(refused.value)
