"""Random training images for the face detector, put together from parts of photos.

An image shows one photo, or a mosaic (Bochkovskiy et al. 2020, "YOLOv4") of 2 x 2 to 4 x 4 of them. Of each it shows a
window that holds one of its faces, at a scale between the whole photo and that face alone; so there are faces of all
sizes from 8 pixels to such as fill the image.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from mask_detection.training.augmentation import COLOR_GAIN, GAIN, GREY_FRACTION, JPEG_FRACTION, JPEG_QUALITY
from mask_detection.training.detector.dataset import ImageStore, LabelledImage
from mask_detection.training.detector.targets import IGNORED, N_TARGETS, UNKNOWN_CLASS, make_targets
from mask_detection.utils.boxes import box_areas

if TYPE_CHECKING:
    import tensorflow as tf

    from mask_detection.training.detector.teacher import Teacher

GRIDS = (1, 2, 3, 4)  # photos in each direction
GRID_PROBABILITIES = (0.35, 0.35, 0.2, 0.1)
GRID_JITTER = 0.3  # rows and columns are by up to this part wider or narrower than even ones
MIN_ZOOM = 0.7  # of the scale at which the whole photo is seen
FULL_ZOOM = 1.1  # of the scale at which the face fills its part of the image
MAX_SCALE = 2.0  # photos are enlarged no more than this, unless to fill their part
STRETCH = 0.1  # width and height are scaled differently by up to this, as a logarithm
CUT_FRACTION = 0.15  # of a face that a window may cut off on a side where it could hold the whole

MIN_FACE = 8  # pixels: what is smaller may be a face or not
MIN_VISIBLE = 0.5  # of a face's area; below, it may be taken for a face or not
MIN_VISIBLE_FOR_CLASS = 0.75  # below, the mask may be what is cut off

BLUR_FRACTION, BLUR_SIGMA = 0.1, (0.4, 1.5)  # pixels
SMALL_FRACTION, SMALL_SCALE = 0.1, (0.4, 0.8)  # scaled down and up again, as digital zoom does


def make_image(
    draw_photo: Callable[[np.random.Generator], LabelledImage], size: int, rng: np.random.Generator
) -> LabelledImage:
    """Make a random training image.

    Args:
        draw_photo: chooses a photo at random.
        size: width and height in pixels.
        rng: decides; the same state gives the same image.
    """
    grid = int(rng.choice(GRIDS, p=GRID_PROBABILITIES))
    image = np.empty((size, size, 3), np.uint8)
    boxes, labels = [], []
    rows, columns = _edges(size, grid, rng), _edges(size, grid, rng)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            part = random_window(draw_photo(rng), (bottom - top, right - left), rng)
            image[top:bottom, left:right] = part.image
            boxes.append(part.boxes + np.array([left, top, left, top], np.float32))
            labels.append(part.labels)
    return LabelledImage(disturbed(image, rng), np.concatenate(boxes), np.concatenate(labels))


def _edges(size: int, count: int, rng: np.random.Generator) -> list[int]:
    """Where to cut a side into so many parts: count + 1 places from 0 to ``size``."""
    parts = rng.uniform(1 - GRID_JITTER, 1 + GRID_JITTER, count)
    return [0, *(np.cumsum(parts) / parts.sum() * size).round().astype(int).tolist()]


def random_window(photo: LabelledImage, size: tuple[int, int], rng: np.random.Generator) -> LabelledImage:
    """A random part of a photo, perhaps mirrored, that holds one of its faces, if there is any.

    Args:
        photo: is left as it is.
        size: height and width of the part in pixels.
        rng: decides.
    """
    scales = _random_scale(photo, focus := _random_focus(photo, rng), size, rng)  # x, y
    sides = np.array(size[::-1]) / scales  # of the window, in pixels of the photo
    limits = np.array(photo.image.shape[1::-1])
    corner = np.array([_random_start(*axis, rng) for axis in zip(sides, limits, focus[:2], focus[2:], strict=True)])
    start, end = np.maximum(corner, 0).astype(int), np.minimum(corner + sides, limits).round().astype(int)
    end = np.maximum(end, start + 1)
    target_start = np.maximum(-corner * scales, 0).round().astype(int)
    target_size = np.clip(((end - start) * scales).round().astype(int), 1, np.array(size[::-1]) - target_start)
    image = np.empty((*size, 3), np.uint8)
    image[:] = rng.integers(0, 256, 3)
    (x, y), (width, height) = target_start, target_size
    shown = photo.image[start[1] : end[1], start[0] : end[0]]
    method = cv2.INTER_AREA if scales.max() < 1 else cv2.INTER_LINEAR
    image[y : y + height, x : x + width] = cv2.resize(shown, (int(width), int(height)), interpolation=method)
    ratio = np.tile(target_size / (end - start), 2)
    boxes = (photo.boxes - np.tile(start, 2)) * ratio + np.tile(target_start, 2)
    boxes, labels = _cut_off(boxes, photo.labels, (x, y, x + width, y + height))
    if rng.random() < 0.5:
        image, boxes = mirrored(image, boxes)
    return LabelledImage(image, boxes.astype(np.float32), labels)


def _random_focus(photo: LabelledImage, rng: np.random.Generator) -> np.ndarray:
    """The box (4,) of a face of the photo, or the whole photo."""
    faces = photo.boxes[photo.labels != IGNORED]
    if len(faces):
        return faces[rng.integers(len(faces))]
    height, width = photo.image.shape[:2]
    return np.array([0, 0, width, height])


def _random_scale(
    photo: LabelledImage, focus: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Scales of x and y, (2,)."""
    whole = min(np.array(size) / photo.image.shape[:2])
    face_alone = min(size) / (focus[2:] - focus[:2]).max() * FULL_ZOOM
    largest = max(whole, min(face_alone, MAX_SCALE))
    scale = np.exp(rng.uniform(np.log(MIN_ZOOM * whole), np.log(largest)))
    return scale * np.exp(rng.uniform(-STRETCH, STRETCH) / 2 * np.array([1, -1]))


