"""The page's modules one by one, against the Python that they follow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mask_detection.commands import site as sites
from mask_detection.inference.classes import worn_wrong_columns
from mask_detection.inference.detections import Detections
from mask_detection.inference.joining import NOSE_SEEN_FROM, Join, weigh_worn_wrong
from mask_detection.inference.tracking import Tracker
from mask_detection.models.builtin_detector import DetectorNetwork
from mask_detection.models.face_detector import keep_faces
from mask_detection.models.fcos import STRIDES, decode
from mask_detection.models.preprocessing import crop_squares, scaled
from mask_detection.utils.defaults import BUILTIN_DETECTOR_FILE
from tests.helpers.paths import FIXTURES

pytestmark = pytest.mark.xdist_group("browser")

THREE = ("mask_weared_incorrect", "with_mask", "without_mask")
TWO = THREE[1:]


@pytest.fixture(scope="module")
def in_module(launch, server):
    """A function that runs JavaScript with a module's functions in reach, and gives what it returns."""
    page = launch().new_page()
    page.goto(f"{server.address}settings.json")  # the same host, and nothing else is running

    def run(module: str, body: str, argument: Any = None) -> Any:
        script = f"async (argument) => {{ const m = await import('./{module}'); {body} }}"
        return page.evaluate(script, argument)

    yield run
    page.close()


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return json.loads(json.dumps(sites.settings(THREE, DetectorNetwork(BUILTIN_DETECTOR_FILE))))


SIZES = [  # width, height, and those to scale to
    *((7, 5, 3, 2), (3, 1, 1, 1), (1, 1, 224, 224), (600, 400, 300, 200), (640, 480, 640, 480)),
    *((700, 500, 224, 224), (301, 77, 224, 224), (90, 333, 224, 224), (512, 600, 355, 416), (41, 30, 224, 224)),
]


@pytest.mark.parametrize("seed", range(20))
def test_scaling_is_opencvs_to_the_last_bit(in_module, seed):
    rng = np.random.default_rng(seed)
    sizes = SIZES[seed] if seed < len(SIZES) else rng.integers(1, 300, 4)
    width, height, new_width, new_height = map(int, sizes)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    rgba = np.dstack([image, np.zeros((height, width), np.uint8)])

    result = in_module(
        "preprocessing.js",
        """const [text, ...sizes] = argument;
           const data = Uint8ClampedArray.from(atob(text), (letter) => letter.charCodeAt(0));
           const image = { data, width: sizes[0], height: sizes[1] };
           return [...m.scaled(image, sizes[2], sizes[3]).data];""",
        [_base64(rgba), width, height, new_width, new_height],
    )

    found = np.array(result, np.uint8).reshape(new_height, new_width, 4)[..., :3]
    np.testing.assert_array_equal(found, scaled(image, (new_width, new_height)))


def _base64(array: np.ndarray) -> str:
    from base64 import b64encode

    return b64encode(array.tobytes()).decode()


def test_crops_are_the_same(in_module):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 200, (100, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1] + 1], axis=1)
    body = "return argument.map((box) => m.cropSquare(box, { width: 201, height: 201 }, 0.15));"
    found = in_module("preprocessing.js", body, boxes.tolist())
    np.testing.assert_array_equal(found, crop_squares(boxes, (201, 201), 0.15))


