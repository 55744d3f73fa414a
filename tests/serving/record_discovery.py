"""Validate what is announced with Home Assistant's own schemas, and record it for the tests.

Home Assistant needs a newer Python and a hundred libraries, so it is asked in an environment of its own:

    python3.13 -m venv ha && ha/bin/pip install homeassistant paho-mqtt PyTurboJPEG
    python -m tests.serving.record_discovery --python ha/bin/python
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from mask_detection import __version__
from tests.helpers.paths import FIXTURES
from tests.serving.test_discovery import announced

CASES = [
    ("masks", "door", ["with_mask", "without_mask"], False),
    ("home/masks", "front door", ["with_mask", "without_mask", "mask_weared_incorrect"], True),
    ("mask_detection", "<b>Tür 1</b>", ["No Mask", "alarm", "Ärger"], True),
]
VALIDATE = """
import importlib, json, sys
from homeassistant.const import __version__
from homeassistant.components.mqtt.schemas import MQTT_ORIGIN_INFO_SCHEMA
from homeassistant.components.mqtt import discovery
from homeassistant.components.mqtt.abbreviations import ABBREVIATIONS
schemas = importlib.import_module("homeassistant.components.mqtt.schemas")
for payload in json.load(sys.stdin):
    shared = {key: value for key, value in payload.items() if key != "components"}
    whole = discovery.MQTTDiscoveryPayload(payload)
    schemas.DEVICE_DISCOVERY_SCHEMA(json.loads(json.dumps(payload)))
    for component in payload["components"].values():
        platform = importlib.import_module("homeassistant.components.mqtt." + component["platform"])
        config = {key: value for key, value in {**shared, **component}.items() if key != "platform"}
        platform.DISCOVERY_SCHEMA(config)
print("accepted by Home Assistant", __version__)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="Python of an environment with Home Assistant")
    args = parser.parse_args()
    records = []
    for case in CASES:
        topic, payload = announced(*case)
        named = dict(zip(("prefix", "name", "class_names", "with_snapshot"), case, strict=True))
        records.append({**named, "topic": topic, "payload": payload})
    payloads = json.dumps([record["payload"] for record in records])
    subprocess.run([args.python, "-c", VALIDATE], input=payloads, text=True, check=True)
    text = json.dumps(records, indent=1, ensure_ascii=False).replace(__version__, "VERSION")
    (FIXTURES / "home_assistant.json").write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
