"""Five parts of a data set, by the files' names alone: the same on every machine and whatever lies beside a file.

Training and evaluation use the same: what is measured on a fold that took part in no training is an honest figure.
"""

from __future__ import annotations

import hashlib
import os

FOLDS = ("A", "B", "C", "D", "E")


def fold_of(name: str) -> int:
    """The fold that a file belongs to.

    Args:
        name: the file's name with its suffix and without its folder, such as ``group.jpg``.

    Returns:
        Index into ``FOLDS``.
    """
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") % len(FOLDS)
