"""The connection to an MQTT broker: it comes and goes, and the run never waits for it."""

from __future__ import annotations

import logging
import secrets
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from mask_detection.serving.mqtt.address import BrokerAddress

MAX_QUEUED = 1000  # messages that wait for the broker: the newest
MAX_IN_FLIGHT = 20  # that it has not confirmed yet
TICK_S = 1.0  # between two looks at what has changed
KEEP_ALIVE_S = 30  # after one and a half of which the broker publishes our last will
CONNECT_S = 3.0
PAUSES_S = (1, 60)  # between two tries to connect: the first, and the longest
LAST_WAIT_S = 1.0  # for what is under way when the run ends
ONLINE, OFFLINE = "online", "offline"
AT_LEAST_ONCE = 1  # MQTT's quality of service

logger = logging.getLogger(__name__)


class Message(NamedTuple):
    """What is published."""

    topic: str
    payload: bytes
    is_retained: bool = False


class Broker:
    """Publishes to a broker from a thread of its own.

    What is *set* is retained by the broker, and published anew after each reconnection; of several values only the last
    matters. What is *sent* waits in a queue that keeps the newest ``MAX_QUEUED`` messages.
    """

    def __init__(
        self, address: BrokerAddress, password: str | None, availability_topic: str, refresh: Callable[[], None]
    ) -> None:
        """Prepare a connection.

        Args:
            address: of the broker.
            password: of the address's user; None for none.
            availability_topic: says ``online`` while we are connected, and ``offline`` otherwise, as our last will.
            refresh: is called each second, to set what has changed.
        """
        self._address, self._refresh, self._availability_topic = address, refresh, availability_topic
        self._values: dict[str, bytes] = {}
        self._unpublished: dict[str, None] = {}  # topics of ``_values``, in the order in which they are due
        self._queue: deque[Message] = deque(maxlen=MAX_QUEUED)
        self._n_in_flight = self._n_dropped = 0
        self._is_connected = self._is_closing = False
        self._fault = ""  # the last that was logged
        self._handlers: dict[str, Callable[[bytes], None]] = {}
        self._changed = threading.Condition()
        self._client = self._make_client(password)
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _make_client(self, password: str | None) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, f"masks-{secrets.token_hex(8)}")
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.reconnect_delay_set(*PAUSES_S)
        client.connect_timeout = CONNECT_S
        client.will_set(self._availability_topic, OFFLINE, AT_LEAST_ONCE, retain=True)
        if self._address.user:
            client.username_pw_set(self._address.user, password)
        if self._address.is_encrypted:
            client.tls_set_context(ssl.create_default_context())
        return client

    # --- for whoever publishes ---

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there now."""
        return self._is_connected

    def start(self) -> None:
        """Connect, now or as soon as the broker is there."""
        self.set(self._availability_topic, ONLINE)
        self._client.connect_async(self._address.host, self._address.port, KEEP_ALIVE_S)
        self._client.loop_start()
        self._thread.start()

    def set(self, topic: str, payload: str) -> None:
        """Let a topic have a value, retained."""
        data = payload.encode()
        with self._changed:
            if self._values.get(topic) != data:
                self._values[topic] = data
                self._unpublished[topic] = None

    def send(self, topic: str, payload: str | bytes, is_retained: bool = False) -> None:
        """Publish a message, after those sent before."""
        data = payload if isinstance(payload, bytes) else payload.encode()
        with self._changed:
            self._n_dropped += len(self._queue) == MAX_QUEUED
            self._queue.append(Message(topic, data, is_retained))
            self._changed.notify()

    def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Hand what is published to a topic to a function, after each connection, until :meth:`unsubscribe`."""
        self._handlers[topic] = handler

    def unsubscribe(self, topic: str) -> None:
        """Hear no more of a topic."""
        if self._handlers.pop(topic, None):
            self._client.unsubscribe(topic)

    def close(self) -> None:
        """Publish what waits, say ``offline`` and disconnect, all within ``LAST_WAIT_S`` where the broker is gone."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._client.disconnect()
        # A thread of its own, as it ends only when an attempt to connect has.
        stopper = threading.Thread(target=self._client.loop_stop, daemon=True)
        stopper.start()
        stopper.join(LAST_WAIT_S)

    # --- the thread that publishes ---

    def _work(self) -> None:
        next_tick = 0.0
        while not self._is_closing:
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_S
                self._refresh()
            self._publish_until(lambda: self._is_closing, next_tick)
        deadline = time.monotonic() + LAST_WAIT_S
        self._refresh()
        self._publish_until(self._is_done, deadline)
        self.set(self._availability_topic, OFFLINE)
        self._publish_until(self._is_done, deadline)

    def _publish_until(self, is_enough: Callable[[], bool], deadline: float) -> None:
        """Publish what waits and what comes, as far as the broker keeps up."""
        while message := self._take(is_enough, deadline):
            self._client.publish(message.topic, message.payload, AT_LEAST_ONCE, message.is_retained)

    def _take(self, is_enough: Callable[[], bool], deadline: float) -> Message | None:
        """Wait for what is to be published next; None where that is enough."""
        with self._changed:
            while not is_enough() and (left_s := deadline - time.monotonic()) > 0:
                if message := self._next():
                    self._n_in_flight += 1
                    return message
                self._changed.wait(left_s)
        return None

    def _next(self) -> Message | None:
        """What is to be published next, if anything can be: values first, as what is sent refers to them."""
        if not self._is_connected or self._n_in_flight >= MAX_IN_FLIGHT:
            return None
        if self._unpublished:
            topic = next(iter(self._unpublished))
            del self._unpublished[topic]
            return Message(topic, self._values[topic], is_retained=True)
        return self._queue.popleft() if self._queue else None

    def _is_done(self) -> bool:
        return not (self._is_connected and (self._unpublished or self._queue or self._n_in_flight))

    # --- called by paho, in its thread ---

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._complain(f"refuses the connection ({reason})", "check user and password")
            return
        for topic in [*self._handlers]:
            client.subscribe(topic, AT_LEAST_ONCE)
        with self._changed:
            dropped, self._n_dropped = self._n_dropped, 0
            self._is_connected, self._fault = True, ""
            self._unpublished = dict.fromkeys(self._values)  # the broker may have forgotten them
            self._changed.notify()
        lost = f"; {dropped} older messages were dropped" if dropped else ""
        logger.info("--mqtt %s: connected%s", self._address, lost)

    def _on_connect_fail(self, client: Client, data: Any) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error
        reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error
        self._complain(f"cannot be reached ({reason})", "check address, port and certificate")

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        was_connected, self._is_connected = self._is_connected, False
        if was_connected and not self._is_closing:
            self._complain("is gone", "the run goes on")

    def _on_publish(self, client: Client, data: Any, mid: int, reason: ReasonCode, properties: Properties) -> None:
        with self._changed:
            self._n_in_flight -= 1
            self._changed.notify()

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        if handler := self._handlers.get(message.topic):
            handler(bytes(message.payload))

    def _complain(self, fault: str, remedy: str) -> None:
        """Log a fault, once for as long as it lasts."""
        if fault != self._fault and not self._is_closing:
            self._fault = fault
            logger.warning("--mqtt %s: %s; trying again, %s", self._address, fault, remedy)
