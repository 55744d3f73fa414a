"""The classic data set: 1,376 images in the folders with_mask and without_mask, fetched and checked image by image."""

from __future__ import annotations

import hashlib
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from mask_detection.utils import downloads
from mask_detection.utils.errors import MaskDetectionError

COMMIT = "cdcf4501bf7fdec7ac8a4ee245e343b187fa53c7"
ADDRESS = f"https://github.com/prajnasb/observations/archive/{COMMIT}.zip"
FOLDER_IN_ARCHIVE = "experiements/data"  # [sic]; below the archive's one top folder
# One line an image, as sha256sum writes it. GitHub may pack the archive anew, so its own hash says nothing.
HASHES = Path(__file__).with_name("dataset.sha256")
MAX_ARCHIVE_BYTES = 1 << 30  # 1 GiB
MAX_IMAGE_BYTES = 64 << 20  # 64 MiB, unpacked
PACKED_BY_GITHUB = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# struct and value errors: a senseless directory; run-time errors: encrypted.
UNZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError)


def fetch(folder: Path, timeout_s: float = downloads.TIMEOUT_S) -> dict[str, int]:
    """Put the class folders into a folder, both whole or none.

    Args:
        folder: where the class folders belong; has to be there.
        timeout_s: seconds of silence after which the server counts as gone.

    Returns:
        The number of images by class.

    Raises:
        MaskDetectionError: a class folder with files is there already, an image did not arrive or is another
            one than the list says, or the folder cannot be written.
    """
    hashes = listed_hashes()
    counts = Counter(name.partition("/")[0] for name in hashes)
    try:
        _check_free(folder, counts)
        # Inside the destination, so that the last step is a move within one disk.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            archive = Path(temporary, "archive.zip")
            downloads.transfer(ADDRESS, archive, MAX_ARCHIVE_BYTES, timeout_s)
            _unpack(archive, hashes, Path(temporary))
            for class_name in counts:
                destination = folder / class_name
                if destination.is_dir():
                    destination.rmdir()  # empty, as checked; Windows moves nothing onto a folder
                Path(temporary, class_name).replace(destination)
    except downloads.TransferError as fault:
        raise MaskDetectionError(
            f"{ADDRESS}: {fault}; try again, or fetch and unpack it by hand and name its "
            f"{FOLDER_IN_ARCHIVE} folder with --dataset"
        ) from None
    except OSError as error:
        raise MaskDetectionError(
            f"{folder}: cannot be written ({error.strerror}); name another place with --to"
        ) from None
    return counts


def listed_hashes() -> dict[str, str]:
    """The sha256 of each image by its path below the data set, such as ``with_mask/0-with-mask.jpg``."""
    lines = HASHES.read_text(encoding="utf-8").splitlines()
    return {name: sha256 for sha256, name in (line.split(maxsplit=1) for line in lines)}


def _check_free(folder: Path, class_names: Iterable[str]) -> None:
    """Refuse to mix the data set with what the user has."""
    for path in (folder / class_name for class_name in class_names):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise MaskDetectionError(
                f"{path}: is there already and not empty; move it away or name another place with --to"
            )


def _unpack(archive: Path, hashes: dict[str, str], folder: Path) -> None:
    """Unpack the listed images of the zip archive, each checked against its hash.

    Only the list names files here, the archive never does: a member ``../evil`` has no way to be written.

    Args:
        archive: the zip file, with the images below ``<top folder>/FOLDER_IN_ARCHIVE``.
        hashes: sha256 by path below ``folder``.
        folder: where the class folders are made.

    Raises:
        TransferError: the archive is damaged, or an image is missing or another one.
    """
    try:
        with zipfile.ZipFile(archive) as zip_file:
            members = {member.filename.partition("/")[2]: member for member in zip_file.infolist()}
            for name, sha256 in tqdm(hashes.items(), desc="unpacking", unit="image", disable=None):
                member = members.get(f"{FOLDER_IN_ARCHIVE}/{name}")
                if member is None:
                    raise downloads.TransferError(f"the archive lacks the image {name}")
                path = folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(_read_image(zip_file, member, sha256))
    except UNZIP_ERRORS as error:
        raise downloads.TransferError(f"is not a whole zip archive ({error})") from None


def _read_image(zip_file: zipfile.ZipFile, member: zipfile.ZipInfo, sha256: str) -> bytes:
    if member.file_size <= MAX_IMAGE_BYTES and member.compress_type in PACKED_BY_GITHUB:
        with zip_file.open(member) as file:
            data = file.read(member.file_size)  # without a limit, zipfile unpacks up to 2 GiB to look beyond its end
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
    raise downloads.TransferError(f"{member.filename} in the archive is not the listed image")
