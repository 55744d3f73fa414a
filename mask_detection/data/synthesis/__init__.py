"""Masks put on bare faces by program, correctly and wrongly worn."""
