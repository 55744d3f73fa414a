"""A real MQTT broker, Mosquitto, that tests start, kill and start again, and a client that hears everything."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.helpers.waiting import PATIENCE_S, eventually

USER, PASSWORD = "door", "s3cret word"


class Mosquitto:
    """A broker on loopback, with the same port each time that it is started."""

    def __init__(self, folder: Path, *settings: str) -> None:
        """Start it.

        Args:
            folder: for its files.
            settings: further lines of its configuration.
        """
        program = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        if program is None:
            pytest.skip("Mosquitto is not installed here (apt install mosquitto)")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "user root", "persistence false", *settings]
        config.write_text("\n".join(lines) + "\n")
        self._command = [program, "-c", str(config)]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "Mosquitto has ended; check its configuration"
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        """End it without a word; it forgets what it retained."""
        self._process.kill()
        self._process.wait()


class Ear:
    """A client that hears all that is published.

    Attributes:
        messages: topic and payload of each, in order.
        retained: of those that the broker had retained before.
    """

    def __init__(self, port: int, *, with_password: bool = False) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self._marker = f"ears/{secrets.token_hex(4)}"  # what was retained comes before it
        self._is_ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.on_subscribe = lambda client, *_: client.publish(self._marker, qos=1)
        if with_password:
            self._client.username_pw_set(USER, PASSWORD)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._is_ready.wait(PATIENCE_S)

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        if message.topic.startswith("ears/"):
            if message.topic == self._marker:
                self._is_ready.set()
            return
        self.messages.append((message.topic, message.payload))
        if message.retain:
            self.retained[message.topic] = message.payload

    def of(self, topic: str) -> list[bytes]:
        """What was published to a topic so far."""
        return [payload for name, payload in [*self.messages] if name == topic]

    def waits_for(self, topic: str, payload: bytes | None = None, timeout_s: float = PATIENCE_S) -> bool:
        """Tell whether this is published, in time; None for anything."""
        return eventually(lambda: payload in self.of(topic) if payload is not None else bool(self.of(topic)), timeout_s)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
