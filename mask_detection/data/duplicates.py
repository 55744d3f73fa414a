"""Find copies and near-duplicates in an image data set, so that a split can keep each group of them on one side.

    files -> sha256 -> local features -> bags of visual words -> candidate pairs -> confirmed pairs -> groups

Two images are near-duplicates if one photo lies under both: shifted, turned, scaled, mirrored, blurred, encoded anew,
or with something drawn over less than half of it. Candidates are the nearest neighbours by visual words (Sivic and
Zisserman, "Video Google", 2003); a pair is confirmed where SIFT matches agree on one affine map and the pixels agree
under that map. The same person on another photo, or the same drawing on another face, passes the first but not the
second. Needs no network weights, and no more than about 25 kB of memory an image.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn import config_context
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mask_detection.io.images import read_image
from mask_detection.utils.cache import cache_folder
from mask_detection.utils.errors import MaskDetectionError
from mask_detection.utils.files import atomic_write

VERSION = 1  # of the method, constants included: results kept by another version are not used

WORKING_SIZE = 160  # px, longest side, at which keypoints are found: small crops are scaled up to it
THUMBNAIL_SIZE = WORKING_SIZE // 2  # px, longest side, at which pixels are compared
MAX_KEYPOINTS = 150
MAX_WORDS = 4096  # half of them mirror images of the other half
VOCABULARY_IMAGES = 1000  # whose descriptors the visual words are drawn from
DESCRIPTORS_PER_WORD = 16  # at least, lest a small set's copies each be their own words
CANDIDATES = 10  # per image

RATIO = 0.8  # of nearest to second-nearest descriptor distance; Lowe, 2004
REPROJECTION_ERROR = 1.5  # px of the thumbnail
MIN_INLIERS = 10  # different places
MAX_STRETCH = 2.0  # of the affine map, in any direction, up or down
WINDOW = 9  # px of the thumbnail, side of the square within which pixels are correlated
MIN_CONTRAST = 4.0  # grey levels, standard deviation within the window; below it there is nothing to compare
MIN_COMPARED = 0.1  # of the thumbnail's pixels
MIN_CORRELATION = 0.9  # median over the windows; face crops: copies reach 0.94 to 1, different photos 0.89 at most

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Features:
    """What is kept of an image: a grey thumbnail and its keypoints.

    Attributes:
        thumbnail: (h, w) uint8.
        points: (k, 2) float32, xy in pixels of the thumbnail.
        descriptors: (k, 128) uint8, RootSIFT times 512.
    """

    thumbnail: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray

    def mirrored(self) -> _Features:
        """The features of the image's mirror image."""
        points = self.points * np.array([-1, 1], np.float32) + np.array([self.thumbnail.shape[1] - 1, 0], np.float32)
        return _Features(cv2.flip(self.thumbnail, 1), points, _mirrored_descriptors(self.descriptors))


def find_groups(paths: Sequence[Path], folder: Path | None = None) -> np.ndarray:
    """Give every image the number of its group: copies and near-duplicates of each other have the same.

    The result is kept in the cache folder under a name made from the contents of all files, so that another run on
    the same files only reads them.

    Args:
        paths: N image files. One that cannot be read is in a group of its own.
        folder: where results are kept; by default the user's cache folder. A folder that cannot be written
            to and a damaged file in it do no harm.

    Returns:
        Group numbers (N,) int, 0 to the number of groups less one.
    """
    contents, first, inverse = np.unique(content_hashes(paths), return_index=True, return_inverse=True)
    kept = _kept_result(contents, folder or cache_folder())
    groups = _load(kept, len(contents))
    if groups is None:
        groups = _group([paths[index] for index in first])
        _save(kept, groups)
    return groups[inverse]


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """The sha256 of each file in hexadecimal; of a file that cannot be read, its path."""
    return _in_parallel(_content_hash, paths, "reading")


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return str(path)


def _group(paths: Sequence[Path]) -> np.ndarray:
    """Group images of different contents: the connected components of the confirmed pairs, (N,) int."""
    features = _in_parallel(_features, paths, "finding keypoints")
    pairs = _confirmed_pairs(features, _candidate_pairs(features))
    graph = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(paths), len(paths)))
    return connected_components(graph, directed=False)[1]


# ---- local features


