"""Blurred faces: nobody is recognized in what is drawn, and the detector sees the original."""

from __future__ import annotations

import cv2
import numpy as np

import detect_mask_image
from mask_detection.commands import cli
from mask_detection.inference.drawing import BLUR_CELLS, FaceBlur, blur
from tests.helpers.videos import lines_of

NO_BOX = np.empty((0, 4), np.int32)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (120, 160, 3)).astype(np.uint8)


def details(image: np.ndarray) -> float:
    """How much neighbouring pixels differ."""
    return float(np.abs(np.diff(image.astype(int), axis=1)).mean())


def test_only_a_few_colours_are_left_of_a_face():
    image, box = noise(), np.array([[40, 30, 100, 90]], np.int32)
    blurred = image.copy()
    blur(blurred, box)
    assert details(blurred[30:90, 40:100]) < 0.1 * details(image[30:90, 40:100])
    far = np.ones(image.shape[:2], bool)
    far[18:102, 28:112] = False  # the box with a fifth of it on each side
    assert np.array_equal(blurred[far], image[far])
    other = image.copy()
    other[30:90, 40:100] = noise(1)[30:90, 40:100]  # nearly the same means in each cell
    blur(other, box)
    assert np.abs(other.astype(int) - blurred)[30:90, 40:100].mean() < 255 / BLUR_CELLS


def test_faces_at_the_edge_and_of_one_pixel():
    image = noise()
    blur(image, np.array([[0, 0, 20, 20], [150, 110, 160, 120], [80, 60, 81, 61]], np.int32))
    assert image.shape == (120, 160, 3)


def test_a_face_that_is_missed_for_a_moment_stays_blurred():
    image, box, faces = noise(), np.array([[40, 30, 100, 90]], np.int32), FaceBlur()
    faces.blurred(image, box, 0.0)
    missed, gone = faces.blurred(image, NO_BOX, 0.4), faces.blurred(image, NO_BOX, 2.0)
    assert details(missed[30:90, 40:100]) < 0.1 * details(image[30:90, 40:100])
    assert np.array_equal(gone, image)


def test_frames_of_a_video_are_blurred_and_detected_as_they_are(detect, video, tmp_path):
    plain, hidden = tmp_path / "plain", tmp_path / "hidden"
    detect(video, "--output", plain, "--log", tmp_path / "plain.jsonl", "--no-overlay")
    detect(video, "--output", hidden, "--log", tmp_path / "hidden.jsonl", "--no-overlay", "--blur-faces")
    lines = lines_of(tmp_path / "hidden.jsonl")
    assert lines == lines_of(tmp_path / "plain.jsonl")
    seen = [(line["frame"], face["box"]) for line in lines for face in line["faces"]]
    assert seen
    for number, (x1, y1, x2, y2) in seen:
        inside = (slice(y1 + 8, y2 - 8), slice(x1 + 8, x2 - 8))
        images = [cv2.imread(str(folder / f"{number:06}.jpg"))[inside] for folder in (plain, hidden)]
        assert details(images[1]) < 0.5 * details(images[0])


def test_photos_are_blurred(photo, tiny_model, tmp_path):
    stages = ["--detector", "haar", "--model", str(tiny_model), "--no-display", "--json", str(tmp_path / "a.jsonl")]
    for name, option in (("plain.png", []), ("hidden.png", ["--blur-faces"])):
        words = ["--image", str(photo), "--output", str(tmp_path / name), *stages, *option]
        assert detect_mask_image.main(words) == cli.EXIT_DONE
    ((x1, y1, x2, y2),) = [face["box"] for face in lines_of(tmp_path / "a.jsonl")[0]["faces"]]
    inside = (slice(y1 + 8, y2 - 8), slice(x1 + 8, x2 - 8))
    plain, hidden = (cv2.imread(str(tmp_path / name))[inside] for name in ("plain.png", "hidden.png"))
    assert details(hidden) < 0.5 * details(plain)
