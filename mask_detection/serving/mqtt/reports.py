"""What is published of a run, and in which topics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mask_detection.serving.mqtt.address import BrokerAddress
from mask_detection.serving.mqtt.broker import OFFLINE, ONLINE, Broker
from mask_detection.serving.mqtt.discovery import Topics, device_payload
from mask_detection.serving.state import (
    ALARM_TOPIC,
    ALL_TOPIC,
    AVAILABLE_TOPIC,
    EVENT_TOPIC,
    SNAPSHOT_TOPIC,
    STATISTICS_TOPIC,
    Alarm,
    LiveState,
)
from mask_detection.serving.tracks import Event

LIST_TOPIC = "sources"  # those of the last run with this prefix, so that what is no more can be removed
MAX_LISTED = 1000


class Reports:
    """Publishes what a :class:`LiveState` knows and tells; a listener of it."""

    def __init__(
        self, state: LiveState, address: BrokerAddress, password: str | None, discovery: bool, snapshots: bool
    ) -> None:
        """Prepare.

        Args:
            state: what is published.
            address: of the broker.
            password: for it.
            discovery: whether to announce the sources to Home Assistant.
            snapshots: whether to publish the face of each alarm.
        """
        self._state, self._prefix = state, address.prefix
        self._discovery, self._snapshots = discovery, snapshots
        self._keys = sorted(view.key for view in state.views())
        self._listed = json.dumps({"sources": self._keys, "discovery": discovery})
        self.broker = Broker(address, password, f"{self._prefix}/{AVAILABLE_TOPIC}", self.refresh)
        self.broker.subscribe(self._list_topic, self._remove_former)

    @property
    def _list_topic(self) -> str:
        return f"{self._prefix}/{LIST_TOPIC}"

    def start(self) -> None:
        """Announce the sources and connect."""
        for view in self._state.views():
            topics = Topics(self._prefix, view.key)
            if self._discovery:
                payload = device_payload(topics, view.name, self._state.label_keys, self._snapshots)
                self.broker.set(topics.discovery, json.dumps(payload))
        self.broker.set(self._list_topic, self._listed)
        self.broker.start()

    def refresh(self) -> None:
        """Set the topics that hold the present state."""
        for view in self._state.views():
            topics = Topics(self._prefix, view.key)
            self.broker.set(topics.of(AVAILABLE_TOPIC), ONLINE if view.state.is_up else OFFLINE)
            for label, key in self._state.label_keys.items():
                self.broker.set(topics.of(key), str(view.faces[label]))
            self.broker.set(topics.of(ALL_TOPIC), str(sum(view.faces.values())))

    # --- as a listener ---

    def on_event(self, key: str, event: Event) -> None:
        """Publish what became of a track."""
        self.broker.send(Topics(self._prefix, key).of(EVENT_TOPIC), json.dumps(event))

    def on_alarm(self, alarm: Alarm) -> None:
        """Publish an alarm, and the face before it."""
        topics = Topics(self._prefix, alarm.key)
        if self._snapshots and alarm.crop:
            self.broker.send(topics.of(SNAPSHOT_TOPIC), alarm.crop)
        self.broker.send(topics.of(ALARM_TOPIC), json.dumps(alarm.event))

    def on_statistics(self, key: str, row: dict[str, Any]) -> None:
        """Publish the statistics of an interval."""
        self.broker.set(Topics(self._prefix, key).of(STATISTICS_TOPIC), json.dumps(row, default=str))

    # --- sources of former runs ---

    def _remove_former(self, payload: bytes) -> None:
        """Take the list of the run before, and remove what is no longer there; our own list ends that."""
        if payload.decode(errors="replace") == self._listed:
            self.broker.unsubscribe(self._list_topic)
            return
        for key in _listed_keys(payload):
            topics = Topics(self._prefix, key)
            former: list[str] = []
            if key not in self._keys:
                values = (*self._state.label_keys.values(), ALL_TOPIC, AVAILABLE_TOPIC, STATISTICS_TOPIC)
                former += map(topics.of, values)
            if key not in self._keys or not self._discovery:
                former.append(topics.discovery)
            for topic in former:
                self.broker.send(topic, b"", is_retained=True)


def _listed_keys(payload: bytes) -> list[str]:
    """The names in a list, as far as they are such as we give: anybody could have written it."""
    try:
        keys = json.loads(payload)["sources"][:MAX_LISTED]
        return [key for key in keys if isinstance(key, str) and re.fullmatch(r"[\w-]{1,60}", key, re.ASCII)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


@contextmanager
def mqtt_reports(
    state: LiveState, address: BrokerAddress, password: str | None, discovery: bool, snapshots: bool
) -> Iterator[Reports]:
    """Publish while the block lasts; see :class:`Reports`. The last events and ``offline`` are published at its end."""
    reports = Reports(state, address, password, discovery, snapshots)
    state.listeners.append(reports)
    reports.start()
    try:
        yield reports
    finally:
        reports.broker.close()
