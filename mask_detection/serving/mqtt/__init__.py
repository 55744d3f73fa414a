"""Counts, events and alarms of a run, published to an MQTT broker and announced to Home Assistant."""
