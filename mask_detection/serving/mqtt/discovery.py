"""The announcement to Home Assistant: a device for each source, in the format of its MQTT discovery.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mask_detection import __version__
from mask_detection.inference.classes import shown
from mask_detection.serving.names import safe_names
from mask_detection.serving.state import ALARM_TOPIC, ALL_TOPIC, AVAILABLE_TOPIC, SNAPSHOT_TOPIC

PREFIX = "homeassistant"
NAME = "Face mask detection"
ALARM_OFF_S = 30  # after which the alarm's sensor is off again
ICONS = {"with_mask": "mdi:face-mask", "without_mask": "mdi:face-man", ALL_TOPIC: "mdi:account-group"}


class Topics(NamedTuple):
    """The topics of one source.

    Attributes:
        prefix: of all topics.
        key: the source's name in topics.
    """

    prefix: str
    key: str

    def of(self, name: str) -> str:
        """Such as ``prefix/door/events``."""
        return f"{self.prefix}/{self.key}/{name}"

    @property
    def node(self) -> str:
        """The device's identifier in Home Assistant, which stays the same from run to run."""
        (prefix,) = safe_names([self.prefix]).values()
        return f"{prefix}_{self.key}"

    @property
    def discovery(self) -> str:
        """Where Home Assistant looks for the device."""
        return f"{PREFIX}/device/{self.node}/config"


def device_payload(topics: Topics, name: str, label_keys: dict[str, str], with_snapshot: bool) -> dict[str, Any]:
    """All that Home Assistant needs to show a source.

    Args:
        topics: of the source.
        name: of the source, as people read it.
        label_keys: the name in topics of each class that is counted.
        with_snapshot: whether face crops are published.
    """
    counts = {**{key: shown(label) for label, key in label_keys.items()}, ALL_TOPIC: "faces"}
    components = {key: _count_sensor(topics, key, text) for key, text in counts.items()}
    components[ALARM_TOPIC] = _alarm_sensor(topics)
    if with_snapshot:
        components[SNAPSHOT_TOPIC] = _component(
            topics,
            SNAPSHOT_TOPIC,
            platform="image",
            name="Last alarm",
            image_topic=topics.of(SNAPSHOT_TOPIC),
            content_type="image/jpeg",
        )
    return {
        "device": {"identifiers": [topics.node], "name": name, "manufacturer": NAME, "sw_version": __version__},
        "origin": {"name": NAME, "sw_version": __version__},
        "availability": [{"topic": f"{topics.prefix}/{AVAILABLE_TOPIC}"}, {"topic": topics.of(AVAILABLE_TOPIC)}],
        "availability_mode": "all",
        "qos": 1,
        "components": components,
    }


def _count_sensor(topics: Topics, key: str, text: str) -> dict[str, Any]:
    return _component(
        topics,
        key,
        platform="sensor",
        name=text.replace("_", " ").capitalize(),
        state_topic=topics.of(key),
        state_class="measurement",
        unit_of_measurement="faces",
        icon=ICONS.get(key, "mdi:face-recognition"),
    )


def _alarm_sensor(topics: Topics) -> dict[str, Any]:
    return _component(
        topics,
        ALARM_TOPIC,
        platform="binary_sensor",
        name="Alarm",
        device_class="problem",
        state_topic=topics.of(ALARM_TOPIC),
        value_template="ON",  # whatever an alarm says, it is one
        off_delay=ALARM_OFF_S,
        json_attributes_topic=topics.of(ALARM_TOPIC),
    )


def _component(topics: Topics, key: str, **settings: Any) -> dict[str, Any]:
    return {"unique_id": f"{topics.node}_{key}", **settings}
