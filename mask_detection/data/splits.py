"""Splitting a data set into training, validation and test so that no copy of an image lies on two sides."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mask_detection.data.dataset import TEST, TRAIN, VALIDATION, Samples
from mask_detection.data.duplicates import content_hashes, find_groups
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write, read_whole

logger = logging.getLogger(__name__)

MAX_FOLDS = 20  # parts are made of whole folds, so their sizes are right to 1/20


@dataclass(frozen=True)
class Split:
    """The three parts of a data set."""

    train: Samples
    validation: Samples
    test: Samples

    def parts(self) -> dict[str, Samples]:
        """The parts by name."""
        return {TRAIN: self.train, VALIDATION: self.validation, TEST: self.test}


def split(samples: Samples, groups: np.ndarray, validation_size: float, test_size: float, seed: int) -> Split:
    """Split at random, stratified by class, each group on one side; keep the parts of a split that came ready-made.

    Args:
        samples: all samples.
        groups: (N,) int; images with the same number are copies of one another.
        validation_size: part of all samples, 0..1; where the set came without a validation part.
        test_size: likewise for the test part.
        seed: the same seed gives the same split.

    Raises:
        MaskDetectionError: a class has too few images that are not copies.
    """
    ready_made = set(samples.parts) - {""}
    movable = np.isin(samples.parts, ("", TRAIN))
    drawn = _draw(samples.select(movable), groups[movable], validation_size, test_size, seed)
    # Of a set that came split, training images are drawn only for a part that it lacks.
    stays = (samples.parts[movable] == TRAIN) & np.isin(drawn, list(ready_made))
    parts = samples.parts.copy()
    parts[movable] = np.where(stays, TRAIN, drawn)
    parts[_copies_across(parts, groups)] = ""
    return Split(*(samples.select(parts == part) for part in (TRAIN, VALIDATION, TEST)))


def _draw(samples: Samples, groups: np.ndarray, validation_size: float, test_size: float, seed: int) -> np.ndarray:
    """Assign each sample to a part at random, (N,) str."""
    distinct = {name: len(np.unique(groups[samples.labels == i])) for i, name in enumerate(samples.class_names)}
    scarcest = min(distinct, key=distinct.__getitem__)
    n_folds = min(MAX_FOLDS, distinct[scarcest])
    if n_folds < len((TRAIN, VALIDATION, TEST)):
        raise MaskDetectionError(
            f"{scarcest}: has {n_folds} images that are no copies of one another; give it 3 or more"
        )
    n_test = min(max(1, round(test_size * n_folds)), n_folds - 2)
    n_validation = min(max(1, round(validation_size * n_folds)), n_folds - n_test - 1)

    fold_maker = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    parts = np.full(len(samples), TRAIN, dtype="<U10")
    for fold, (_, held_out) in enumerate(fold_maker.split(samples.labels, samples.labels, groups)):
        if fold < n_test + n_validation:
            parts[held_out] = TEST if fold < n_test else VALIDATION
    return parts


def _copies_across(parts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Where an image is in two ready-made parts: mark its copies in training and validation, (N,) bool."""
    in_test = np.isin(groups, groups[parts == TEST]) & (parts != TEST)
    in_validation = np.isin(groups, groups[parts == VALIDATION]) & (parts == TRAIN)
    across = in_test | in_validation
    if across.any():
        logger.warning("%d images are copies of validation or test images; excluded from training", across.sum())
    return across


def without_leaks(samples: Samples, excluded: Sequence[Path]) -> tuple[Samples, np.ndarray, dict[str, int]]:
    """Find the copies in a data set; exclude what lies under two classes, and copies of images that are to be excluded.

    Args:
        samples: all samples.
        excluded: images that training must not have seen, such as those of a final evaluation.

    Returns:
        The usable samples, (N,) int the group of copies that each belongs to, and what was found, as counts.
    """
    all_groups = find_groups((*samples.paths, *excluded))
    groups, barred_groups = all_groups[: len(samples)], all_groups[len(samples) :]
    contradictory = _contradictions(samples)
    barred = np.isin(groups, barred_groups)
    sizes = np.unique(groups, return_counts=True)[1]
    facts = {
        "groups_of_copies": int((sizes > 1).sum()),
        "images_in_these_groups": int(sizes[sizes > 1].sum()),
        "left_out_under_two_classes": int(contradictory.sum()),
    }
    if excluded:
        facts["left_out_as_copies_of_kept_out_images"] = int(barred.sum())
    usable = ~(contradictory | barred)
    return samples.select(usable), groups[usable], facts


def _contradictions(samples: Samples) -> np.ndarray:
    """Mark images that lie, byte for byte, under more than one class, (N,) bool; and name them.

    A near-duplicate under another class is no contradiction: the same portrait with and without a mask is one.
    """
    classes_of: dict[str, set[int]] = {}
    hashes = content_hashes(samples.paths)
    for content, label in zip(hashes, samples.labels.tolist(), strict=True):
        classes_of.setdefault(content, set()).add(label)
    contradictory = np.array([len(classes_of[content]) > 1 for content in hashes], dtype=bool)
    for name in np.array(samples.names)[contradictory]:
        logger.warning("%s: lies under more than one class; excluded", name)
    return contradictory


def fingerprint(made: Split) -> str:
    """A hash of every image's content, class and part, the same wherever the data set lies."""
    lines = [
        f"{part} {samples.class_names[label]} {content}"
        for part, samples in made.parts().items()
        for content, label in zip(content_hashes(samples.paths), samples.labels, strict=True)
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def write_split(path: Path, made: Split) -> None:
    """Write which image is in which part: ``{"train": ["with_mask/1.jpg", …], "validation": […], "test": […]}``.

    Raises:
        MaskDetectionError: the place cannot be written.
    """
    with atomic_write(path) as part_file:
        part_file.write_text(json.dumps({part: samples.names for part, samples in made.parts().items()}, indent=1))


def read_split(path: Path, samples: Samples) -> Split:
    """Read a split that :func:`write_split` wrote; images that it doesn't name are excluded, which is logged.

    Raises:
        MaskDetectionError: it is no such file, or names images that the data set doesn't hold.
    """
    try:
        listed = json.loads(read_whole(path, "a split file"))
        names = {part: [str(name) for name in listed[part]] for part in (TRAIN, VALIDATION, TEST)}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MaskDetectionError(f"{path}: is not a split file; delete it, and training writes a new one") from None
    if empty := [part for part in names if not names[part]]:
        raise MaskDetectionError(f"{path}: names no {empty[0]} images; delete it, and training writes a new one")
    index = {name: i for i, name in enumerate(samples.names)}
    if missing := [name for part in names.values() for name in part if name not in index]:
        raise MaskDetectionError(
            f"{path}: names {len(missing)} images that the data set doesn't hold or that cannot be read, such as "
            f"{missing[0]}; name another --split-file"
        )
    if unnamed := len(samples) - sum(map(len, names.values())):
        logger.warning("%s: doesn't name %d images of the data set; excluded", path, unnamed)
    return Split(*(samples.select(np.array([index[name] for name in names[part]], int)) for part in names))
