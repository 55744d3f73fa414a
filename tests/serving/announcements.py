"""What would be announced to Home Assistant of a source."""

from __future__ import annotations

from typing import Any

from mask_detection.serving.mqtt.discovery import Topics, device_payload
from mask_detection.serving.names import safe_names
from mask_detection.serving.state import RESERVED, UNCERTAIN


def announced(prefix: str, name: str, class_names: list[str], with_snapshot: bool) -> tuple[str, dict[str, Any]]:
    """The topic, and the payload as it goes through JSON."""
    (key,) = safe_names([name]).values()
    topics = Topics(prefix, key)
    keys = {**safe_names(class_names, RESERVED), UNCERTAIN: UNCERTAIN}
    return topics.discovery, device_payload(topics, name, keys, with_snapshot)
