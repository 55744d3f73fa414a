"""Face-mask detection: find the faces in images and videos, and say who wears a mask.

    import mask_detection

    detector = mask_detection.load()
    faces = detector("group.jpg")
    print(faces)
    image = mask_detection.draw("group.jpg", faces)

Data flows one way through the packages, each of which imports only from those before it: ``utils``, ``io``, ``models``,
``inference``, ``data``, ``evaluation``, ``training``, ``distributed``, ``commands``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mask_detection.inference.detections import Detections, Face
    from mask_detection.inference.detector import MaskDetector, load
    from mask_detection.inference.drawing import draw
    from mask_detection.utils.errors import MaskDetectionError

__version__ = "0.2.0"
__all__ = ["Detections", "Face", "MaskDetectionError", "MaskDetector", "__version__", "draw", "load"]

# Where the public names are defined; they are imported when first used (PEP 562), so that `--help` stays quick.
_MODULES = {
    "Detections": "mask_detection.inference.detections",
    "Face": "mask_detection.inference.detections",
    "MaskDetectionError": "mask_detection.utils.errors",
    "MaskDetector": "mask_detection.inference.detector",
    "draw": "mask_detection.inference.drawing",
    "load": "mask_detection.inference.detector",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
