"""The face detector's targets, decoding, loss and images: what each of them promises, without any training."""

from __future__ import annotations

import numpy as np
import pytest

from mask_detection.models.face_detector import keep_faces
from mask_detection.models.fcos import (
    CLASSES,
    DISTANCES,
    FACE,
    STRIDES,
    cell_centres,
    cell_strides,
    decode,
)
from mask_detection.training.detector.dataset import LabelledImage
from mask_detection.training.detector.mosaic import MIN_FACE, make_image, random_window
from mask_detection.training.detector.targets import (
    IGNORED,
    TARGET_CLASS,
    TARGET_DISTANCES,
    TARGET_FACE,
    UNKNOWN_CLASS,
    make_targets,
)
from mask_detection.utils.boxes import box_iou

pytestmark = pytest.mark.xdist_group("tensorflow")

SIZE = (320, 416)  # height, width of the network's input
WITH_MASK, WITHOUT_MASK = 0, 1
FACES = np.array([[10, 12, 18, 20], [40, 40, 70, 78], [120, 30, 230, 150], [250, 60, 410, 310]], np.float32)
LABELS = np.array([WITH_MASK, WITHOUT_MASK, WITHOUT_MASK, WITH_MASK])


def perfect_answer(targets: np.ndarray) -> np.ndarray:
    """What a network that knows the targets would say, (L, 7)."""
    outputs = np.zeros((len(targets), 7), np.float32)
    outputs[:, FACE] = np.where(targets[:, TARGET_FACE] > 0, 6, -6)
    outputs[:, DISTANCES] = np.log(np.maximum(targets[:, TARGET_DISTANCES], 1e-3))
    positive = np.flatnonzero(targets[:, TARGET_CLASS] >= 0)
    outputs[positive, CLASSES.start + targets[positive, TARGET_CLASS].astype(int)] = 8
    return outputs


def test_what_is_asked_for_is_what_comes_out_again():
    outputs = perfect_answer(make_targets(FACES, LABELS, SIZE))

    boxes, scores, probabilities = decode(outputs, SIZE, 0.5)
    found, kept = keep_faces(boxes, scores, SIZE, 0.5)

    order = np.argsort(found[:, 0])
    assert found[order].tolist() == FACES.astype(int).tolist()
    assert probabilities[kept][order].argmax(axis=1).tolist() == LABELS.tolist()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("side", [8, 16, 40, 56, 96, 128, 200, 310])
def test_every_face_is_somebodys_wherever_it_is(side):
    rng = np.random.default_rng(side)
    for corner in rng.uniform(0, np.array(SIZE[::-1]) - side, (20, 2)):
        targets = make_targets(np.array([[*corner, *corner + side]]), np.array([WITH_MASK]), SIZE)
        positive = targets[targets[:, TARGET_FACE] > 0]
        assert len(positive)
        assert (positive[:, TARGET_DISTANCES] >= 0).all()


def test_of_two_faces_at_one_place_the_smaller_counts():
    inner, outer = [90, 90, 130, 130], [60, 60, 160, 160]
    targets = make_targets(np.array([outer, inner], float), np.array([WITH_MASK, WITHOUT_MASK]), SIZE)
    both_are_meant = cell_strides(*SIZE) == STRIDES[1]
    at_middle = np.abs(cell_centres(*SIZE) - 110).max(axis=1) < STRIDES[1]
    classes = targets[both_are_meant & at_middle & (targets[:, TARGET_FACE] > 0), TARGET_CLASS]
    assert len(classes)
    assert set(classes) == {WITHOUT_MASK}


def test_a_image_without_faces_asks_for_nothing():
    targets = make_targets(np.empty((0, 4)), np.empty(0, int), SIZE)
    assert not targets[:, TARGET_FACE].any()


def test_an_ignored_face_is_neither_right_nor_wrong():
    targets = make_targets(FACES, np.where(LABELS == WITHOUT_MASK, IGNORED, LABELS), SIZE)
    for box, label in zip(FACES, LABELS, strict=True):
        inside = ((cell_centres(*SIZE) >= box[:2]) & (cell_centres(*SIZE) < box[2:])).all(axis=1)
        if label == WITHOUT_MASK:
            assert set(targets[inside, TARGET_FACE]) == {-1}
        else:
            assert 1 in targets[inside, TARGET_FACE]
    assert (targets[:, TARGET_FACE] == 0).sum() > 2000


