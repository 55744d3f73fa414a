from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mask_detection.evaluation.metrics import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    GroundTruth,
    ScoredBoxes,
    average_precision,
    match_boxes,
    match_images,
    precision_recall_curve,
)

WITH, WITHOUT, INCORRECT = "with_mask", "without_mask", "mask_weared_incorrect"
HERE, THERE, ELSEWHERE = [0, 0, 40, 40], [100, 0, 140, 40], [200, 200, 240, 240]


def matches(found: list[tuple[list[int], str, float]], truth: list[tuple[list[int], str]], *args, **options):
    """Match the detections (box, label, score) of one image with its faces (box, label)."""
    boxes, labels, scores = [list(column) for column in zip(*found, strict=True)] or ([], [], [])
    truth_boxes, truth_labels = [list(column) for column in zip(*truth, strict=True)] or ([], [])
    image = ScoredBoxes(boxes, labels, scores), GroundTruth(truth_boxes, truth_labels)
    return match_images([image], *args, **options)


def test_average_precision_by_hand():
    # Right, wrong, right, of 3 faces: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3.
    assert average_precision([0.9, 0.8, 0.7], [True, False, True], 3) == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    # Wrong, right, right, of 2: precision 1/2 at recall 1/2 is lifted to the 2/3 at recall 1.
    assert average_precision([0.7, 0.9, 0.8], [True, False, True], 2) == pytest.approx(2 / 3)


def test_average_precision_at_its_ends():
    assert average_precision([0.2, 0.3], [True, True], 2) == 1
    assert average_precision([0.2, 0.3], [False, False], 2) == 0
    assert average_precision([], [], 2) == 0
    assert np.isnan(average_precision([0.5], [False], 0))


def test_the_curve_follows_descending_scores():
    precision, recall, scores = precision_recall_curve([0.7, 0.9, 0.8], [True, True, False], 4)

    assert scores.tolist() == [0.9, 0.8, 0.7]
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(recall, [1 / 4, 1 / 4, 2 / 4])


def test_a_second_detection_of_a_face_is_false():
    outcome = match_boxes([HERE, HERE], [0.8, 0.9], [HERE], [False])
    assert outcome.tolist() == [FALSE_POSITIVE, TRUE_POSITIVE]


def test_a_detection_takes_the_best_face_that_is_free():
    near, beyond = [4, 0, 44, 40], [14, 0, 54, 40]  # beyond overlaps near enough, but not HERE
    assert match_boxes([HERE, HERE], [0.9, 0.8], [near, HERE], [False] * 2).tolist() == [TRUE_POSITIVE] * 2
    assert match_boxes([HERE, beyond], [0.9, 0.8], [near, HERE], [False] * 2).tolist() == [TRUE_POSITIVE] * 2


def test_an_ignored_face_takes_any_number_but_a_real_one_comes_first():
    outcome = match_boxes([HERE] * 3, [0.9, 0.8, 0.7], [HERE, [4, 0, 44, 40]], [True, False])
    assert outcome.tolist() == [TRUE_POSITIVE, IGNORED, IGNORED]


def test_the_threshold_itself_is_enough():
    half = [0, 0, 40, 20]
    assert match_boxes([half], [0.9], [HERE], [False], 0.5).tolist() == [TRUE_POSITIVE]
    assert match_boxes([half], [0.9], [HERE], [False], 0.51).tolist() == [FALSE_POSITIVE]
    assert match_boxes([ELSEWHERE], [0.9], [HERE], [True], 0.0).tolist() == [FALSE_POSITIVE]


def test_precision_and_recall_above_a_score():
    found = [(HERE, WITH, 0.9), (ELSEWHERE, WITH, 0.6), (THERE, WITH, 0.3)]
    result = matches(found, [(HERE, WITH), (THERE, WITH)])

    assert (result.precision, result.recall) == (pytest.approx(2 / 3), 1)
    assert (result.above(0.6).precision, result.above(0.6).recall) == (1 / 2, 1 / 2)
    assert result.above(0.5).average_precision == 0.5


def test_nothing_found_or_nothing_there_has_no_ratio():
    nothing_found = matches([], [(HERE, WITH)])
    assert (nothing_found.recall, nothing_found.average_precision) == (0, 0)
    assert np.isnan(nothing_found.precision)

    nothing_there = matches([(HERE, WITH, 0.9)], [])
    assert nothing_there.precision == 0
    assert np.isnan([nothing_there.recall, nothing_there.average_precision]).all()

    assert match_images([]).n_ground_truth == 0


def test_the_wrong_class_is_false_but_still_a_face():
    found, truth = [(HERE, WITH, 0.9)], [(HERE, WITHOUT)]

    assert matches(found, truth).precision == 1
    assert matches(found, truth, WITH).precision == 0
    assert matches(found, truth, WITHOUT).recall == 0


def test_ignored_labels_count_neither_for_nor_against():
    found = [(HERE, WITH, 0.9), (THERE, WITH, 0.8), (THERE, WITHOUT, 0.7)]
    truth = [(HERE, WITH), (THERE, INCORRECT)]

    result = matches(found, truth, WITH, ignored_labels=[INCORRECT])
    assert (result.precision, result.recall, result.n_ground_truth) == (1, 1, 1)
    assert len(matches(found, truth, WITHOUT, ignored_labels=[INCORRECT]).scores) == 0
    assert matches(found, truth, WITH).precision == 0.5


