"""What the training of a face detector starts from: weights of other networks, narrowed; and faces nobody marked."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mask_detection.models.builtin_detector import BuiltinFaceDetector, DetectorNetwork, write_detector
from mask_detection.models.face_detector import FaceDetector
from mask_detection.models.fcos import (
    CLASSES,
    LIGHT_WIDTHS,
    MOBILENET_WIDTHS,
    Widths,
    build_detector,
    layer_weights,
    widths_of,
)
from mask_detection.training.detector import pruning
from mask_detection.training.detector.dataset import DOUBTFUL, NO_CLASS
from mask_detection.training.detector.operating_point import add_class_bias
from mask_detection.training.detector.pruning import Regression, choose_channels, prune, start_model
from mask_detection.training.detector.start import fold_backbone, read_detector_weights, start_weights
from mask_detection.training.detector.teacher import Teacher
from mask_detection.training.detector.unmarked import unmarked_faces
from mask_detection.utils.boxes import box_iou
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.drawn_faces import CLASS_NAMES, draw_scene
from tests.helpers.paths import FIXTURES, ROOT

pytestmark = pytest.mark.xdist_group("tensorflow")

TINY_DETECTOR = FIXTURES / "tiny_detector.tflite"
IMAGE = np.random.default_rng(3).uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def tiny():
    """The tiny detector with the weights of its file."""
    weights = read_detector_weights(TINY_DETECTOR)
    return build_detector(len(CLASS_NAMES), widths_of(weights), weights)


def scene(seed: int) -> np.ndarray:
    """(1, 224, 320, 3) float32 RGB in -1..1."""
    image, _, _ = draw_scene(np.random.default_rng(seed), 320, 224)
    return (image[None, ..., ::-1] / 127.5 - 1).astype(np.float32)


# --- weights ---


def test_the_weights_of_a_file_are_those_of_its_network(tiny):
    expected = DetectorNetwork(TINY_DETECTOR).predict(scene(1))
    np.testing.assert_allclose(tiny(scene(1)).numpy()[0], expected, atol=0.5)


def test_the_weights_of_older_files_with_one_layer_more_are_read(shipped_weights):
    assert widths_of(shipped_weights) == MOBILENET_WIDTHS
    assert shipped_weights["lateral_32"][0].shape == (1, 1, 960, 64)


@pytest.fixture(scope="module")
def shipped_weights():
    """Those of the shipped detector."""
    return read_detector_weights(ROOT / "face_detector" / "mask_face_detector.tflite")


def test_a_class_that_the_start_does_not_know_is_improbable_at_first():
    names = ("a new one", *CLASS_NAMES[::-1])
    old, new = read_detector_weights(TINY_DETECTOR), start_weights(TINY_DETECTOR, names)
    kernel, bias = new["classes_8"]
    np.testing.assert_array_equal(kernel[..., 1:], old["classes_8"][0][..., ::-1])
    np.testing.assert_array_equal(bias[1:], old["classes_8"][1][::-1])
    assert (kernel[..., 0] == 0).all()
    assert bias[0] < 0


@pytest.mark.parametrize("file", [FIXTURES / "tiny.tflite", FIXTURES / "classic_expected.json"], ids=lambda p: p.name)
def test_files_of_other_networks_are_refused(file):
    with pytest.raises(MaskDetectionError, match="give another --init"):
        read_detector_weights(file)


def test_batch_normalisation_is_folded_in():
    import keras

    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 96, 3))
    rng = np.random.default_rng(1)
    values = [rng.uniform(0.5, 1.5, each.shape) if each.ndim == 1 else each for each in backbone.get_weights()]
    backbone.set_weights(values)
    folded = build_detector(2, MOBILENET_WIDTHS, fold_backbone(values))
    for name in ("block_6_expand_relu", "block_13_expand_relu"):
        expected, found = (
            keras.Model(model.input, model.get_layer(name).output)(IMAGE).numpy() for model in (backbone, folded)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_what_it_has_learned_survives_the_export(tiny, tmp_path):
    examples = [cv2.resize(scene(seed)[0], (160, 128))[None] for seed in range(20)]
    write_detector(tmp_path / "mask_face_detector.tflite", tiny, CLASS_NAMES, 160, examples)
    detector = BuiltinFaceDetector(tmp_path, detect_size=160)
    n_faces = n_found = n_false = 0
    for seed in range(100, 120):
        image, boxes, _ = draw_scene(np.random.default_rng(seed), 320, 224)
        found, _ = detector.detect(image)
        overlaps = box_iou(boxes, found) >= 0.5
        n_faces, n_found = n_faces + len(boxes), n_found + overlaps.any(axis=1).sum()
        n_false += (~overlaps.any(axis=0)).sum()
    assert n_found > 0.8 * n_faces
    assert n_false < 0.2 * n_faces


# --- narrowing ---


def moments(features: np.ndarray, values: np.ndarray) -> Regression:
    """The regression of values (n, K) from features (n, C)."""
    x, y = (each - each.mean(axis=0) for each in (features, values))
    n = len(features)
    covariance = x.T @ x / n + 1e-6 * np.eye(x.shape[1])
    return Regression(features.mean(axis=0), covariance, values.mean(axis=0), x.T @ y / n, float((y**2).sum() / n))


def test_channels_that_others_can_stand_in_for_are_dropped():
    rng = np.random.default_rng(5)
    independent = rng.normal(size=(500, 4))
    features = np.hstack([independent, independent[:, :2] @ rng.normal(size=(2, 3)), rng.normal(size=(500, 1))])
    values = independent @ rng.normal(size=(4, 6)) + 3  # the last feature tells nothing of them
    regression = moments(features, values)

    kept = choose_channels([regression], 4)
    kernel, bias = regression.solve(kept)

    assert 7 not in kept
    assert {2, 3} <= set(kept.tolist())
    np.testing.assert_allclose(features @ kernel[0, 0] + bias, values, atol=1e-2)
    assert not kernel[0, 0, np.setdiff1d(np.arange(8), kept)].any()


def test_a_channel_that_one_of_two_readers_needs_is_kept():
    rng = np.random.default_rng(6)
    features = rng.normal(size=(300, 3))
    first, second = moments(features, features[:, :1]), moments(features, 0.01 * features[:, 2:])
    assert choose_channels([first, second], 2).tolist() == [0, 2]


def test_a_narrower_network_does_nearly_what_the_wide_one_does(tiny):
    inputs = [scene(seed) for seed in range(4)]
    wide = widths_of(layer_weights(tiny))
    narrower = Widths(wide.stem - 1, tuple(width - 2 for width in wide.expansions), wide.pyramid - 2)

    narrow = prune(tiny, narrower, inputs)

    assert widths_of(layer_weights(narrow)) == narrower
    cut_off = build_detector(len(CLASS_NAMES), narrower, _cut(layer_weights(tiny), layer_weights(narrow)))
    expected = tiny(inputs[0]).numpy()
    errors = [np.abs(model(inputs[0]).numpy() - expected)[..., : CLASSES.start].mean() for model in (narrow, cut_off)]
    assert errors[0] < 0.7 * errors[1]


def _cut(weights, like):
    """The first channels of each layer, for comparison."""
    return {
        name: tuple(array[tuple(map(slice, target.shape))] for array, target in zip(weights[name], pair, strict=True))
        for name, pair in like.items()
    }


def test_a_network_that_is_narrow_enough_is_left_alone_and_kept_for_a_resumed_run(tiny, tmp_path, monkeypatch):
    record = tmp_path / "start.npz"
    monkeypatch.setattr(pruning, "prune", lambda *_: pytest.fail("it was narrowed"))
    model = start_model(CLASS_NAMES, TINY_DETECTOR, LIGHT_WIDTHS, [], record)
    again = start_model(CLASS_NAMES, tmp_path / "not needed", LIGHT_WIDTHS, [], record)
    for other in (model, again):
        np.testing.assert_allclose(other(IMAGE).numpy(), tiny(IMAGE).numpy(), atol=1e-5)


@pytest.mark.parametrize("widths", [LIGHT_WIDTHS, MOBILENET_WIDTHS])
def test_weights_that_keras_wrote_are_of_either_width(widths, tmp_path):
    model = build_detector(3, widths)
    model.save_weights(tmp_path / "mine.weights.h5")
    weights = start_weights(tmp_path / "mine.weights.h5", ("a", "b", "c"))
    assert widths_of(weights) == widths
    for name, pair in layer_weights(model).items():
        for array, expected in zip(weights[name], pair, strict=True):
            np.testing.assert_array_equal(array, expected)


# --- the teacher, the bias ---


def test_the_teachers_columns_are_the_learners():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    own = Teacher(TINY_DETECTOR, CLASS_NAMES).predict(image)
    other = Teacher(TINY_DETECTOR, ["new", *CLASS_NAMES[::-1]]).predict(image)
    np.testing.assert_array_equal(other[:, : CLASSES.start], own[:, : CLASSES.start])
    np.testing.assert_array_equal(other[:, CLASSES.start + 1 :], own[:, CLASSES][:, ::-1])
    assert np.isnan(other[:, CLASSES.start]).all()


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(MaskDetectionError, match="mask_weared_incorrect is none of the photos'"):
        Teacher(TINY_DETECTOR, ("with_mask", "without_mask"))


def test_a_bias_moves_one_class_at_all_levels(tiny):
    before = tiny(IMAGE).numpy()
    add_class_bias(tiny, 1, 0.75)
    moved = tiny(IMAGE).numpy() - before
    add_class_bias(tiny, 1, -0.75)
    np.testing.assert_allclose(moved[..., CLASSES.start + 1], 0.75, atol=1e-4)
    np.testing.assert_allclose(np.delete(moved, CLASSES.start + 1, axis=-1), 0, atol=1e-4)


# --- faces that nobody marked ---


class Witness(FaceDetector):
    """Finds the faces that are set."""

    def __init__(self, boxes: list, confidences: list[float], probabilities: list | None = None) -> None:
        super().__init__(0.2)
        self.class_names = () if probabilities is None else ("with_mask", "without_mask")
        self._found = np.array(boxes, float).reshape(-1, 4), np.array(confidences)
        self._probabilities = np.array(probabilities or np.empty((len(boxes), 0)))

    def propose(self, frame):
        return self._found

    def propose_with_classes(self, frame):
        return *self._found, self._probabilities


def test_a_face_is_added_where_both_find_it():
    marked, agreed, unclear, alone, shy = ([x, 10, x + 20, 34] for x in (0, 30, 60, 90, 120))
    near = [32, 11, 51, 35]
    yunet = Witness([marked, near, unclear, [150, 50, 170, 70], shy], [0.9, 0.8, 0.7, 0.6, 0.3])
    builtin = Witness(
        [marked, agreed, unclear, alone, shy],
        [0.9, 0.8, 0.75, 0.7, 0.6],
        [[1, 0], [0.02, 0.98], [0.6, 0.4], [1, 0], [1, 0]],
    )
    image = np.zeros((80, 200, 3), np.uint8)

    boxes, labels = unmarked_faces(image, np.array([[2, 12, 22, 40]], float), (yunet, builtin))

    found = {tuple(box): label for box, label in zip(boxes.astype(int).tolist(), labels, strict=True)}
    assert found == {
        tuple(agreed): "without_mask",
        tuple(unclear): NO_CLASS,
        tuple(alone): DOUBTFUL,
        tuple(shy): DOUBTFUL,
        (150, 50, 170, 70): DOUBTFUL,
    }
