"""What a ``.tflite`` file of this project says of itself: a small JSON record behind the network.

The network, a FlatBuffer, starts at the file's first byte. A zip archive counts from the file's end. So the record is
appended as an archive, as MediaPipe does with its models' labels: LiteRT on any device reads the file as it is, and
``unzip -p model.tflite mask_detector.json`` shows the record.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from mask_detection.models.base import ModelInfo
from mask_detection.models.preprocessing import PREPROCESSING
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import read_start

TFLITE_MARK = slice(4, 8), b"TFL3"  # where a FlatBuffer names its kind
RECORD_NAME = "mask_detector.json"
MAX_RECORD_BYTES = 64 << 10


@dataclass(frozen=True)
class Record:
    """What is known of a network.

    Attributes:
        class_names: the classes in the order of its outputs; None where its source didn't say.
        input_size: width and height of its input in pixels.
        preprocessing: what turns pixels into its input, as :mod:`mask_detection.models.preprocessing` names it.
        weights: ``fp16``, ``fp32`` or ``int8``.
        source_sha256: of the ``.h5`` that it was made from.
        network_sha256: of the FlatBuffer, as damaged weights would answer without a sign.
    """

    class_names: tuple[str, ...] | None
    input_size: int
    preprocessing: str
    weights: str
    source_sha256: str
    network_sha256: str


def is_tflite(path: Path) -> bool:
    """Tell whether a file is a ``.tflite``, by its content.

    Raises:
        MaskDetectionError: it cannot be read or is empty.
    """
    place, mark = TFLITE_MARK
    return not path.is_dir() and read_start(path, "a model")[place] == mark


def pack(network: bytes, info: ModelInfo, weights: str, source_sha256: str) -> bytes:
    """Append the record to a FlatBuffer; the same input gives the same bytes."""
    network_sha256 = hashlib.sha256(network).hexdigest()
    record = Record(info.class_names, info.input_size, PREPROCESSING, weights, source_sha256, network_sha256)
    packed = io.BytesIO(network)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(zipfile.ZipInfo(RECORD_NAME), json.dumps(asdict(record), indent=1))
    return packed.getvalue()


def read_record(path: Path, data: bytes) -> Record | None:
    """The record in a file's bytes; None for a network of another maker, which has none.

    Args:
        path: for messages.
        data: the whole file.

    Raises:
        MaskDetectionError: the record or the network is damaged.
    """
    if RECORD_NAME.encode() not in data:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entry = archive.getinfo(RECORD_NAME)
            network_end = min(other.header_offset for other in archive.infolist())
            record = _parse(archive.read(entry)) if entry.file_size <= MAX_RECORD_BYTES else None
    except Exception:  # zipfile and json raise whatever damage leads them to
        record = None
    if record is None or hashlib.sha256(data[:network_end]).hexdigest() != record.network_sha256:
        raise MaskDetectionError(f"{path}: is a damaged .tflite model; get the file again or export it once more")
    return record


def _parse(text: bytes) -> Record:
    values = json.loads(text)
    if (names := values["class_names"]) is not None:
        values["class_names"] = tuple(map(str, names))
    return Record(**values)
