"""Validate what is announced with Home Assistant's own schemas, and record it for the tests.

Home Assistant needs a newer Python and a hundred libraries, so it is asked in an environment of its own, with what an
import error names besides:

    python3.13 -m venv ha && ha/bin/pip install homeassistant paho-mqtt
    python -m tests.serving.record_discovery --python ha/bin/python
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from mask_detection import __version__
from tests.helpers.paths import FIXTURES
from tests.serving.announcements import announced

CASES = [
    ("masks", "door", ["with_mask", "without_mask"], False),
    ("home/masks", "front door", ["with_mask", "without_mask", "mask_weared_incorrect"], True),
    ("mask_detection", "<b>Tür 1</b>", ["No Mask", "alarm", "Ärger"], True),
]
VALIDATE = """
import asyncio, importlib, json, sys, tempfile
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.components.mqtt import discovery

async def validate(announcements):
    HomeAssistant(tempfile.mkdtemp())  # templates are checked for the one that runs
    for topic, payload in announcements:
        assert discovery.TOPIC_MATCHER.match(topic.removeprefix("homeassistant/")), topic
        discovery._replace_all_abbreviations(payload)
        discovery.DEVICE_DISCOVERY_SCHEMA(payload)
        for config in payload["components"].values():
            discovery._merge_common_device_options(config, payload)
            config |= {key: payload[key] for key in ("device", "origin")}
            platform = importlib.import_module("homeassistant.components.mqtt." + config.pop("platform"))
            platform.DISCOVERY_SCHEMA(config)

asyncio.run(validate(json.load(sys.stdin)))
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
    announcements = json.dumps([(record["topic"], record["payload"]) for record in records])
    subprocess.run([args.python, "-c", VALIDATE], input=announcements, text=True, check=True)
    text = json.dumps(records, indent=1, ensure_ascii=False).replace(__version__, "VERSION")
    (FIXTURES / "home_assistant.json").write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