def test_a_face_of_no_class_is_a_face_all_the_same():
    known = make_targets(FACES, LABELS, SIZE)
    unknown = make_targets(FACES, np.full(4, UNKNOWN_CLASS), SIZE)
    assert (known[:, TARGET_FACE] == unknown[:, TARGET_FACE]).all()
    assert (unknown[:, TARGET_CLASS] == UNKNOWN_CLASS).all()


# --- the loss ---


@pytest.fixture(scope="module")
def loss():
    """The loss as a function of one image's targets and outputs."""
    from mask_detection.training.detector.loss import make_loss
    from mask_detection.utils.tensorflow import start_tensorflow

    start_tensorflow()
    whole = make_loss([1.0, 1.0])
    return lambda targets, outputs: float(whole(targets[None], outputs[None]))


def test_a_perfect_answer_costs_next_to_nothing(loss):
    targets = make_targets(FACES, LABELS, SIZE)
    assert loss(targets, perfect_answer(targets)) < 0.01


@pytest.mark.parametrize(
    ("column", "change"), [(FACE, -12.0), (DISTANCES, 0.5), (CLASSES.start, 30.0)], ids=["face", "sides", "class"]
)
def test_each_kind_of_mistake_costs(loss, column, change):
    targets = make_targets(FACES, LABELS, SIZE)
    outputs = perfect_answer(targets)
    outputs[:, column] += change
    assert loss(targets, outputs) > 0.2


def test_what_does_not_matter_costs_nothing(loss):
    targets = make_targets(FACES, np.array([IGNORED, UNKNOWN_CLASS, IGNORED, WITH_MASK]), SIZE)
    outputs = perfect_answer(targets)
    before = loss(targets, outputs)
    outputs[targets[:, TARGET_FACE] == -1, FACE] = 20
    outputs[targets[:, TARGET_FACE] != 1, DISTANCES] = 3
    is_unknown = (targets[:, TARGET_FACE] != 0) & (targets[:, TARGET_CLASS] == UNKNOWN_CLASS)
    outputs[is_unknown, CLASSES] = [-9, 9]
    assert loss(targets, outputs) == pytest.approx(before)


def test_a_confident_class_where_no_face_is_costs_only_who_takes_it_for_one(loss):
    targets = make_targets(np.empty((0, 4)), np.empty(0, int), SIZE)
    even, confident = np.zeros((2, len(targets), 7), np.float32)
    confident[:, CLASSES] = [5, -5]
    for outputs in (even, confident):
        outputs[:, FACE] = -6
    indifferent = loss(targets, confident) - loss(targets, even)
    for outputs in (even, confident):
        outputs[:10, FACE] = 2
    assert loss(targets, confident) - loss(targets, even) > indifferent + 5


def test_rare_classes_may_count_more():
    from mask_detection.training.detector.loss import make_loss

    targets = make_targets(FACES, LABELS, SIZE)
    outputs = perfect_answer(targets)
    outputs[targets[:, TARGET_CLASS] == WITH_MASK, CLASSES] = 0
    costs = [float(make_loss(weights)(targets[None], outputs[None])) for weights in ([1.0, 1.0], [3.0, 1.0])]
    perfect = float(make_loss([1.0, 1.0])(targets[None], perfect_answer(targets)[None]))
    assert costs[1] - perfect == pytest.approx(3 * (costs[0] - perfect), rel=0.01)


# --- the teacher ---


def taught(outputs: np.ndarray, teacher: np.ndarray) -> float:
    """What it costs to give these outputs where a teacher gives those, (L, 7) each."""
    from mask_detection.training.detector.loss import teacher_loss

    return float(teacher_loss(teacher[None], outputs[None]))


def test_who_does_as_the_teacher_does_pays_nothing():
    teacher = perfect_answer(make_targets(FACES, LABELS, SIZE))
    assert taught(teacher, teacher) == pytest.approx(0, abs=0.02)
    for column, change in ((FACE, -6), (DISTANCES, 0.5), (CLASSES.start, -20)):
        outputs = teacher.copy()
        outputs[:, column] += change
        assert taught(outputs, teacher) > 0.05


def test_a_class_that_the_teacher_does_not_know_is_left_to_the_labels():
    teacher = perfect_answer(make_targets(FACES, LABELS, SIZE))
    wider = np.hstack([teacher, np.full((len(teacher), 1), np.nan, np.float32)])
    outputs = np.hstack([teacher, np.full((len(teacher), 1), 4, np.float32)])
    assert taught(outputs, wider) == pytest.approx(taught(teacher, teacher), abs=1e-4)


