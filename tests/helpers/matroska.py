"""Videos whose frames come at any times, which OpenCV cannot write: Motion JPEG in Matroska (RFC 9559)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np


def write_timed_video(path: Path, frames: Iterable[np.ndarray], times_ms: Sequence[int], last_ms: int = 40) -> Path:
    """Write frames, (H, W, 3) BGR uint8, each at its time in milliseconds; the last is shown for ``last_ms``."""
    images = list(frames)
    height, width = images[0].shape[:2]
    header = _element("1A45DFA3", _element("4287", b"\2") + _element("4285", b"\2") + _element("4282", b"matroska"))
    duration_ms = struct.pack(">d", times_ms[-1] + last_ms)
    info = _element("1549A966", _element("2AD7B1", (1_000_000).to_bytes(3, "big")) + _element("4489", duration_ms))
    size = _element("B0", width.to_bytes(2, "big")) + _element("BA", height.to_bytes(2, "big"))
    numbers = _element("D7", b"\1") + _element("73C5", b"\1") + _element("83", b"\1")  # track 1, a video
    track = _element("AE", numbers + _element("86", b"V_MJPEG") + _element("E0", size))
    clusters = b"".join(map(_cluster, images, times_ms))
    path.write_bytes(header + _element("18538067", info + _element("1654AE6B", track) + clusters))
    return path


def _cluster(image: np.ndarray, time_ms: int) -> bytes:
    block = b"\x81\0\0\x80" + cv2.imencode(".jpg", image)[1].tobytes()  # track 1, at the cluster's time, a key frame
    return _element("1F43B675", _element("E7", time_ms.to_bytes(4, "big")) + _element("A3", block))


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content
