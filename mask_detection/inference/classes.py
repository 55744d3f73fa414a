"""What class names mean, in one place: data sets spell the classes in many ways, and a model may know others."""

from __future__ import annotations

import re
from collections.abc import Iterable

WITH_MASK, WEARED_INCORRECT = "with_mask", "mask_weared_incorrect"  # as the public data sets name their folders

# In small letters, without anything between the words.
MASKED_NAMES = {"withmask", "mask", "masked", "facemask", "masks"}
BARE_NAMES = {"withoutmask", "nomask", "unmasked", "withoutmasks", "notmasked"}
WORN_WRONG_NAMES = {
    *("maskwearedincorrect", "maskwornincorrect", "maskwornincorrectly", "wornincorrectly", "incorrectmask"),
    *("incorrectlyworn", "incorrect", "incorrectlymasked", "wornwrong", "maskwornwrong", "wrongmask", "improper"),
}
SHOWN_WORN_WRONG = "worn wrong"  # as images and tables show the class


def is_masked(class_name: str) -> bool:
    """Tell whether a class is that of faces with a mask, such as ``with_mask`` or ``Mask``."""
    return _plain(class_name) in MASKED_NAMES


def is_bare(class_name: str) -> bool:
    """Tell whether a class is that of faces without a mask, such as ``without_mask`` or ``No Mask``."""
    return _plain(class_name) in BARE_NAMES


def is_worn_wrong(class_name: str) -> bool:
    """Tell whether a class is that of masks under the nose or chin, such as ``mask_weared_incorrect``."""
    return _plain(class_name) in WORN_WRONG_NAMES


def worn_wrong_columns(class_names: Iterable[str]) -> list[int]:
    """Where among these classes those of masks worn wrong are."""
    return [column for column, name in enumerate(class_names) if is_worn_wrong(name)]


def alert_classes(class_names: Iterable[str]) -> tuple[str, ...]:
    """The classes of faces that no mask protects: without one, and with one that is worn wrong."""
    return tuple(name for name in class_names if is_bare(name) or is_worn_wrong(name))


def shown(class_name: str) -> str:
    """A class's name as images show it; files keep the data sets' spelling."""
    return SHOWN_WORN_WRONG if is_worn_wrong(class_name) else class_name


def _plain(class_name: str) -> str:
    return re.sub(r"[\W_]", "", class_name.lower())