def _features(path: Path) -> _Features:
    try:
        grey = cv2.cvtColor(read_image(path), cv2.COLOR_BGR2GRAY)
    except MaskDetectionError:
        return _Features(np.zeros((1, 1), np.uint8), np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    working = _scaled(grey, WORKING_SIZE)
    sift = cv2.SIFT.create(MAX_KEYPOINTS, contrastThreshold=0.02, enable_precise_upscale=True)
    keypoints, descriptors = sift.detectAndCompute(working, None)
    keypoints = keypoints[:MAX_KEYPOINTS]  # SIFT keeps more where the last ones are equally strong
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32).reshape(-1, 2)
    points = (points + 0.5) * (THUMBNAIL_SIZE / WORKING_SIZE) - 0.5  # pixel centres lie at whole numbers
    thumbnail = cv2.GaussianBlur(_scaled(working, THUMBNAIL_SIZE), (0, 0), sigmaX=1)  # evens out encoders' noise
    return _Features(thumbnail, points, _root_sift(descriptors)[:MAX_KEYPOINTS])


def _scaled(image: np.ndarray, size: int) -> np.ndarray:
    """Scale so that the longest side is ``size``."""
    factor = size / max(image.shape)
    height, width = (max(1, round(side * factor)) for side in image.shape)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def _root_sift(descriptors: np.ndarray | None) -> np.ndarray:
    """RootSIFT (Arandjelovic and Zisserman, 2012) in steps of 1/512: (k, 128) uint8."""
    if descriptors is None:
        return np.empty((0, 128), np.uint8)
    unit = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1))
    return np.minimum(np.rint(512 * unit), 255).astype(np.uint8)


def _mirrored_descriptors(descriptors: np.ndarray) -> np.ndarray:
    """What SIFT finds at the same places of the mirror image.

    A descriptor is 4 rows by 4 columns by 8 directions, in a frame turned along the keypoint's own direction.
    Mirroring keeps that axis and flips the other one: the rows run backwards, and direction d becomes -d.
    """
    bins = descriptors.reshape(-1, 4, 4, 8)
    return bins[:, ::-1, :, -np.arange(8) % 8].reshape(-1, 128)


# ---- candidates by visual words


def _candidate_pairs(features: Sequence[_Features]) -> np.ndarray:
    """Each image with the images that have most visual words in common with it or with its mirror image.

    Returns:
        Rows (i, j, mirrored), (P, 3) int, i < j, none twice.
    """
    usable = np.flatnonzero([len(each.points) >= MIN_INLIERS for each in features])
    if len(usable) < 2:
        return np.empty((0, 3), int)
    bags, mirrored_bags = _bags_of_words([features[index].descriptors for index in usable.tolist()])
    index = NearestNeighbors(metric="cosine", n_jobs=-1).fit(sparse.vstack([bags, mirrored_bags]))
    count = min(CANDIDATES + 2, 2 * len(usable))  # an image meets itself, and maybe its mirror image
    with config_context(working_memory=128):  # MB, of distances at a time
        neighbours = index.kneighbors(bags, count, return_distance=False)  # (N, count) rows of the index
    mirrored, neighbour = np.divmod(neighbours.ravel(), len(usable))
    image = np.repeat(np.arange(len(usable)), count)
    low, high = usable[np.minimum(image, neighbour)], usable[np.maximum(image, neighbour)]
    pairs = np.column_stack([low, high, mirrored])
    return np.unique(pairs[low < high], axis=0)


