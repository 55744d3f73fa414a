"""Text of others, such as file names, made harmless: for a terminal, which obeys it, and for a spreadsheet."""

from __future__ import annotations

import re

# Control characters, with which a terminal clears lines, changes its title or answers; line and paragraph separators;
# and marks that turn the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_CONTROLS_IN_LINES = re.compile(f"(?!\n){_CONTROLS.pattern}")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last ones wide


def one_line(text: object) -> str:
    """Text with its control characters spelled out, line breaks among them: a name, or a line of a log."""
    return _CONTROLS.sub(_spelled_out, str(text))


def printable(text: object) -> str:
    """Like :func:`one_line`, but lines stay lines."""
    return _CONTROLS_IN_LINES.sub(_spelled_out, str(text))


def is_one_line(text: str) -> bool:
    """Tell whether there are no control characters in a text."""
    return _CONTROLS.search(text) is None


def _spelled_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def csv_cell(value: object) -> object:
    """A value for a CSV file: text that a spreadsheet would compute as a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
