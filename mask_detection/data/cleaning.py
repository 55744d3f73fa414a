"""Clean a data set: any image format to small JPEG files, each image once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mask_detection.data.jobs import DataSetSummary, JobResult, copies, faulty, run_jobs, worker_pool
from mask_detection.data.photos import in_two_classes, jpeg_names, list_class_images
from mask_detection.io.images import read_image, write_image
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import make_folder

MAX_JPEG_SIDE = 65_500  # pixels, libjpeg's limit


def prepare_images(source: Path, destination: Path, size: int) -> DataSetSummary:
    """Write every image of a folder tree as JPEG into the same folders of another.

    An image's class is the name of the folder that it lies in. Of byte-for-byte copies the first by path is taken,
    and none where they lie in folders of different names, as one of the two must be wrong.

    Args:
        source: folder of class folders, at any depth.
        destination: checked with :func:`mask_detection.data.jobs.check_folders`.
        size: the smaller side of larger images becomes this many pixels; smaller images stay as they are.

    Raises:
        MaskDetectionError: there are no images, or the destination cannot be written.
    """
    with worker_pool() as pool:
        groups, others = list_class_images(source, pool)
        names = jpeg_names([group[0].relative_to(source) for group in groups])
        targets = [destination / name for name in names]
        jobs = [partial(_prepare_image, group, target, size) for group, target in zip(groups, targets, strict=True)]
        return run_jobs(jobs, others, source, destination, pool)


def _prepare_image(group: Sequence[Path], target: Path, size: int) -> JobResult:
    try:
        image = read_image(group[0])
    except MaskDetectionError as error:
        return JobResult(excluded=[faulty(group[0], error), *copies(group)])
    if clashes := in_two_classes(group):
        return JobResult(excluded=clashes)
    write_jpeg(target, image, size)
    return JobResult([target], copies(group))


def write_jpeg(target: Path, image: np.ndarray, size: int) -> None:
    """Write an image (H, W, 3) BGR uint8, scaled down to ``size``, and make its folder if need be."""
    make_folder(target.parent)
    write_image(target, scale_down(image, size))


def scale_down(image: np.ndarray, size: int) -> np.ndarray:
    """Scale a larger image (H, W, 3) so that its smaller side has ``size`` pixels; its shape stays."""
    height, width = image.shape[:2]
    scale = min(size / min(height, width), MAX_JPEG_SIDE / max(height, width))
    if scale >= 1:
        return image
    scaled_size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, scaled_size, interpolation=cv2.INTER_AREA)
