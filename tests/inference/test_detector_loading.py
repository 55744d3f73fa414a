"""Networks are loaded when they are needed, once; several threads may use one detector in every way."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import mask_detection
from mask_detection.inference import detector as detector_module
from mask_detection.inference.detector import MaskDetector
from mask_detection.models import load as models
from mask_detection.utils import defaults
from tests.helpers.faces import same_faces
from tests.helpers.paths import GROUP, ROOT

LAZY = {
    **{"classifier": defaults.MODEL_FILE, "face_detector": "haar", "face_folder": defaults.FACE_FOLDER},
    **{"class_names": None, "confidence": 0.5, "detect_size": None, "one_stage": False},
}
N_THREADS = 4


@pytest.fixture(scope="module", params=["builtin", "haar", "yunet", "caffe", "one-stage"])
def shared_detector(request) -> mask_detection.MaskDetector:
    """A detector of each kind."""
    if request.param == "one-stage":
        return mask_detection.load(one_stage=True)
    folder = ROOT / "face_detector"
    if request.param in ("yunet", "caffe"):
        folder = request.getfixturevalue("shared") / "face_detector"
    return mask_detection.load(face_detector=request.param, face_folder=folder)


@pytest.fixture(scope="module")
def views(group) -> list[np.ndarray]:
    """Images of four shapes, so that networks are set up anew all the time."""
    small = cv2.resize(group, None, fx=0.6, fy=0.6)
    return [small, small[:, ::-1], small[: len(small) // 2], cv2.resize(small, None, fx=0.7, fy=0.7)]


def in_threads(work: Callable[[int], object]) -> list[object]:
    """Do the same in four threads that start at once; the errors of any are raised."""
    start = threading.Barrier(N_THREADS)

    def begin(number: int) -> object:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(begin, range(N_THREADS)))


def test_several_threads_may_share_one_detector(shared_detector, views):
    alone = [shared_detector(view) for view in views]
    assert all(len(faces) for faces in alone)
    all_found = in_threads(lambda number: [shared_detector(views[(number + i) % 4]) for i in range(4)])
    for number, found in enumerate(all_found):
        assert all(same_faces(faces, alone[(number + i) % 4]) for i, faces in enumerate(found))


def test_threads_may_use_it_in_every_way_at_once(shared_detector, views):
    def find(view: np.ndarray) -> mask_detection.Detections:
        boxes, _ = shared_detector.find_faces(view)
        return shared_detector.classify(view, boxes)

    ways = [
        shared_detector,
        find,
        lambda view: shared_detector.with_confidence(0.2)(view),
        lambda view: shared_detector.replica()(view),
    ]
    alone = [[way(view) for view in views] for way in ways]
    all_found = in_threads(lambda number: [ways[(number + i) % 4](views[i]) for i in range(4)])
    for number, found in enumerate(all_found):
        for i, faces in enumerate(found):
            assert same_faces(faces, alone[(number + i) % 4][i]), (number, i)


def count_loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is loaded from now on, by name."""
    loads: list[str] = []
    for name in ("face_detector", "classifier"):
        load = getattr(models, f"load_{name}")
        counting = lambda *how, name=name, load=load: loads.append(name) or load(*how)  # noqa: E731
        monkeypatch.setattr(models, f"load_{name}", counting)
    return loads


def test_threads_that_meet_at_the_first_use_load_once(monkeypatch, group):
    loads = count_loads(monkeypatch)
    detector = detector_module.lazy(**LAZY)
    found = in_threads(lambda _: detector(group))
    assert sorted(loads) == ["classifier", "face_detector"]
    assert all(same_faces(faces, found[0]) for faces in found)


def test_loading_in_threads_leaves_the_log_as_it_was():
    """Replicas are loaded in silence; of two at once, neither must take the silence for what was there before."""
    logger = logging.getLogger("mask_detection")
    level = logger.level
    detector = MaskDetector(lambda: time.sleep(0.02) or object(), None)
    detector.load()

    def load(number: int) -> None:
        time.sleep(0.01 * number)
        for _ in range(3):
            detector.replica()

    in_threads(load)
    assert logger.level == level


@pytest.mark.xdist_group("tensorflow")
def test_an_export_is_made_once_by_all_threads(tiny_model, tmp_path, caplog, group):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not made for this machine")
    model = Path(shutil.copy(tiny_model, tmp_path / "model.h5"))
    caplog.set_level(logging.INFO, "mask_detection")
    in_threads(lambda _: mask_detection.load(model, "haar")(group))
    assert caplog.text.count("wrote its faster TFLite export") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.h5", "model.tflite"]


def test_networks_are_loaded_when_needed_and_once(monkeypatch):
    loads = count_loads(monkeypatch)
    detector = mask_detection.load(face_detector="haar")
    detector(GROUP)
    assert sorted(loads) == ["classifier", "face_detector"]
    replica = detector.replica()
    assert sorted(loads) == ["classifier", "classifier", "face_detector", "face_detector"]
    assert same_faces(replica(GROUP), detector(GROUP))
    finder = detector.finder()
    assert same_faces(finder(GROUP), detector(GROUP))
    assert (loads.count("face_detector"), loads.count("classifier")) == (3, 2)
    assert finder.load().classifier is detector.load().classifier


def test_another_confidence_shares_the_networks(detector, group):
    sensitive = detector.with_confidence(0.05)
    assert (detector.confidence, sensitive.confidence) == (0.5, 0.05)
    everything, faces = sensitive(group), detector(group)
    assert len(everything) >= len(faces)
    np.testing.assert_array_equal(everything[everything.face_confidences >= 0.5].boxes, faces.boxes)
    assert sensitive.load().classifier is detector.load().classifier
    assert sensitive.replica().confidence == 0.05
