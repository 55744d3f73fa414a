"""What a class's name says: data sets spell the two classes in many ways, and a model may know further ones."""

from __future__ import annotations

import re

WITH_MASK, WORN_WRONG = "with_mask", "mask_weared_incorrect"  # as the public data sets name their folders

# In small letters, without anything between the words.
MASKED_NAMES = {"withmask", "mask", "masked", "facemask", "masks"}
BARE_NAMES = {"withoutmask", "nomask", "unmasked", "withoutmasks", "notmasked"}


def is_masked(class_name: str) -> bool:
    """Tell whether a class is that of faces with a mask, such as ``with_mask`` or ``Mask``."""
    return _plain(class_name) in MASKED_NAMES


def is_bare(class_name: str) -> bool:
    """Tell whether a class is that of faces without a mask, such as ``without_mask`` or ``No Mask``."""
    return _plain(class_name) in BARE_NAMES


def _plain(class_name: str) -> str:
    return re.sub(r"[\W_]", "", class_name.lower())
