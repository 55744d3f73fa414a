"""From photos of bare faces to class folders of face crops with masks put on.

First all photos are searched for faces, and for cloth of masks that somebody wears; then the masks are put on. What
is drawn on a face depends on the photo's bytes, the face's number, the kind, the seed and the cloth that was found;
not on the photo's name, nor on what is drawn before or beside it.
"""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from mask_detection.data.cleaning import scale_down, write_jpeg
from mask_detection.data.crops import jitter_box
from mask_detection.data.dataset import list_images
from mask_detection.data.face_crops import one_at_a_time
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.data.jobs import DataSetSummary, Excluded, JobResult, Kind, run_jobs, worker_pool
from mask_detection.data.synthesis.cloth import Swatch
from mask_detection.data.synthesis.geometry import Pose, fit_pose
from mask_detection.data.synthesis.kinds import CHIN, CLASS_OF_KIND
from mask_detection.data.synthesis.render import Worn, put_on
from mask_detection.data.synthesis.survey import (
    BareFace,
    FindLandmarks,
    Survey,
    cut_swatches,
    list_labelled_photos,
    survey_photo,
)
from mask_detection.io.images import read_image, write_image
from mask_detection.models.preprocessing import crop_squares, resize
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write
from mask_detection.utils.text import csv_cell

FACES_NAME, SHEET_NAME = "faces.csv", "contact_sheet.png"
FACE_COLUMNS = (
    "file", "photo", "fold", "face", "x1", "y1", "x2", "y2", "kind", "seed",
    "style", "colour", "pattern", "blue", "green", "red", "cloth_from", "yaw", "pitch", "roll", "unit",
)  # fmt: skip
MIN_INSIDE = 0.5  # fraction of a mask that its crop has to show; where it ends above is what matters
MIN_CHIN_MASK_INSIDE = 0.7  # many tight portraits end where it begins

SHEET_COLUMNS, SHEET_ROWS, SHEET_TILE, SHEET_GREY = 16, 4, 96, 90  # faces a row, rows a kind, pixels

Row = dict[str, object]
Item = TypeVar("Item")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SynthesisOptions:
    """What is made.

    Attributes:
        kinds: ways of wearing a mask, of ``KINDS``; one that is named twice is taken twice as often.
        per_face: crops of each face, of different kinds as long as there are some.
        seed: another one gives other masks.
        size: the smaller side of larger crops becomes this many pixels.
        min_face_pixels: faces whose box has a smaller side below this are excluded.
        excluded_folds: those to exclude, of ``FOLDS``, by the photo's name.
    """

    kinds: Sequence[str]
    per_face: int
    seed: int
    size: int
    min_face_pixels: int
    excluded_folds: Collection[str] = ()


def synthesize(
    source: Path,
    destination: Path,
    options: SynthesisOptions,
    find_landmarks: FindLandmarks,
    annotation_folder: Path | None = None,
    cloth_folder: Path | None = None,
) -> DataSetSummary:
    """Put masks on the bare faces of photos, as ``CLASS/PHOTO_NUMBER_KIND.jpg``, and list them in ``faces.csv``.

    Args:
        source: folder of photos at any depth.
        destination: checked with :func:`mask_detection.data.jobs.check_folders`.
        options: which masks, and how many.
        find_landmarks: as :meth:`mask_detection.models.opencv_detectors.YuNetFaceDetector.find_landmarks`; called by
            one thread at a time.
        annotation_folder: VOC ``.xml`` or YOLO ``.txt`` files that tell bare faces from masked ones, whose cloth is
            used; without it, all faces are taken for bare ones.
        cloth_folder: photos of masked faces, whose cloth is used, too.

    Raises:
        MaskDetectionError: there are no images, or the destination cannot be written.
    """
    made: dict[Path, list[Row]] = {}
    find = one_at_a_time(find_landmarks)
    with worker_pool() as pool:
        photos, find_labels, excluded = list_labelled_photos(source, annotation_folder, pool)
        survey = partial(
            survey_photo, find_landmarks=find, find_labels=find_labels, excluded_folds=options.excluded_folds
        )
        surveys = list(_progress(pool.map(survey, photos), "finding faces", len(photos)))
        swatches, n_faulty = _gather_cloth(surveys, cloth_folder, find, options.excluded_folds, pool)
        jobs = [partial(_mask_photo, survey, swatches, source, destination, options, made) for survey in surveys]
        own_files = destination / FACES_NAME, destination / SHEET_NAME
        try:
            summary = run_jobs(jobs, excluded, source, destination, pool, own_files)
        finally:
            rows = [row for photo in photos for row in made.get(photo.files[0], ())]
            _write_rows(destination / FACES_NAME, rows)
    if n_faulty:
        summary.excluded[Kind.FAULTY] += n_faulty
    if rows:
        _write_contact_sheet(destination, rows, options.kinds)
    return summary


