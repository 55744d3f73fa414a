"""The user's cache folder, where results lie that take long to make again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

NOWHERE = Path(os.devnull, "cache")  # nothing can be read or written there


def cache_folder() -> Path:
    """The project's folder in the user's cache; it may be missing or deny writing, which must cost no more than time.

    A user without a home folder, as in a container, has none: then it is a place where nothing can be written.
    """
    try:
        folder = user_cache_path("face-mask-detection", appauthor=False)
    except RuntimeError:
        return NOWHERE
    return folder if folder.is_absolute() else NOWHERE  # "~/.cache" in older releases of platformdirs