def test_decoding_gives_the_same_faces(in_module, settings):
    rng = np.random.default_rng(1)
    height, width, scale = 160, 224, 224 / 300
    n_cells = sum(height // stride * (width // stride) for stride in STRIDES)
    outputs = rng.normal((-2, 0.7, 0.7, 0.7, 0.7, 0, 0, 0), (2, 0.6, 0.6, 0.6, 0.6, 2, 2, 2), (n_cells, 8))
    outputs = outputs.astype(np.float32)
    boxes, scores, probabilities = decode(outputs, (height, width), 0.5)
    kept, order = keep_faces(boxes / scale, scores, (210, 300), 0.5)
    assert len(boxes) > len(kept) > 10

    found = in_module(
        "decoding.js",
        """const [outputs, input, settings] = argument;
           const pass = { min_face: 0, max_face: null };
           const found = m.proposals(Float32Array.from(outputs), input, pass, 3, 0.5, settings);
           return m.keepFaces(found, { width: 300, height: 210 }, settings);""",
        [outputs.ravel().tolist(), {"width": width, "height": height, "scale": scale}, settings["detector"]],
    )

    assert [face["box"] for face in found] == kept.tolist()
    np.testing.assert_allclose([face["confidence"] for face in found], scores[order], rtol=1e-6)
    np.testing.assert_allclose([face["probabilities"] for face in found], probabilities[order], rtol=1e-5)


def test_worn_wrong_is_weighed_alike(in_module):
    names = ("mask_weared_incorrect", "with_mask", "without_mask")
    random = np.random.default_rng(3)
    probabilities = random.dirichlet(np.ones(3), 40).astype(np.float32)
    boxes = np.column_stack([np.zeros((40, 2), int), random.integers(1, 90, (40, 2))])
    rule = {"columns": worn_wrong_columns(names), "nose_seen_from": NOSE_SEEN_FROM}
    body = "const [a, boxes, rule] = argument; return a.map((row, i) => m.weighWornWrong(row, boxes[i], rule));"
    found = in_module("decoding.js", body, [probabilities.tolist(), boxes.tolist(), rule])
    np.testing.assert_array_equal(np.float32(found), weigh_worn_wrong(probabilities, boxes, names))


@pytest.mark.parametrize(("classifier", "detector"), [(TWO, TWO), (THREE, TWO), (THREE, THREE[::-1]), (TWO, THREE)])
def test_probabilities_are_joined_alike(in_module, classifier, detector):
    rng = np.random.default_rng(2)
    of_classifier = rng.dirichlet(np.ones(len(classifier)), 20).astype(np.float32)
    of_detector = rng.dirichlet(np.ones(len(detector)), 20).astype(np.float32)
    join = Join(classifier, detector)
    body = "const [a, b, rule] = argument; return a.map((row, i) => m.join(row, b[i], rule));"
    found = in_module("decoding.js", body, [of_classifier.tolist(), of_detector.tolist(), join.columns])
    np.testing.assert_allclose(found, join(of_classifier, of_detector), rtol=1e-6)


def test_tracks_are_the_same_and_classified_at_the_same_times(in_module, settings):
    frames = list(_frames(np.random.default_rng(3)))
    tracker, expected, n_classified = Tracker(), [], []
    for time, boxes, scores, predictions in frames:
        shaped = np.int32(boxes).reshape(-1, 4), np.float32(scores).reshape(-1, 2)
        found = Detections(shaped[0], np.ones(len(boxes), np.float32), shaped[1], TWO)
        asked: list[list[int]] = []

        def classify(due, predictions=predictions, boxes=boxes, asked=asked):
            asked.extend(due.boxes.tolist())
            columns = [predictions[boxes.index(box)] for box in due.boxes.tolist()]
            probabilities = np.array(columns, np.float32).reshape(-1, len(THREE))
            return Detections(due.boxes, due.face_confidences, probabilities, THREE)

        tracked = tracker.update(found, time, classify)
        expected.append((tracked.track_ids.tolist(), tracked.probabilities.tolist()))
        n_classified.append(asked)
    assert 0 < sum(map(len, n_classified)) < sum(len(boxes) for _, boxes, _, _ in frames) * 0.9

    results = in_module(
        "tracking.js",
        """const [frames, settings] = argument;
           const tracker = new m.Tracker(settings);
           const results = [];
           for (const [time, boxes, scores, predictions] of frames) {
             const asked = [];
             const classify = async (face) => {
               asked.push(face.box);
               return predictions[face.index];
             };
             const found = boxes.map((box, index) => ({ box, index, probabilities: scores[index] }));
             const faces = await tracker.update(found, time, classify);
             results.push([faces.map(({ track }) => track), faces.map(({ probabilities }) => probabilities), asked]);
           }
           return results;""",
        [frames, settings["tracking"]],
    )

    for (tracks, probabilities, asked), others, due in zip(results, expected, n_classified, strict=True):
        assert tracks == others[0]
        np.testing.assert_allclose(probabilities, others[1], atol=1e-5)
        assert asked == due


def _frames(rng: np.random.Generator):
    """Three faces on their way, with gaps, at 25 frames a second: time, boxes, detector's scores, predictions."""
    starts, speeds = rng.uniform(0, 400, (3, 2)), rng.uniform(-4, 4, (3, 2))
    for number in range(120):
        boxes, scores, predictions = [], [], []
        for face in range(3):
            if rng.random() < 0.08 or (face == 1 and 30 < number < 95):
                continue
            x, y = (starts[face] + number * speeds[face] + rng.normal(0, 2, 2)).round().astype(int).tolist()
            boxes.append([x, y, x + 60, y + 70])
            scores.append(rng.dirichlet([9, 1] if number < 60 else [1, 9]).tolist())
            predictions.append(rng.dirichlet([20, 1, 1] if face else [3, 3, 1]).tolist())
        yield round(number / 25, 3), boxes, scores, predictions


def test_expanded_weights_give_the_same_probabilities(in_module):
    """The file of float16 weights and its expanded copy, both run by LiteRT.js."""
    data = (FIXTURES / "three_classes.tflite").read_bytes()
    n_operators, n_expanded, record = in_module(
        "tflite.js",
        """const { network, record } = m.parseModel(Uint8Array.from(argument));
           const expanded = m.withExpandedWeights(network);
           return [network.length, expanded.length, record];""",
        [*data],
    )
    assert n_expanded - n_operators > 3072 * 16 * 4  # as float32, and the float16 are still there
    assert record["class_names"] == [*THREE]


def test_worn_wrong_is_drawn_in_dashes(in_module, settings):
    face = {"box": [20, 30, 180, 170], "probability": 0.9, "isUncertain": False}
    pixels = in_module(
        "drawing.js",
        """const [face, style, labels] = argument;
           return labels.map((label) => {
             const context = new OffscreenCanvas(200, 200).getContext("2d", { willReadFrequently: true });
             const image = new OffscreenCanvas(200, 200);
             image.getContext("2d").fillRect(0, 0, 200, 200);
             m.draw(context, image, [{ ...face, label }], style);
             return [...context.getImageData(20, 40, 1, 120).data];
           });""",
        [face, settings["drawing"], [THREE[0], THREE[1]]],
    )
    dashed, solid = (np.array(column).reshape(-1, 4)[:, :3] for column in pixels)
    colors = [settings["drawing"]["classes"][name]["color"] for name in THREE[:2]]
    purple, green = (np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) for color in colors)
    assert (solid == green).all()
    assert 0.3 < (dashed == purple).all(axis=1).mean() < 0.8
