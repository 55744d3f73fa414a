"""Text of others: what a terminal would obey, and what a spreadsheet would compute."""

from __future__ import annotations

import pytest

from mask_detection.utils.text import csv_cell, is_one_line, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07.jpg", r"\x1b[2J\x1b]0;owned\x07.jpg"),
        ("two\nlines\r\tand\x85more\u2028.jpg", r"two\nlines\r\tand\x85more\u2028.jpg"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("Käthe 照片 👩🏽\u200d🔬 a\u00a0b.jpg", "Käthe 照片 👩🏽\u200d🔬 a\u00a0b.jpg"),
        ("caf\udce9.jpg", "caf\udce9.jpg"),
    ],
)
def test_what_a_terminal_obeys_is_spelled_out_and_the_rest_is_kept(text, shown):
    assert one_line(text) == shown
    assert is_one_line(text) == (text == shown)


def test_lines_may_stay_lines():
    assert printable("a\n\x1b[31mb\n") == "a\n\\x1b[31mb\n"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_formula_in_a_table_is_text(start):
    assert csv_cell(f'{start}HYPERLINK("http://evil","x")') == f'\'{start}HYPERLINK("http://evil","x")'


@pytest.mark.parametrize("value", ["a=b", "", "with_mask/-1.jpg", -1, -0.5, None])
def test_other_values_stay(value):
    assert csv_cell(value) is value