def _random_start(side: float, limit: int, low: float, high: float, rng: np.random.Generator) -> float:
    """Where along one axis of the photo a window starts that is to hold the face from ``low`` to ``high``."""
    if side >= limit:  # the photo floats in it
        return rng.uniform(limit - side, 0)
    cut = CUT_FRACTION * (high - low)
    earliest, latest = sorted((high - side - cut, low + cut))
    return float(np.clip(rng.uniform(earliest, latest), 0, limit - side))


def _cut_off(boxes: np.ndarray, labels: np.ndarray, window: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes (N, 4) to what is shown, and withdraw the labels of those that show too little of a face."""
    left, top, right, bottom = window
    clipped = np.clip(boxes, [left, top, left, top], [right, bottom, right, bottom])
    sides = clipped[:, 2:] - clipped[:, :2]
    visible = box_areas(clipped) / np.maximum(box_areas(boxes), 1e-6)
    is_doubtful = (visible < MIN_VISIBLE) | (sides.min(axis=1, initial=np.inf) < MIN_FACE)
    labels = np.where((visible < MIN_VISIBLE_FOR_CLASS) & (labels >= 0), UNKNOWN_CLASS, labels)
    labels = np.where(is_doubtful, IGNORED, labels)
    seen = (sides > 0).all(axis=1)
    return clipped[seen], labels[seen]


def mirrored(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mirror image, and the boxes (N, 4) in it."""
    width = image.shape[1]
    left, right = boxes[:, 0], boxes[:, 2]
    return cv2.flip(image, 1), np.column_stack([width - right, boxes[:, 1], width - left, boxes[:, 3]])


def disturbed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other light and colours, and for some images blur, few pixels, JPEG noise: (H, W, 3) BGR uint8 to the same."""
    height, width = image.shape[:2]
    contrast = rng.uniform(1 - GAIN, 1 + GAIN)
    gains = contrast * rng.uniform(1 - COLOR_GAIN, 1 + COLOR_GAIN, 3)
    values = np.arange(256)[:, None] * gains + rng.uniform(-GAIN, GAIN) * 128  # (256, 3), a curve a channel
    image = cv2.LUT(image, np.clip(values, 0, 255).astype(np.uint8)[None])
    if rng.random() < GREY_FRACTION:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < BLUR_FRACTION:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR_SIGMA))
    if rng.random() < SMALL_FRACTION:
        scale = rng.uniform(*SMALL_SCALE)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < JPEG_FRACTION:
        quality = int(rng.integers(*JPEG_QUALITY))
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cast(np.ndarray, cv2.imdecode(encoded, cv2.IMREAD_COLOR))  # None only for what is no image
    return image


def example_batches(
    store: ImageStore,
    weights: np.ndarray,
    size: int,
    batch_size: int,
    seed: int,
    first: int,
    teacher: Teacher | None = None,
) -> tf.data.Dataset:
    """Batches of random training images, without end.

    Args:
        store: the photos.
        weights: (P,) how often each photo is drawn, relative to the others.
        size: width and height of the images in pixels.
        batch_size: images in a batch.
        seed: of the images: number i is the same whenever the seed is.
        first: number of the first image.
        teacher: whose predictions go behind the targets.

    Returns:
        A data set of ((batch_size, size, size, 3) float32 RGB in -1..1, (batch_size, L, 6) float32 targets); with a
        teacher, these are (batch_size, L, 11 + n_classes).
    """
    import tensorflow as tf

    n_targets = N_TARGETS + (teacher.n_outputs if teacher else 0)
    cumulative = np.cumsum(weights / weights.sum())

    def draw_photo(rng: np.random.Generator) -> LabelledImage:
        return store[min(int(np.searchsorted(cumulative, rng.random())), len(store) - 1)]

    def make(number: np.int64) -> tuple[np.ndarray, np.ndarray]:
        made = make_image(draw_photo, size, np.random.default_rng((seed, int(number))))
        targets = make_targets(made.boxes, made.labels, (size, size))
        if teacher:
            targets = np.hstack([targets, teacher.predict(made.image[..., ::-1])])
        return made.image, targets

    def example(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, targets = tf.numpy_function(make, [number], (tf.uint8, tf.float32))
        return tf.ensure_shape(image, (size, size, 3)), tf.ensure_shape(targets, (None, n_targets))

    def network_input(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # as mask_detection.models.preprocessing does
        return tf.cast(images[..., ::-1], tf.float32) / 127.5 - 1.0, targets

    numbers = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
    examples = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return examples.batch(batch_size, drop_remainder=True).map(network_input).prefetch(tf.data.AUTOTUNE)
