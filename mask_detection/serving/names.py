"""Names of sources and classes that fit into paths, topics and identifiers, whatever users and models call them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable

from mask_detection.utils.text import one_line

LONGEST = 48  # characters
HASH_LENGTH = 6


def safe_names(texts: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A name of letters, digits, ``_`` and ``-`` for each text: ``rtsp_door_local_1`` for ``rtsp://door.local/1``.

    Two texts never share one: the later gets a part of its SHA-256, so that names stay the same from run to run.

    Args:
        texts: different ones.
        taken: names that are in use otherwise.
    """
    names: dict[str, str] = {}
    for text in texts:
        name = re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_")[:LONGEST] or "source"
        if name in taken or name in names.values():
            name = f"{name}_{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:HASH_LENGTH]}"
        names[text] = name
    return names


def shown_name(text: str) -> str:
    """A name as pages and messages show it: one line of what UTF-8 can write, which names of files need not be."""
    return one_line(text).encode(errors="replace").decode()
