"""What the sources of a run are called, and where the outputs of each go."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from mask_detection.commands import outputs
from mask_detection.commands.video.options import SOURCE_MARK, is_file
from mask_detection.utils.urls import safe_name


def source_names(args: argparse.Namespace) -> list[str]:
    """The names that were chosen, or short forms of the sources; those that are the same are numbered: ``door-2``."""
    if args.name:
        return [*args.name]
    names: dict[str, None] = {}
    for wanted in map(safe_name, args.source):
        name, n = wanted, 2
        while name in names:
            name, n = f"{wanted}-{n}", n + 1
        names[name] = None
    return [*names]


def path_of(path: Path, name: str, has_folder: bool = False) -> Path:
    """A path of the options for a source.

    Args:
        path: as it was given.
        name: of the source.
        has_folder: whether each source has a folder in it, if it is a folder of frames.
    """
    if SOURCE_MARK in str(path):
        return Path(str(path).replace(SOURCE_MARK, name))
    return path / name if has_folder and not is_file(path) else path


def check_outputs(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Keep inputs from being lost to outputs, and outputs to each other; see :func:`outputs.check`.

    Raises:
        MaskDetectionError: so it would be.
    """

    def paths_of(path: Path | None, has_folder: bool = False) -> Iterable[Path]:
        return dict.fromkeys(path_of(path, name, has_folder) for name in names) if path else ()

    growing = [*paths_of(args.output, len(names) > 1), *paths_of(args.log), *paths_of(args.statistics)]
    secrets = (args.serve_token_file, args.mqtt_password_file)
    outputs.check([*args.source, args.model, args.face, args.config, *secrets], paths_of(args.summary), growing)