def test_small_faces_and_small_detections_drop_out_of_a_stratum():
    small, smaller = [300, 0, 315, 15], [300, 0, 315, 12]
    found = [(HERE, WITH, 0.9), (small, WITH, 0.8), ([0, 300, 15, 315], WITH, 0.7), (ELSEWHERE, WITH, 0.6)]
    truth = [(HERE, WITH), (THERE, WITH), (smaller, WITH)]

    everything = matches(found, truth)
    assert (everything.n_ground_truth, everything.precision) == (3, 0.5)
    large = matches(found, truth, min_size=16)
    assert (large.n_ground_truth, large.precision, large.recall) == (2, 0.5, 0.5)
    assert matches(found, truth, min_size=40).n_ground_truth == 2  # the limit itself is large enough


def test_a_large_face_found_too_small_still_counts():
    found, truth = [([0, 0, 30, 30], WITH, 0.9)], [([0, 0, 33, 33], WITH)]
    assert matches(found, truth, min_size=32).recall == 1


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="unequal length"):
        GroundTruth([HERE], [])
    with pytest.raises(ValueError, match="unequal length"):
        ScoredBoxes([HERE], [WITH], [])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(42)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, 250, (count, 2))
    return np.hstack([corners, corners + rng.uniform(5, 140, (count, 2))])


def xywh(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def random_image(rng: np.random.Generator) -> tuple[ScoredBoxes, GroundTruth]:
    """Faces, most of them found about where they are, some twice or under another class, and false alarms."""
    n_faces = rng.integers(0, 9)
    boxes, labels = random_boxes(rng, n_faces), rng.choice([WITH, WITHOUT, INCORRECT], n_faces)
    seen = rng.choice(n_faces, rng.integers(0, 2 * n_faces + 1)) if n_faces else np.empty(0, int)
    sides = np.tile(boxes[seen, 2:] - boxes[seen, :2], 2)
    found = np.vstack([boxes[seen] + rng.normal(0, 0.05, sides.shape) * sides, random_boxes(rng, 3)])
    guesses = np.where(rng.random(len(seen)) < 0.8, labels[seen], WITH)
    found_labels = np.concatenate([guesses, rng.choice([WITH, WITHOUT], 3)])
    return ScoredBoxes(found, found_labels, rng.random(len(found))), GroundTruth(boxes, labels)


class DenseCocoEval(COCOeval):
    """COCO's evaluation at IoU 0.5, with a dense precision-recall curve and ordinary IoU for crowds.

    A crowd takes any number of detections, as our ignored boxes do, but its intersections are divided by the
    detection's area alone.
    """

    def __init__(self, truth: COCO, found: COCO, min_size: float) -> None:
        super().__init__(truth, found, "bbox")
        self.params.iouThrs = np.array([0.5])
        self.params.recThrs = np.linspace(0, 1, 10_001)
        self.params.areaRng, self.params.areaRngLbl = [[min_size**2, 1e10]], ["large"]
        self.params.maxDets = [1000]

    def computeIoU(self, imgId: int, catId: int):  # noqa: N802, N803 (COCO's names)
        found, truth = self._dts[imgId, catId], self._gts[imgId, catId]
        if not found or not truth:
            return []
        order = np.argsort([-box["score"] for box in found], kind="stable")
        boxes = np.array([found[i]["bbox"] for i in order])
        return coco_mask.iou(boxes, np.array([box["bbox"] for box in truth]), [0] * len(truth))


def coco_average_precision(images: list, label: str, ignored: list[str], min_size: float) -> float:
    """The same from pycocotools, where what is to be ignored is a crowd."""
    truths, founds = [], []
    for image_id, (found, truth) in enumerate(images, start=1):
        for box, name in zip(xywh(truth.boxes), truth.labels, strict=True):
            if name == label or name in ignored:
                is_crowd = name in ignored or box[2] * box[3] < min_size**2
                truths.append(coco_record(len(truths) + 1, image_id, box) | {"iscrowd": int(is_crowd)})
        asked = found.labels == label
        for box, score in zip(xywh(found.boxes)[asked], found.scores[asked], strict=True):
            founds.append(coco_record(len(founds) + 1, image_id, box) | {"score": float(score)})
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i + 1} for i in range(len(images))],
        "annotations": truths,
        "categories": [{"id": 1}],
    }
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = DenseCocoEval(coco, coco.loadRes(founds), min_size)
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"].mean())


def coco_record(record_id: int, image_id: int, box: np.ndarray) -> dict:
    return {
        "id": record_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": box.tolist(),
        "area": float(box[2] * box[3]),
    }


@pytest.mark.parametrize("min_size", [0, 16, 32, 64])
@pytest.mark.parametrize("label", [WITH, WITHOUT])
@pytest.mark.parametrize("ignored", [[], [INCORRECT]])
def test_average_precision_agrees_with_pycocotools(rng, label, ignored, min_size):
    images = [random_image(rng) for _ in range(100)]
    ours = match_images(images, label, ignored_labels=ignored, min_size=min_size).average_precision

    assert 0.1 < ours < 0.95
    assert ours == pytest.approx(coco_average_precision(images, label, ignored, min_size), abs=0.0005)
