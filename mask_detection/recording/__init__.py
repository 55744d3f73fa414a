"""Recordings that look after themselves: cut into files, kept for a while, and only around alarms."""
