"""Ground-truth face boxes of a folder of photos, from VOC XML or YOLO text files of the same names.

Both come out as xyxy in pixels of the photo as it is displayed, x2 and y2 exclusive:

- VOC XML: ``xmin ymin xmax ymax`` are taken as they stand. VOC itself counted pixels from 1, but labelImg and
  the face-mask sets write edges from 0 to the photo's width and height. Of a file that does count from 1, each
  box loses its first column and row.
- YOLO text: ``class x_center y_center width height`` a line, in fractions of the photo's size. The class
  names stand in ``classes.txt``, ``*.names`` or ``data.yaml``, with the labels or up to two folders above.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import yaml

from mask_detection.io.image_files import list_image_files
from mask_detection.io.images import read_image
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import list_files

ANNOTATION_SUFFIXES = (".txt", ".xml")  # of two files with one stem the later, XML, is read
CLASS_NAME_FILES = ("classes.txt", "*.names", "data.yaml")  # patterns, the first found counts
MAX_ANNOTATION_BYTES = 8_000_000  # a crowd of 2,000 faces is half a megabyte of XML
MAX_CLASS_NAME_BYTES = 200_000  # 10,000 classes; reading so much YAML takes 3 s
EDGE_TOLERANCE = 1.0  # pixels; rounding takes boxes this far over the photo's edge

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Annotation:
    """The faces that somebody marked in one photo; a photo without faces has N = 0.

    Attributes:
        image: the photo.
        boxes: (N, 4) float32, xyxy in pixels of the photo as displayed, inside it, x2 and y2 exclusive.
        labels: the class of each box.
    """

    image: Path
    boxes: np.ndarray
    labels: tuple[str, ...]


def read_annotations(
    images: Path, annotations: Path, *, on_error: Callable[[MaskDetectionError], None] | None = None
) -> list[Annotation]:
    """Read the boxes of every photo of a folder that has an annotation file of the same name.

    Photos without an annotation file, and the reverse, are excluded and counted in a warning. The two folders
    may be one; subfolders are not searched.

    Args:
        images: folder of photos.
        annotations: folder of VOC ``.xml`` or YOLO ``.txt`` files.
        on_error: gets what is wrong with one photo or its file, and the photo is excluded; without it the first
            such error is raised.

    Returns:
        One annotation a photo, by the photos' names.

    Raises:
        MaskDetectionError: a folder cannot be read, nothing pairs up, the YOLO class names are missing, or,
            without ``on_error``, one file is faulty.
    """
    pairs = _pair_by_stem(images, annotations)
    is_yolo = any(path.suffix.lower() == ".txt" for path in pairs.values())
    class_names = read_class_names(annotations) if is_yolo else {}
    found = []
    for image, annotation in pairs.items():
        try:
            found.append(read_annotation(image, annotation, class_names))
        except MaskDetectionError as error:
            if on_error is None:
                raise
            on_error(error)
    return found


def read_annotation(image: Path, annotation: Path, class_names: Mapping[int, str]) -> Annotation:
    """Read the boxes of one photo.

    Args:
        image: the photo; it is decoded, because boxes belong to it as displayed, after EXIF rotation.
        annotation: its VOC ``.xml`` or YOLO ``.txt`` file; an empty ``.txt`` says that there is no face.
        class_names: from :func:`read_class_names`; VOC files don't need it.

    Raises:
        MaskDetectionError: the photo or the file cannot be read, or a box is malformed or outside the photo.
    """
    data = _read_bounded(annotation, MAX_ANNOTATION_BYTES)
    height, width = read_image(image).shape[:2]
    try:
        if annotation.suffix.lower() == ".xml":
            boxes, labels = _parse_voc(data, (width, height))
        else:
            boxes, labels = _parse_yolo(data, (width, height), class_names)
        return Annotation(image, _boxes_inside(boxes, (width, height)), tuple(labels))
    except ValueError as fault:
        raise MaskDetectionError(f"{annotation}: {fault}; mend the file or take it out") from None


def read_class_names(folder: Path) -> dict[int, str]:
    """Read the names of YOLO's class numbers from the nearest of ``CLASS_NAME_FILES``.

    Args:
        folder: the label files' folder, where the search begins; it goes on in the two folders above.

    Raises:
        MaskDetectionError: there is no such file, it cannot be read, or it lists no names.
    """
    remedy = f"write one class name a line in {folder / 'classes.txt'}"
    path = next(_class_name_files(folder, *folder.resolve().parents[:2]), None)
    if path is None:
        raise MaskDetectionError(f"{folder}: has no class names for its YOLO labels; {remedy}")
    try:
        text = _decode(_read_bounded(path, MAX_CLASS_NAME_BYTES))
        names = _yaml_names(text) if path.suffix == ".yaml" else _numbered_lines(text)
    except ValueError as fault:
        raise MaskDetectionError(f"{path}: {fault}; {remedy}") from None
    if not names:
        raise MaskDetectionError(f"{path}: lists no class names; {remedy}")
    return names


def _class_name_files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        for pattern in CLASS_NAME_FILES:
            yield from sorted(folder.glob(pattern))


def _pair_by_stem(images: Path, annotations: Path) -> dict[Path, Path]:
    """The photos of one folder, by name, each with the file of the same stem in the other folder."""
    files = {path.stem: path for path in list_files(annotations, subfolders=False) if _is_annotation_file(path)}
    photos = [path for path in list_image_files(images, subfolders=False) if not _is_annotation_file(path)]
    pairs = {photo: files.pop(photo.stem) for photo in photos if photo.stem in files}
    if not pairs:
        raise MaskDetectionError(f"{annotations}: no .xml or .txt file is named like an image in {images}")
    _warn_of_unpaired("without an annotation file", set(photos) - set(pairs))
    _warn_of_unpaired("without an image", set(files.values()) - set(_class_name_files(annotations)))
    return pairs


def _is_annotation_file(path: Path) -> bool:
    return path.suffix.lower() in ANNOTATION_SUFFIXES


def _warn_of_unpaired(fault: str, paths: Collection[Path]) -> None:
    if paths:
        logger.warning("%s: %s; excluded, %d of this kind in the folder", min(paths), fault, len(paths))


def _read_bounded(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise MaskDetectionError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if len(data) > max_bytes:
        raise MaskDetectionError(f"{path}: is larger than {max_bytes:,} bytes; check what it is")
    return data


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses document types: only there can XML define entities, which expand without end or read files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("has a <!DOCTYPE>, which annotations don't need")


def _parse_voc(data: bytes, size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    try:
        root = ElementTree.fromstring(data, ElementTree.XMLParser(target=_WithoutDoctype()))  # noqa: S314
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"is broken XML ({error})") from None
    if root.tag != "annotation":
        raise ValueError("is no VOC file, which opens with <annotation>")
    _check_annotated_size(root, size)
    objects = root.findall("object")
    boxes = [_voc_box(face, number) for number, face in enumerate(objects, start=1)]
    labels = [" ".join((face.findtext("name") or "").split()) for face in objects]
    if "" in labels:
        raise ValueError(f"object {labels.index('') + 1} has no <name>")
    return np.reshape(boxes, (-1, 4)), labels


def _voc_box(face: ElementTree.Element, number: int) -> list[float]:
    edges = ("xmin", "ymin", "xmax", "ymax")
    return [_number(face.findtext(f"bndbox/{edge}"), f"{edge} of object {number}") for edge in edges]


def _check_annotated_size(root: ElementTree.Element, size: tuple[int, int]) -> None:
    """Boxes of a photo that was scaled or turned afterwards would all be wrong without looking so."""
    annotated = tuple(_number(root.findtext(f"size/{side}") or "0", side) for side in ("width", "height"))
    if all(annotated) and annotated != size:  # some programs leave 0
        raise ValueError("was made for a photo of {:g} x {:g}, this one is {} x {}".format(*annotated, *size))


def _parse_yolo(data: bytes, size: tuple[int, int], class_names: Mapping[int, str]) -> tuple[np.ndarray, list[str]]:
    boxes, labels = [], []
    for number, line in enumerate(_decode(data).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 5:
            raise ValueError(f"line {number} has {len(fields)} values, not a class and 4 numbers")
        labels.append(_class_name(fields[0], class_names))
        x, y, w, h = (_number(field, f"a value of line {number}") for field in fields[1:])
        boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.reshape(boxes, (-1, 4)) * [*size, *size], labels


def _class_name(text: str, class_names: Mapping[int, str]) -> str:
    if not text.isdecimal() or int(text) not in class_names:
        raise ValueError(f"class {reprlib.repr(text)} is not among the {len(class_names)} class names")
    return class_names[int(text)]


def _number(text: str | None, what: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{what} is {reprlib.repr(text)}, not a number") from None


def _boxes_inside(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The boxes (N, 4) as float32, cut to the photo where no more than ``EDGE_TOLERANCE`` is lost."""
    inside = np.clip(boxes, 0, [*size, *size]).astype(np.float32)
    ordered = np.greater(boxes[:, 2:], boxes[:, :2]).all(axis=1)  # False for NaN
    near = (np.abs(boxes - inside) <= EDGE_TOLERANCE).all(axis=1)
    _refuse(~ordered, boxes, "is empty or its corners are swapped")
    _refuse(~near, boxes, "is not inside the photo of {} x {}".format(*size))
    _refuse((inside[:, 2:] <= inside[:, :2]).any(axis=1), boxes, "is empty inside the photo")
    return inside


def _refuse(faulty: np.ndarray, boxes: np.ndarray, fault: str) -> None:
    if faulty.any():
        index = int(faulty.argmax())
        raise ValueError(f"box {index + 1}, {np.round(boxes[index], 1).tolist()}, {fault}")


def _numbered_lines(text: str) -> dict[int, str]:
    return {number: line.strip() for number, line in enumerate(text.splitlines()) if line.strip()}


def _yaml_names(text: str) -> dict[int, str]:
    """The ``names`` of a ``data.yaml``: a list, or a mapping from class numbers."""
    try:
        # Builds lists, mappings and text alone: no objects, and a class called "no" or "1.0" stays what it is.
        content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"is broken YAML ({' '.join(str(error).split())})") from None
    names = content.get("names", []) if isinstance(content, dict) else []
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict):
        raise ValueError(f"names is {reprlib.repr(names)}, neither a list nor a mapping")
    for number, name in names.items():
        if not number.isdecimal():
            raise ValueError(f"names has {reprlib.repr(number)} for a class number")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"names gives class {reprlib.repr(int(number))} no name in plain text")
    return {int(number): " ".join(name.split()) for number, name in names.items()}
