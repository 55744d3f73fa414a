"""Which cameras this machine has."""

from __future__ import annotations

from typing import NamedTuple

from mask_detection.utils import sandbox

PROBE = """
import cv2
for index in range(4):
    capture = cv2.VideoCapture(index)
    if capture.isOpened():
        arrived, frame = capture.read()
        print(index, *(frame.shape[1::-1] if arrived else ()), flush=True)
"""
TIMEOUT_S = 30.0


class Camera(NamedTuple):
    """A camera that opens.

    Attributes:
        source: what ``--source`` calls it.
        size: of its pictures, such as ``640 x 480``; empty where it gives none.
    """

    source: str
    size: str

    def __str__(self) -> str:
        return f"{self.source} ({self.size})"


class Search(NamedTuple):
    """What a search found.

    Attributes:
        cameras: those that open.
        fault: how the search failed before its end, in a few words; empty where it didn't.
    """

    cameras: list[Camera]
    fault: str = ""


def find_cameras(timeout_s: float = TIMEOUT_S) -> Search:
    """Open the cameras 0 to 3 for a moment, silently; what doesn't answer in ``timeout_s`` seconds counts as none."""
    lines, fault = sandbox.run_probe(PROBE, timeout_s)
    return Search([Camera(source, " x ".join(size)) for source, *size in map(str.split, lines)], fault)
