"""How a mask is worn, by where its upper edge lies; and the class that this is."""

from __future__ import annotations

from mask_detection.inference.classes import WEARED_INCORRECT, WITH_MASK

CORRECT = "correct"  # over the nose
TIP = "tip"  # at the tip of the nose, which shows
NOSE = "nose"  # below the nose
CHIN = "chin"  # below the mouth

CLASS_OF_KIND = {CORRECT: WITH_MASK, TIP: WEARED_INCORRECT, NOSE: WEARED_INCORRECT, CHIN: WEARED_INCORRECT}
KINDS = tuple(CLASS_OF_KIND)
