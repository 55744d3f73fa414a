"""Weights and libraries of others that the project uses: where they lie, how to know them, and how to fetch them whole.

Every file is pinned by its hash, so whatever a network, a proxy or a server does, a file gets its name only
when it is the known one, byte for byte. Origin, licence and limits of each: face_detector/README.md.

Not with pooch, whose downloader bounds neither size nor total time, follows redirects away from https, leaves files
that only their owner may read, and brings in requests: what is here would have to stand beside it.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from tqdm import tqdm

from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, read_whole

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0  # of silence, after which a server counts as gone
TRANSFER_LIMIT_S = 3 * 3600.0  # for one whole transfer: a byte now and then never runs into the timeout
CHUNK_BYTES = 1 << 16
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class TransferError(Exception):
    """Why a file did not arrive, in a few words; whoever wanted it adds the address and the remedy."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at a fixed address, known to the byte.

    Attributes:
        name: the name it gets here.
        address: where it lies, https.
        n_bytes: its size in bytes.
        digest: its hash, in hexadecimal digits.
        algorithm: of the hash, as ``hashlib`` calls it.
    """

    name: str
    address: str
    n_bytes: int
    digest: str
    algorithm: str = "sha256"

    def matches(self, path: Path) -> bool:
        """Whether the file at ``path`` is this one."""
        if not path.is_file() or path.stat().st_size != self.n_bytes:
            return False
        return self.digest_of(read_whole(path, "weights")) == self.digest

    def digest_of(self, data: bytes) -> str:
        """The hash of other bytes, to compare."""
        return hashlib.new(self.algorithm, data).hexdigest()


CAFFE = (
    RemoteFile(
        name="deploy.prototxt",
        address="https://raw.githubusercontent.com/opencv/opencv/3.4.0/samples/dnn/face_detector/deploy.prototxt",
        n_bytes=28_092,
        digest="f62621cac923d6f37bd669298c428bb7ee72233b5f8c3389bb893e35ebbcf795",
    ),
    RemoteFile(
        name="res10_300x300_ssd_iter_140000.caffemodel",
        address="https://raw.githubusercontent.com/opencv/opencv_3rdparty/dnn_samples_face_detector_20170830/"
        "res10_300x300_ssd_iter_140000.caffemodel",
        n_bytes=10_666_211,
        digest="2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d",
    ),
)
YUNET = (
    RemoteFile(
        name="face_detection_yunet_2023mar.onnx",
        # media.: the file itself; raw. would give its Git-LFS pointer
        address="https://media.githubusercontent.com/media/opencv/opencv_zoo/"
        "966be4cb6eefc2a4f586ed0581bf4bbaa2533070/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
        n_bytes=232_589,
        digest="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    ),
)
KITS = {"caffe": CAFFE, "yunet": YUNET}  # what belongs together, by the detector that needs it


def is_known(path: Path) -> bool:
    """Whether a file is one of the table's, whatever its name."""
    return any(remote_file.matches(path) for kit in KITS.values() for remote_file in kit)


def fetch(
    remote_file: RemoteFile,
    folder: Path,
    timeout_s: float = TIMEOUT_S,
    otherwise: str = ", or use another face detector",
) -> Path:
    """Return the path of a pinned file in a folder, after fetching it if it is not there.

    The right file is never fetched again. Another file of its name stays until the right one has arrived
    whole, and is then replaced; a log line says so before.

    Args:
        remote_file: one of the table's.
        folder: where it belongs; has to be there.
        timeout_s: seconds of silence after which the server counts as gone.
        otherwise: what the user may do besides, for the message.

    Raises:
        MaskDetectionError: it could not be fetched whole, or not be written.
    """
    path = folder / remote_file.name
    if remote_file.matches(path):
        return path
    other = ""
    if path.is_file():
        other = ", where another file lies"
        logger.warning("%s: is not the known file; it is replaced when that one has arrived whole", path)
    try:
        with atomic_write(path) as part:
            transfer(remote_file.address, part, remote_file.n_bytes, timeout_s)
            if not remote_file.matches(part):
                raise TransferError(_other_file(part, remote_file))
    except TransferError as fault:
        raise MaskDetectionError(
            f"{remote_file.address}: {fault}; try again, or fetch it by hand and put it at {path}{other}{otherwise}"
        ) from None
    return path


def _other_file(part: Path, remote_file: RemoteFile) -> str:
    digest = remote_file.digest_of(part.read_bytes())
    return (
        f"another file arrived ({part.stat().st_size:,} bytes with {remote_file.algorithm} {digest[:8]}… "
        f"instead of {remote_file.n_bytes:,} with {remote_file.digest[:8]}…)"
    )


def transfer(address: str, path: Path, max_bytes: int, timeout_s: float = TIMEOUT_S) -> None:
    """Copy what lies at an address to a file, unchecked, with a progress bar on a terminal.

    Args:
        address: https; plain http only on this machine, where nobody can listen in or meddle.
        path: the file to write; may be half-written after an error.
        max_bytes: a larger one is refused.
        timeout_s: seconds of silence after which the server counts as gone.

    Raises:
        TransferError: no network, no such file, cut off, too large, too slow, or a redirect away from https.
        OSError: the file cannot be written.
    """
    logger.info("fetching %s", address)
    with path.open("wb") as file:
        for chunk in _chunks(address, max_bytes, timeout_s):
            file.write(chunk)


def _chunks(address: str, max_bytes: int, timeout_s: float) -> Iterator[bytes]:
    """Yield the bytes at an address as they arrive; network errors of all kinds become a TransferError."""
    if not _is_permitted(address):
        raise TransferError("is not an https address")
    opener = urllib.request.build_opener(_CheckedRedirects)
    give_up_at = time.monotonic() + TRANSFER_LIMIT_S
    n_received = 0
    try:
        with opener.open(address, timeout=timeout_s) as response:
            n_announced = response.length  # None where the server does not say
            name = Path(urlsplit(address).path).name
            with tqdm(total=n_announced, desc=name, unit="B", unit_scale=True, disable=None) as progress:
                # read1: read() would wait for a full chunk, and a slow server never run into the limit.
                while chunk := response.read1(CHUNK_BYTES):
                    n_received += len(chunk)
                    if max(n_received, n_announced or 0) > max_bytes:
                        raise TransferError(f"is larger than the {max_bytes:,} bytes it may have")
                    if time.monotonic() > give_up_at:
                        raise TransferError(f"had not arrived whole after {TRANSFER_LIMIT_S:g} s")
                    progress.update(len(chunk))
                    yield chunk
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a senseless redirect
        raise TransferError(_in_words(error, timeout_s)) from error
    if n_received < (n_announced or 0):
        raise TransferError(f"the transfer was cut off after {n_received:,} of {n_announced:,} bytes")


def _is_permitted(address: str) -> bool:
    """Https anywhere; plain http within this machine only. Either way the sha256 tells what has come."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only where the address itself might have led, and never from https back to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not _is_permitted(newurl) or urlsplit(newurl).scheme not in {"https", req.type}:
            raise TransferError(f"redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _in_words(error: Exception, timeout_s: float) -> str:
    """What a network error means to somebody who wants the file."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    cause = getattr(error, "reason", error)  # a URLError wraps what the socket said
    if isinstance(cause, TimeoutError):
        return f"the server was silent for {timeout_s:g} s"
    if isinstance(cause, socket.gaierror):
        return "the server's name cannot be looked up (no network?)"
    if isinstance(cause, http.client.IncompleteRead):
        return "the transfer was cut off"
    return f"the server cannot be reached ({getattr(cause, 'strerror', None) or cause})"