def _bags_of_words(descriptors: Sequence[np.ndarray]) -> tuple[sparse.csr_array, sparse.csr_array]:
    """How often each visual word occurs in N images and in their mirror images, tf-idf, each (N, words)."""
    vocabulary = _vocabulary(descriptors)

    def words(of_image: np.ndarray) -> np.ndarray:
        return (of_image.astype(np.float32) @ vocabulary.T).argmax(axis=1)

    image = np.repeat(np.arange(len(descriptors)), [len(each) for each in descriptors])
    word = np.concatenate(_in_parallel(words, descriptors, "reading words"))
    counts = sparse.coo_array((np.ones(len(word), np.float32), (image, word)), (len(descriptors), len(vocabulary)))
    bags = TfidfTransformer(sublinear_tf=True).fit_transform(counts.tocsr())
    return bags, bags[:, np.roll(np.arange(len(vocabulary)), len(vocabulary) // 2)]


def _vocabulary(descriptors: Sequence[np.ndarray]) -> np.ndarray:
    """Descriptors drawn from the images, then their mirror images in the same order: (words, 128) float32."""
    random = np.random.default_rng(0)
    images = random.permutation(len(descriptors))[:VOCABULARY_IMAGES]
    pool = np.concatenate([descriptors[image] for image in images])
    drawn = random.permutation(len(pool))[: min(MAX_WORDS // 2, math.ceil(len(pool) / DESCRIPTORS_PER_WORD))]
    return np.concatenate([pool[drawn], _mirrored_descriptors(pool[drawn])]).astype(np.float32)


# ---- confirmation by geometry and pixels


def _confirmed_pairs(features: Sequence[_Features], pairs: np.ndarray) -> np.ndarray:
    """The rows of ``pairs`` (P, 3) that are near-duplicates."""

    def confirm(block: np.ndarray) -> list[bool]:
        return [
            _are_near_copies(features[i].mirrored() if mirrored else features[i], features[j])
            for i, j, mirrored in block
        ]

    blocks = np.array_split(pairs, math.ceil(len(pairs) / 64) or 1)
    confirmed = _in_parallel(confirm, blocks, "comparing pairs")
    return pairs[np.concatenate(confirmed).astype(bool)]


def _are_near_copies(one: _Features, other: _Features) -> bool:
    matched, partner = _matches(one, other)
    if len(matched) < MIN_INLIERS:
        return False
    affine, inliers = cv2.estimateAffine2D(matched, partner, ransacReprojThreshold=REPROJECTION_ERROR, maxIters=1000)
    if affine is None or not _is_plausible(affine):
        return False
    places = np.unique(partner[inliers.ravel() > 0].round(), axis=0)  # SIFT may find several directions at one place
    return len(places) >= MIN_INLIERS and _agreement(one.thumbnail, other.thumbnail, affine) >= MIN_CORRELATION


def _matches(one: _Features, other: _Features) -> tuple[np.ndarray, np.ndarray]:
    """Points of ``one`` and the points of ``other`` that alone look like them, each (m, 2) float32."""
    query, train = (each.descriptors.astype(np.float32) for each in (one, other))  # OpenCV is 5 times slower on uint8
    distances, indices = cv2.batchDistance(query, train, cv2.CV_32F, normType=cv2.NORM_L2, K=2)
    distinct = distances[:, 0] < RATIO * distances[:, 1]
    return one.points[distinct], other.points[indices[distinct, 0]]


def _is_plausible(affine: np.ndarray) -> bool:
    """Tell whether the map (2, 3) stretches no direction too far, up or down."""
    most, least = np.linalg.svd(affine[:, :2], compute_uv=False)
    return most <= MAX_STRETCH and least >= 1 / MAX_STRETCH


def _agreement(one: np.ndarray, other: np.ndarray, affine: np.ndarray) -> float:
    """Median correlation of the pixels around each place that both thumbnails show, -1 to 1.

    The median lets up to half of the image differ: filled-up borders, a drawing on one of the two. Places without
    contrast don't count, and where too few are left the result is -1.
    """
    size = other.shape[::-1]
    a, b = cv2.warpAffine(one, affine, size).astype(np.float32), other.astype(np.float32)
    shown = cv2.warpAffine(np.full_like(one, 255), affine, size, flags=cv2.INTER_NEAREST)
    inside = cv2.erode(shown, np.ones((WINDOW, WINDOW), np.uint8), borderValue=0) > 0

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (WINDOW, WINDOW))

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    compared = inside & (np.maximum(variance_a, variance_b) > MIN_CONTRAST**2)
    if np.count_nonzero(compared) < MIN_COMPARED * compared.size:
        return -1.0
    correlation = (mean(a * b) - mean_a * mean_b) / np.sqrt(np.maximum(variance_a * variance_b, 1))
    return float(np.median(correlation[compared]))


# ---- kept results


def _kept_result(contents: Iterable[str], folder: Path) -> Path:
    """Where the groups of these contents are kept."""
    key = hashlib.sha256("\n".join([str(VERSION), *contents]).encode())
    return folder / f"near-duplicates-{key.hexdigest()[:32]}.npz"


def _load(path: Path, count: int) -> np.ndarray | None:
    """Read groups (count,); None if there are none, or they are damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            groups = kept["groups"]
    except Exception:  # whatever a damaged archive leads NumPy, zipfile and zlib to raise
        return None
    return groups if groups.shape == (count,) and groups.dtype.kind == "i" else None


def _save(path: Path, groups: np.ndarray) -> None:
    """Keep groups if the folder can be written to; without them the next run only takes longer."""
    with suppress(OSError, MaskDetectionError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            np.savez_compressed(part, groups=groups)


def _in_parallel(function: Callable[[Item], Result], items: Sequence[Item], task: str) -> list[Result]:
    """Map on all cores (OpenCV, NumPy and hashlib let go of Python's lock), with a progress bar on a terminal."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with threadpool_limits(1, "blas"):  # more threads than cores get in each other's way
            return list(tqdm(pool.map(function, items), desc=task, total=len(items), disable=None, leave=False))
    finally:
        pool.shutdown(cancel_futures=True)  # so that an interrupt need not wait for the rest