def _progress(results: Iterable[Item], title: str, total: int) -> Iterable[Item]:
    return tqdm(results, title, total, unit="image", disable=None, leave=False)


def _gather_cloth(
    surveys: Sequence[Survey],
    cloth_folder: Path | None,
    find_landmarks: FindLandmarks,
    excluded_folds: Collection[str],
    pool: Executor,
) -> tuple[Mapping[str, Sequence[Swatch]], int]:
    """All cloth by the fold of the photo that it is from, and how many photos of it could not be read."""
    swatches = [swatch for survey in surveys for swatch in survey.swatches]
    files = list_images([cloth_folder]) if cloth_folder else ()
    chosen = [path for path in files if FOLDS[fold_of(path.name)] not in excluded_folds]
    cut = partial(_cloth_of, find_landmarks=find_landmarks)
    found = list(_progress(pool.map(cut, chosen), "cutting out cloth", len(chosen)))
    by_fold: dict[str, list[Swatch]] = defaultdict(list)
    for swatch in swatches + [swatch for some in found for swatch in some or ()]:
        by_fold[FOLDS[fold_of(swatch.photo)]].append(swatch)
    return by_fold, found.count(None)


def _cloth_of(path: Path, find_landmarks: FindLandmarks) -> list[Swatch] | None:
    """Cloth of all faces of a photo; None where it cannot be read."""
    try:
        image = read_image(path)
    except MaskDetectionError as error:
        logger.error("error: %s; excluded", error)
        return None
    return cut_swatches(image, find_landmarks(image)[2], path.name)


def _mask_photo(
    survey: Survey,
    swatches: Mapping[str, Sequence[Swatch]],
    source: Path,
    destination: Path,
    options: SynthesisOptions,
    made: dict[Path, list[Row]],
) -> JobResult:
    """Write the crops of one photo, and put their rows into ``made``."""
    file = survey.photo.files[0]
    fold = FOLDS[fold_of(file.name)]
    photo: Row = {"photo": file.relative_to(source).as_posix(), "fold": fold}
    excluded, rows = list(survey.excluded), []
    image = read_image(file) if survey.faces else np.empty((0, 0, 3), np.uint8)
    for face in survey.faces:
        pose = fit_pose(face.landmarks)
        if pose is None or min(face.box[2:] - face.box[:2]) < options.min_face_pixels:
            excluded.append(_too_small_or_turned(file, face, pose))
            continue
        for kind, copy in _choose_kinds(options, survey.digest, face.number):
            seed = _seed(survey.digest, face.number, kind, copy, options.seed)
            rng = np.random.default_rng(seed)
            box = face.box if copy == 1 else jitter_box(face.box, 1, image.shape[:2], rng)[0]
            crop, crop_pose = _crop(image, box, pose, options.size)
            worn = put_on(crop, crop_pose, kind, rng, swatches.get(fold, ()))
            if _fraction_inside(worn) < (MIN_CHIN_MASK_INSIDE if kind == CHIN else MIN_INSIDE):
                excluded.append(Excluded(file, Kind.CUT_OFF, f"face {face.number}, {kind}, would leave the crop"))
                continue
            target = Path(CLASS_OF_KIND[kind], _name(survey.photo.stem, face.number, kind, copy))
            write_jpeg(destination / target, worn.image, options.size)
            place: Row = {"file": target.as_posix(), "face": face.number, "kind": kind, "seed": seed}
            rows.append(photo | place | _facts(box, crop_pose, worn))
    made[file] = rows
    return JobResult([destination / str(row["file"]) for row in rows], excluded)


