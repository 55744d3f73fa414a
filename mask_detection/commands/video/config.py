"""The configuration file of the video script: any of its options in TOML, and a table a source.

keep = "10GB"
log = "door-{source}.jsonl"

[source.entrance]
address = "rtsp://camera.local/1"
user = "viewer"
password-file = "/run/credentials/camera"
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mask_detection.commands.options import Parser
from mask_detection.commands.video.options import NAME, line_in_file
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.urls import scheme_of

SOURCE_KEYS = ("address", "user", "password", "password-file")
MAX_BYTES = 1 << 20

logger = logging.getLogger(__name__)


def parse_with_config(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line, and before it the file that its ``--config`` names, over which it wins.

    Raises:
        MaskDetectionError: the file cannot be read, is no TOML, or holds what is no option.
    """
    finder = Parser(add_help=False)
    finder.add_argument("--config", type=Path)
    path = finder.parse_known_args(argv)[0].config
    if path is None:
        return parser.parse_args(argv)
    with parser.reading(path):
        settings = _read(path)
        known = {name.replace("_", "-") for name in vars(parser.parse_args([]))} | {"source-file"}
        words = _sources(path, settings.pop("source", None))
        for key, value in settings.items():
            if key.replace("_", "-") not in known - {"config"}:
                raise MaskDetectionError(f"{path}: {key} is no option; see --help for those that there are")
            words += _words(path, key.replace("_", "-"), value)
        configured = parser.parse_args(words)
    args = parser.parse_args(argv, argparse.Namespace(**vars(configured)))
    if args.source != configured.source and args.name == configured.name:
        args.name = None  # which were those of other sources
    return args


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise MaskDetectionError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:  # of TOML, or of UTF-8
        raise MaskDetectionError(f"{path}: is no TOML ({error}); mend it") from None


def _words(path: Path, key: str, value: object) -> list[str]:
    """A setting as words of a command line."""
    if isinstance(value, bool):
        return [f"--{key}"] if value else []
    if isinstance(value, list) and value and all(isinstance(item, (str, int, float)) for item in value):
        return [f"--{key}", *map(str, value)]
    if isinstance(value, (str, int, float)):
        return [f"--{key}={value}"]
    raise MaskDetectionError(f"{path}: {key} is neither text nor number nor a list of these; mend it")


def _sources(path: Path, sources: object) -> list[str]:
    """The sources and their names as words of a command line."""
    if sources is None:
        return []
    if not isinstance(sources, dict):
        return _words(path, "source", sources)
    for name, table in sources.items():
        place = f"{path}: [source.{name}]"
        if not NAME.fullmatch(name):
            raise MaskDetectionError(f"{place}: is no name of up to 60 letters, digits, -, _ and .; choose another")
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise MaskDetectionError(f"{place}: is no table of texts; give at least address = …")
        if unknown := [key for key in table if key not in SOURCE_KEYS]:
            raise MaskDetectionError(f"{place}: {unknown[0]} is no key; use {', '.join(SOURCE_KEYS)}")
    if not sources:
        return []
    addresses = [_address(path, name, table) for name, table in sources.items()]
    if any("password" in table for table in sources.values()) and os.name != "nt" and path.stat().st_mode & 0o077:
        logger.warning("%s: holds a password and others may read it; run chmod 600, or use password-file", path)
    return ["--source", *addresses, "--name", *sources]


def _address(path: Path, name: str, table: dict[str, str]) -> str:
    """The address of a source, with its credentials."""
    place = f"{path}: [source.{name}]"
    if "address" not in table:
        raise MaskDetectionError(f"{place}: address is missing; name a camera, file or stream")
    address = table["address"]
    if not {"user", "password", "password-file"} & table.keys():
        return address
    password = table.get("password", "")
    if "password-file" in table:
        password = line_in_file(table["password-file"], f"{place}: password-file")
    scheme, _, rest = address.partition("://")
    if not scheme_of(address) or "@" in rest.partition("/")[0]:
        raise MaskDetectionError(f"{place}: user and password are for addresses that hold none; leave them away")
    return f"{scheme}://{quote(table.get('user', ''), safe='')}:{quote(password, safe='')}@{rest}"