def test_generalised_iou_is_that_of_the_boxes():
    from mask_detection.training.detector.loss import generalised_iou

    rng = np.random.default_rng(1)
    truth, found = rng.uniform(0.1, 5, (2, 50, 4)).astype(np.float32)
    a, b = (np.hstack([-each[:, :2], each[:, 2:]]) for each in (truth, found))
    iou = np.diag(box_iou(a, b))
    hull = (np.maximum(a, b)[:, 2:] - np.minimum(a, b)[:, :2]).prod(axis=1)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (a, b)]
    union = sum(areas) / (1 + iou)

    np.testing.assert_allclose(generalised_iou(truth, np.log(found)), iou - (hull - union) / hull, atol=1e-4)


# --- images to learn from ---


def marked_photo(rng: np.random.Generator, count: int = 3) -> LabelledImage:
    """Dark noise with bright blocks for faces: what is bright afterwards is a face."""
    image = rng.integers(0, 60, (240, 320, 3), np.uint8)
    columns = rng.permutation(4)[:count] * 80
    corners = np.column_stack([columns + 10, rng.integers(0, 170, count)])
    boxes = np.hstack([corners, corners + rng.integers(12, 60, (count, 1))])
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return LabelledImage(image, boxes.astype(np.float32), rng.integers(0, 2, count))


def test_windows_keep_faces_and_boxes_together():
    sizes = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        window = random_window(marked_photo(rng), (160, 192), rng)
        assert window.image.shape == (160, 192, 3)
        assert len(window.boxes) == len(window.labels)
        for (x1, y1, x2, y2), label in zip(window.boxes.round().astype(int), window.labels, strict=True):
            assert 0 <= x1 <= x2 <= 192
            assert 0 <= y1 <= y2 <= 160
            if label != IGNORED:
                inner = window.image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
                assert inner.mean() > 240
                assert min(x2 - x1, y2 - y1) >= MIN_FACE - 1
                sizes.append(max(x2 - x1, y2 - y1))
    assert min(sizes) < 16
    assert max(sizes) > 100


def test_the_photo_itself_is_left_alone():
    rng = np.random.default_rng(0)
    photo = marked_photo(rng)
    image, boxes, labels = photo.image.copy(), photo.boxes.copy(), photo.labels.copy()
    for _ in range(20):
        make_image(lambda _: photo, 96, rng)
    assert (photo.image == image).all()
    assert (photo.boxes == boxes).all()
    assert (photo.labels == labels).all()


def test_what_is_too_small_to_tell_is_ignored():
    boxes = np.array([[10, 10, 300, 300], [350, 350, 354, 354]], np.float32)
    photo = LabelledImage(np.zeros((400, 400, 3), np.uint8), boxes, np.array([WITH_MASK, WITHOUT_MASK]))
    seen = set()
    for seed in range(40):
        window = random_window(photo, (160, 160), np.random.default_rng(seed))
        for (x1, y1, x2, y2), label in zip(window.boxes, window.labels, strict=True):
            if min(x2 - x1, y2 - y1) < MIN_FACE:
                assert label == IGNORED
                seen.add(label)
    assert seen == {IGNORED}


def test_of_a_face_that_is_half_cut_off_the_class_is_not_asked():
    neighbours = np.array([[0, 0, 100, 100], [110, 0, 210, 100]], np.float32)
    photo = LabelledImage(np.zeros((100, 210, 3), np.uint8), neighbours, np.array([WITH_MASK, WITH_MASK]))
    labels = set()
    for seed in range(200):
        window = random_window(photo, (96, 96), np.random.default_rng(seed))
        width, height = (window.boxes[:, 2:] - window.boxes[:, :2]).T
        labels.update(window.labels[(width < 0.6 * height) & (width >= MIN_FACE)].tolist())
    assert labels == {UNKNOWN_CLASS, IGNORED}


def test_the_same_state_gives_the_same_image():
    rng = np.random.default_rng(3)
    photos = [marked_photo(rng) for _ in range(4)]
    one, other = (make_image(lambda rng: photos[rng.integers(4)], 128, np.random.default_rng(7)) for _ in range(2))
    assert (one.image == other.image).all()
    assert (one.boxes == other.boxes).all()


def test_photos_without_faces_make_images_too():
    empty = LabelledImage(np.zeros((50, 80, 3), np.uint8), np.empty((0, 4), np.float32), np.empty(0, int))
    image = make_image(lambda _: empty, 96, np.random.default_rng(0))
    assert image.image.shape == (96, 96, 3)
    assert image.boxes.shape == (0, 4)