def _too_small_or_turned(file: Path, face: BareFace, pose: Pose | None) -> Excluded:
    if pose is None:
        reason = f"face {face.number}, is turned too far for a mask, or too small for its landmarks"
        return Excluded(file, Kind.TURNED, reason)
    width, height = face.box[2:] - face.box[:2]
    return Excluded(file, Kind.SMALL, f"face {face.number}, has only {width} x {height} pixels")


def _choose_kinds(options: SynthesisOptions, digest: str, number: int) -> list[tuple[str, int]]:
    """The kinds that a face gets, each with which copy of that kind it is, from 1 on."""
    order = np.random.default_rng(_seed(digest, number, options.seed)).permutation(len(options.kinds))
    kinds = [options.kinds[order[i % len(order)]] for i in range(options.per_face)]
    return [(kind, kinds[: i + 1].count(kind)) for i, kind in enumerate(kinds)]


def _seed(*parts: object) -> int:
    """A 64-bit number that texts and numbers lead to."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def _name(stem: str, number: int, kind: str, copy: int) -> str:
    return f"{stem}_{number}_{kind}{f'_{copy}' if copy > 1 else ''}.jpg"


def _crop(image: np.ndarray, box: np.ndarray, pose: Pose, size: int) -> tuple[np.ndarray, Pose]:
    """A face as the classifier is to see it, scaled down to ``size``, and its pose there."""
    x1, y1, x2, y2 = crop_squares(box[None], image.shape[:2])[0]
    crop = scale_down(np.ascontiguousarray(image[y1:y2, x1:x2]), size)
    scale = np.array([crop.shape[1] / (x2 - x1), crop.shape[0] / (y2 - y1)])
    return crop, pose.moved(np.array([x1, y1]), scale)


def _fraction_inside(worn: Worn) -> float:
    """What part of the mask its crop shows."""
    size = worn.image.shape[1::-1]
    return float(((worn.points >= 0) & (worn.points < size)).all(axis=1).mean())


def _facts(box: np.ndarray, pose: Pose, worn: Worn) -> Row:
    """What ``faces.csv`` says of a crop; ``unit`` is D in the crop's pixels."""
    look = worn.look
    return {
        **dict(zip(("x1", "y1", "x2", "y2"), box.tolist(), strict=True)),
        **{"style": look.style, "colour": look.colour_name, "pattern": look.pattern},
        **dict(zip(("blue", "green", "red"), look.colour, strict=True)),
        "cloth_from": look.swatch.photo if look.swatch else "",
        **{name: round(angle) for name, angle in zip(("yaw", "pitch", "roll"), pose.angles, strict=True)},
        "unit": round(pose.unit, 1),
    }


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    with (
        atomic_write(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, FACE_COLUMNS)
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)


def _write_contact_sheet(destination: Path, rows: Sequence[Row], kinds: Sequence[str]) -> None:
    """Show some crops of each kind, in rows, as the classifier sees them."""
    bands = []
    for kind in dict.fromkeys(kinds):
        files = sorted((str(row["file"]) for row in rows if row["kind"] == kind), key=_seed)
        tiles = [resize(read_image(destination / file), SHEET_TILE) for file in files[: SHEET_COLUMNS * SHEET_ROWS]]
        tiles += [np.full_like(tiles[0], SHEET_GREY)] * (-len(tiles) % SHEET_COLUMNS) if tiles else []
        bands += [np.hstack(tiles[i : i + SHEET_COLUMNS]) for i in range(0, len(tiles), SHEET_COLUMNS)]
    write_image(destination / SHEET_NAME, np.vstack(bands))
