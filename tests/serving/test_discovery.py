"""What Home Assistant gets: exactly the payloads that its own schemas have accepted."""

from __future__ import annotations

import json

import pytest

from mask_detection import __version__
from tests.helpers.paths import FIXTURES
from tests.serving.announcements import announced

RECORDED = json.loads((FIXTURES / "home_assistant.json").read_text("utf-8"))


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["name"])
def test_payloads_are_those_that_home_assistant_accepts(recorded):
    """After a change: record anew with `python -m tests.serving.record_discovery`, which asks Home Assistant."""
    arguments = [recorded[name] for name in ("prefix", "name", "class_names", "with_snapshot")]
    topic, payload = announced(*arguments)
    assert topic == recorded["topic"]
    assert json.dumps(payload).replace(__version__, "VERSION") == json.dumps(recorded["payload"])


def test_identities_are_those_of_prefix_and_name_alone():
    ids = []
    for class_names in (["with_mask", "without_mask"], ["without_mask", "with_mask"]):
        _, payload = announced("home/masks", "front door", class_names, True)
        ids.append({component["unique_id"] for component in payload["components"].values()})
        assert payload["device"]["identifiers"] == ["home_masks_front_door"]
    assert ids[0] == ids[1]
    _, other = announced("home/other", "front door", ["with_mask", "without_mask"], True)
    assert not ids[0] & {component["unique_id"] for component in other["components"].values()}


def test_no_image_without_snapshots():
    _, payload = announced("masks", "door", ["with_mask"], False)
    assert "snapshot" not in payload["components"]
