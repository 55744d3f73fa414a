"""Damaging files at random: what bad disks, broken transfers, buggy writers and mischief do to them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

ODD_NUMBERS = (0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62)
LONG = 100_000
ODD_WORDS = (
    *("", "0", "-1", "1e999", "nan", "1" * 400, "0x10", "٣", "null", "é\u202e\U0001f600", "\\ud800", "\ufeff", "\0"),
    *("../../up", "/dev/zero", "%s%n", '"', "'", "<", "&lt;", "&#0;", "<!DOCTYPE a>", "<![CDATA[", "\r\n"),
    *("a" * LONG, "[" * LONG, "{" * LONG, "<a>" * LONG, '{"a":' * LONG),
)

Rng = np.random.Generator
Operation = Callable[[bytearray, Rng], None]


def damaged(data: bytes, n_times: int, rng: Rng, *, is_text: bool = False) -> bytes:
    """A damaged copy of a file's content; the same state of ``rng`` damages it in the same way.

    Args:
        data: the content.
        n_times: how many things happen to it.
        rng: decides.
        is_text: whether words may be changed besides bytes.
    """
    changed = bytearray(data)
    # Where nothing moves, a reader gets further before it meets the damage.
    operations = IN_PLACE if rng.random() < 0.5 else (*IN_PLACE, *MOVING)
    for _ in range(n_times):
        if is_text and rng.random() < 0.7:
            _replace_word(changed, rng)
        elif changed:
            operations[rng.integers(len(operations))](changed, rng)
    return bytes(changed)


def _place(data: bytearray, rng: Rng) -> int:
    """Somewhere in the data, more often near its ends, where formats say what everything else means."""
    from_end = _any_scale(len(data), rng) - 1
    return (from_end, len(data) - 1 - from_end, int(rng.integers(len(data))))[rng.choice(3, p=(0.5, 0.25, 0.25))]


def _any_scale(largest: int, rng: Rng) -> int:
    """A number from 1 to ``largest``, small ones as likely as large ones."""
    return min(int(np.exp(rng.uniform(0, np.log(largest + 1)))), largest)


def _piece(data: bytearray, rng: Rng) -> slice:
    start = _place(data, rng)
    return slice(start, start + _any_scale(len(data) - start, rng))


def _flip_bits(data: bytearray, rng: Rng) -> None:
    for _ in range(rng.integers(1, 9)):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _put_odd_number(data: bytearray, rng: Rng) -> None:
    n_bytes = 1 << int(rng.integers(4))
    number = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))] % (1 << 8 * n_bytes)
    start = _place(data, rng)
    data[start : start + n_bytes] = number.to_bytes(n_bytes, "big" if rng.random() < 0.5 else "little")


def _cut_out(data: bytearray, rng: Rng) -> None:
    del data[_piece(data, rng)]


def _cut_off(data: bytearray, rng: Rng) -> None:
    del data[_place(data, rng) :]


def _repeat(data: bytearray, rng: Rng) -> None:
    piece = _piece(data, rng)
    data[piece.stop : piece.stop] = data[piece] * int(rng.integers(1, 4))


def _blank_out(data: bytearray, rng: Rng) -> None:
    piece = _piece(data, rng)
    data[piece] = bytes(len(data[piece]))


def _add_noise(data: bytearray, rng: Rng) -> None:
    piece = _piece(data, rng)
    stop = piece.stop if rng.random() < 0.7 else piece.start  # over what was there, or before it
    data[piece.start : stop] = rng.bytes(len(data[piece]))


def _move(data: bytearray, rng: Rng) -> None:
    piece = data[slice_ := _piece(data, rng)]
    del data[slice_]
    start = int(rng.integers(len(data) + 1))
    data[start:start] = piece


IN_PLACE: tuple[Operation, ...] = (_flip_bits, _put_odd_number, _blank_out)
MOVING: tuple[Operation, ...] = (_cut_out, _cut_off, _repeat, _add_noise, _move)


def _replace_word(data: bytearray, rng: Rng) -> None:
    """Put an odd word, or another word of the same text, in the place of one."""
    words = re.split(r"(\W)", data.decode("utf-8", "surrogateescape"))
    other = words if rng.random() < 0.3 else ODD_WORDS
    words[rng.integers(len(words))] = other[rng.integers(len(other))]
    data[:] = "".join(words).encode("utf-8", "surrogateescape")
