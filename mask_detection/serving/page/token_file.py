"""The token that lets people see the page: made on first use, in a file that only its owner reads."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import cannot_write, read_whole

N_BYTES = 32  # of a new token
SHORTEST, LONGEST = 32, 1024  # characters of one that somebody else has made

logger = logging.getLogger(__name__)


def read_token(path: Path) -> str:
    """The token in a file; where there is no such file, a new one is made and written there, for its owner alone.

    Raises:
        MaskDetectionError: it cannot be read or written, or holds no token.
    """
    with suppress(FileExistsError):
        _make(path)
        logger.info("%s: holds a new token for the live page", path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        logger.warning("%s: others can read it; run `chmod 600 %s`", path, path)
    token = read_whole(path, "a token").decode("ascii", errors="replace").strip()
    if not (SHORTEST <= len(token) <= LONGEST and token.isprintable() and token.isascii() and " " not in token):
        raise MaskDetectionError(
            f"{path}: holds no token, which has {SHORTEST} letters and digits or more; delete it to get a new one"
        )
    return token


def _make(path: Path) -> None:
    """Write a new token.

    Raises:
        FileExistsError: there is a file already.
        OutputError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(N_BYTES)}\n")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) from None
