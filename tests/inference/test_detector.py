"""The detector that users, scripts and the evaluation share: any form of image, several threads, lazily loaded."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import mask_detection
from mask_detection import MaskDetectionError
from mask_detection.io.images import to_bgr
from tests.helpers.faces import same_faces
from tests.helpers.paths import GROUP, ROOT
from tests.helpers.videos import FRAME_COUNT

# --- the façade ---


def in_a_new_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def test_importing_and_listing_it_loads_no_library():
    code = "import sys, mask_detection; dir(mask_detection); print(sorted({'cv2', 'numpy', 'PIL'} & set(sys.modules)))"
    assert in_a_new_process(code).stdout.strip() == "[]"


def test_loading_and_detecting_print_nothing():
    code = "import sys, mask_detection; mask_detection.load(face_detector='builtin')(sys.argv[1])"
    done = in_a_new_process(code, GROUP)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_name_that_it_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        mask_detection.no_such_name  # noqa: B018


def test_it_finds_and_classifies_the_faces_of_the_example(detector):
    faces = detector(GROUP)
    assert sorted(faces.labels) == ["mask_weared_incorrect", *["with_mask"] * 3, *["without_mask"] * 2]
    assert repr(faces) == "Detections(6 faces: 1 mask_weared_incorrect, 3 with_mask, 2 without_mask)"
    annotated = mask_detection.draw(GROUP, faces)
    assert annotated.shape == cv2.imread(str(GROUP)).shape
    assert "built-in" in repr(detector)


# --- forms of images ---


def forms(image: np.ndarray) -> dict[str, object]:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    rgb = Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return {
        "path": GROUP,
        "text": str(GROUP),
        "PIL": rgb,
        "PIL RGBA": rgb.convert("RGBA"),
        "BGRA": cv2.cvtColor(image, cv2.COLOR_BGR2BGRA),
        "not contiguous": np.asfortranarray(image),
        "mirrored twice": image[::-1, ::-1].copy()[::-1, ::-1],
        "RGB, its channels turned": image[..., ::-1].copy()[..., ::-1],
        "a window": np.pad(image, ((1, 2), (3, 4), (0, 0)))[1:-2, 3:-4],
        "a subclass": image.view(type("Subclass", (np.ndarray,), {"__getitem__": lambda *_: None})),
        "PIL RGBX": rgb.convert("RGBX"),
        "grey": grey,
        "grey with an axis": grey[..., None],
        "PIL grey": Image.fromarray(grey),
    }


@pytest.mark.parametrize("form", forms(np.zeros((1, 1, 3), np.uint8)))
def test_every_form_of_an_image_gives_the_same_faces(detector, group, form):
    as_bgr = cv2.cvtColor(cv2.cvtColor(group, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) if "grey" in form else group
    assert same_faces(detector(forms(group)[form]), detector(as_bgr))


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (None, "NoneType"),
        (7, "int"),
        (b"\xff\xd8", "bytes"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((4, 4, 3), object), "object"),
        (np.zeros((4, 4, 3), np.int8), "int8"),
        (np.zeros((4, 4, 3), complex), "complex"),
        (np.array(7, np.uint8), "shape"),
        (np.broadcast_to(np.uint8(0), (100_000, 100_000, 3)), "200 megapixels"),
        (np.ma.masked_array(np.zeros((4, 4, 3), np.uint8)), "MaskedArray"),
        ([[[0, 0, 0]]], "list"),
        ("a\0b.jpg", "no such file"),
        (Image.new("F", (4, 4)), "mode F"),
        (Image.new("I", (4, 4)), "mode I"),
        (Image.new("RGB", (0, 4)), "shape"),
        (Path("no_such_file.jpg"), "no_such_file.jpg"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("use", ["detect", "find_faces", "classify", "draw", "list"])
def test_what_is_no_image_is_refused_in_one_line(detector, image, fault, use):
    calls = {
        "detect": lambda: detector([image] if isinstance(image, list) else image),
        "list": lambda: detector([image, GROUP]),
        "find_faces": lambda: detector.find_faces(image),
        "classify": lambda: detector.classify(image, np.array([[0, 0, 2, 2]])),
        "draw": lambda: mask_detection.draw(image, detector(GROUP)[:0]),
    }
    with pytest.raises(MaskDetectionError, match=fault) as caught:
        calls[use]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_pil_images_of_any_mode_show_what_they_show(mode):
    flags = Image.new("RGB", (40, 20))
    flags.paste((255, 255, 255), (20, 0, 40, 20))
    shown = flags.convert("L").convert(mode) if mode in ("LA", "PA") else flags.convert(mode)
    image = to_bgr(shown)
    assert (image.shape, image.dtype) == ((20, 40, 3), np.uint8)
    np.testing.assert_allclose(image[10, [5, 35]], [[0] * 3, [255] * 3], atol=2)


def test_colours_of_pil_images_arrive_as_bgr():
    assert to_bgr(Image.new("RGB", (1, 1), (10, 20, 30))).tolist() == [[[30, 20, 10]]]
    assert to_bgr(Image.new("CMYK", (1, 1), (245, 235, 225, 0))).tolist() == [[[30, 20, 10]]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_pil_images_keep_their_shades(order):
    deep = np.array([[0, 100 * 257, 65535]], f"{order}u2")
    image = Image.frombytes("I;16" if order == "<" else "I;16B", (3, 1), deep.tobytes())
    assert to_bgr(image)[0, :, 0].tolist() == [0, 100, 255]


def test_pil_images_are_turned_as_their_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "held.jpg", exif=exif)
    with Image.open(tmp_path / "held.jpg") as image:
        assert to_bgr(image).shape == to_bgr(tmp_path / "held.jpg").shape == (40, 20, 3)


def test_a_pil_image_whose_file_breaks_off_is_refused(tmp_path):
    Image.effect_noise((300, 300), 90).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:9000])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(MaskDetectionError, match="PIL cannot convert"):
        to_bgr(image)
    with pytest.raises(MaskDetectionError, match="PIL cannot convert"):
        to_bgr(image)  # closed


def test_a_list_gives_a_list(detector, group):
    one, other = detector([GROUP, group[:, ::-1]])
    assert same_faces(one, detector(group))
    assert same_faces(other, detector(group[:, ::-1]))
    assert detector([]) == []


# --- faces found by somebody else ---


def test_faces_found_by_somebody_else_are_classified(detector, group):
    boxes, confidences = detector.find_faces(group)
    faces = detector.classify(group, boxes)
    assert same_boxes(faces, boxes)
    assert faces.face_confidences.tolist() == [1.0] * len(boxes)
    assert faces.labels == detector(group).labels
    assert confidences.dtype == np.float32
    assert detector.classify(group, np.empty((0, 4))).labels == []
    assert detector.classify(group, []).labels == []


def same_boxes(faces: mask_detection.Detections, boxes: np.ndarray) -> bool:
    return np.array_equal(faces.boxes, boxes)


def test_boxes_are_rounded_and_cut_off_at_the_edges(detector, group):
    height, width = group.shape[:2]
    faces = detector.classify(group, [[-5, -5, 40.4, 40.6], [width - 20, height - 20, width + 9, height + 9]])
    assert faces.boxes.tolist() == [[0, 0, 40, 41], [width - 20, height - 20, width, height]]


def test_a_box_within_one_pixel_still_holds_that_pixel(detector, group):
    boxes = [[10, 20, 30, 40], [0.4, 0.6, 9.5, 9.4], [4.1, 4.6, 4.4, 4.9], [9.6, 9.6, 10, 10]]
    whole = [[10, 20, 30, 40], [0, 1, 10, 9], [4, 4, 5, 5], [9, 9, 10, 10]]
    assert detector.classify(group, boxes).boxes.tolist() == whole


NO_BOXES = [
    None,
    [["1", "2", "30", "40"]],
    np.array([[1j, 2, 30, 40]]),
    [[True, True, True, True]],
    np.array([[1, None, 30, 40]], object),
    [[0, 0, np.inf, 9]],
    [[1, 2], [3]],
    {},
]


@pytest.mark.parametrize(
    "boxes",
    [
        [[5, 5, 5, 9]],
        [[9, 9, 5, 5]],
        [[0, 0, np.nan, 5]],
        [[1, 2, 3]],
        [1, 2, 3, 4],
        [[-9, -9, -1, -1]],
        "box",
        *NO_BOXES,
    ],
)
def test_boxes_that_are_none_are_refused(detector, group, boxes):
    with pytest.raises(MaskDetectionError, match="boxes"):
        detector.classify(group, boxes)


def test_in_one_stage_mode_a_face_that_is_not_found_gets_even_probabilities(group):
    detector = mask_detection.load(one_stage=True)
    boxes, _ = detector.find_faces(group)
    faces = detector.classify(group, np.vstack([boxes, [[0, 0, 12, 12]]]))
    assert detector.is_one_stage
    np.testing.assert_array_equal(faces.probabilities[:-1], detector(group).probabilities)
    assert faces.probabilities[-1].tolist() == [0.5, 0.5]
    assert faces.uncertain[-1]


# --- arguments ---


@pytest.mark.parametrize(
    "arguments",
    [
        *({"confidence": value} for value in (-0.1, 1.5, float("nan"))),
        *({"detect_size": value} for value in (0, -5, 99_999_999)),
        {"face_detector": "YuNet"},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(MaskDetectionError, match=r"is not (between|a size)|is no face detector"):
        mask_detection.load(**arguments)


def test_a_confidence_out_of_range_is_refused(detector):
    with pytest.raises(MaskDetectionError, match="confidence: 50 is not between 0 and 1"):
        detector.with_confidence(50)


def test_what_contradicts_itself_is_refused():
    with pytest.raises(MaskDetectionError, match="--one-stage"):
        mask_detection.load(one_stage=True, face_detector="haar")
    with pytest.raises(MaskDetectionError, match="--one-stage"):
        mask_detection.load(one_stage=True, class_names=("a", "b"))


# --- videos ---


def test_a_detector_for_video_takes_the_size_for_video():
    detector = mask_detection.load(face_detector="builtin")
    assert detector.face_detector_name == "built-in (640 px)"
    sensitive = detector.with_confidence(0.2).for_video()
    assert (sensitive.face_detector_name, sensitive.confidence) == ("built-in (416 px)", 0.2)
    assert detector.for_video().replica().face_detector_name == "built-in (416 px)"
    asked_for = mask_detection.load(face_detector="builtin", detect_size=300)
    assert asked_for.for_video().face_detector_name == "built-in (300 px)"


def test_the_faces_of_a_video_are_tracked(video):
    detector = mask_detection.load(face_detector="haar")
    results = list(detector.track(video))
    assert [frame.index for frame, _ in results] == list(range(FRAME_COUNT))
    assert {face.track for _, faces in results for face in faces} == {1}


def test_a_video_may_be_left_before_its_end(video):
    n_threads = threading.active_count()
    for frame, _ in mask_detection.load(face_detector="haar").track(video, every=2):
        if frame.index == 3:
            break
    assert threading.active_count() == n_threads
