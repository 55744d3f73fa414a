"""Crops as face detectors deliver them: detected faces, jittered boxes, backgrounds."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands.crop_faces import main
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.models import load
from mask_detection.models.face_detector import FaceDetector
from tests.helpers.paths import SHARED

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)  # BGR
WIDTH, HEIGHT = 400, 300


class PaintedFaceDetector(FaceDetector):
    """Finds what the tests put into ``boxes``, in every image."""

    name = "painted"
    boxes: dict[tuple[int, int, int, int], float]

    def __init__(self, confidence: float) -> None:
        super().__init__(confidence)
        self.boxes = {}

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.reshape(list(self.boxes), (-1, 4)).astype(float), np.array(list(self.boxes.values()))


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> PaintedFaceDetector:
    """Takes the place of every face detector."""
    detector = PaintedFaceDetector(0.5)

    def load_painted(kind: str, folder: Path, confidence: float, detect_size: int | None) -> FaceDetector:
        detector.confidence = confidence
        return detector

    monkeypatch.setattr(load, "load_face_detector", load_painted)
    return detector


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "clean"


@pytest.fixture
def backgrounds(tmp_path: Path) -> Path:
    return tmp_path / "clean_background"


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """One annotated photo, grey with a red face."""
    paint(tmp_path / "street" / "images" / "group.jpg", {(100, 50, 200, 150): RED})
    annotate(tmp_path / "street" / "labels" / "group.txt", (100, 50, 200, 150))
    return tmp_path / "street"


def annotate(path: Path, *boxes: tuple[int, int, int, int]) -> None:
    lines = [
        f"0 {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} {(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}\n"
        for x1, y1, x2, y2 in boxes
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(lines))
    path.with_name("classes.txt").write_text("with_mask\nwithout_mask\n")


def paint(path: Path, colours: dict[tuple[int, int, int, int], tuple[int, int, int]], grey: int = 128) -> Path:
    image = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    for (x1, y1, x2, y2), colour in colours.items():
        image[y1:y2, x1:x2] = colour
    return save(path, image)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def run(*arguments: object) -> int:
    """Without a margin, so that square boxes become crops of the same size."""
    return main([*map(str, arguments), "--margin", "0"])


def made(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))


def reasons(folder: Path) -> dict[str, str]:
    with (folder / "left_out.csv").open(newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def fraction_of(colour: tuple[int, int, int], path: Path) -> float:
    return float((np.abs(cv2.imread(str(path)).astype(int) - colour).max(axis=2) < 60).mean())


def size_of(path: Path) -> tuple[int, int]:
    height, width = cv2.imread(str(path)).shape[:2]
    return width, height


# Faces from a detector


def test_the_largest_and_most_confident_face_goes_into_its_class(tmp_path, destination, painted):
    painted.boxes = {(0, 0, 40, 40): 0.9, (100, 50, 200, 150): 0.8, (200, 100, 400, 300): 0.4, (300, 0, 390, 98): 0.9}
    for name in ("Train/with_mask/1.jpg", "without_mask/1.jpg"):
        paint(tmp_path / "raw" / name, {(100, 50, 200, 150): RED}, grey=len(name))

    assert run(tmp_path / "raw", destination, "--detector", "yunet") == 0
    assert made(destination) == ["Train/with_mask/1_1.jpg", "without_mask/1_1.jpg"]
    assert size_of(destination / "without_mask" / "1_1.jpg") == (100, 100)
    assert fraction_of(RED, destination / "without_mask" / "1_1.jpg") > 0.95


def test_without_a_face_small_images_are_taken_whole_and_large_ones_excluded(tmp_path, destination, painted, capsys):
    painted.boxes = {(10, 10, 60, 60): 0.4}
    save(tmp_path / "raw" / "with_mask" / "tight.png", np.full((256, 200, 3), 90, np.uint8))
    paint(tmp_path / "raw" / "with_mask" / "wide.jpg", {})

    assert run(tmp_path / "raw", destination, "--detector", "yunet", "--background", 3) == 0
    assert made(destination) == ["with_mask/tight_whole.jpg"]
    assert size_of(destination / "with_mask" / "tight_whole.jpg") == (200, 256)
    assert list(reasons(destination)) == ["with_mask/wide.jpg"]
    assert "no face that the detector finds, and with 400 x 300 pixels" in reasons(destination)["with_mask/wide.jpg"]
    assert made(tmp_path / "clean_background") == []  # the face may be anywhere
    assert "without a face that was found 1" in capsys.readouterr().out


def test_copies_folds_and_faults_are_left_out_as_without_a_detector(tmp_path, destination, painted):
    painted.boxes = {(100, 50, 200, 150): 0.9}
    raw = tmp_path / "raw"
    for number in range(4):
        paint(raw / "with_mask" / f"{number}.png", {}, grey=number)
    for copy in ("with_mask/1_again.png", "without_mask/2.png"):
        paint(raw / copy, {}, grey=int(Path(copy).stem[0]))
    (raw / "with_mask" / "broken.jpg").write_bytes(b"\xff\xd8")
    fold = FOLDS[fold_of("3.png")]

    assert run(raw, destination, "--detector", "yunet", "--leave-out-fold", fold) == 1
    kept = {name for name in ("0.png", "1.png", "1_again.png") if FOLDS[fold_of(name)] != fold}
    assert len(made(destination)) == ("0.png" in kept) + ({"1.png", "1_again.png"} <= kept)
    assert {"with_mask/broken.jpg", "with_mask/2.png", "without_mask/2.png", "with_mask/3.png"} <= set(
        reasons(destination)
    )


def test_a_real_detector_finds_the_portrait(tmp_path, destination, portrait):
    save(tmp_path / "raw" / "without_mask" / "hopper.png", portrait)
    folder = SHARED / "face_detector"
    detector = ("--detector", "yunet", "--face", folder) if folder.is_dir() else ("--detector", "haar")

    assert run(tmp_path / "raw", destination, *detector, "--background", 2) == 0
    assert made(destination) == ["without_mask/hopper_1.jpg"]
    assert 0.1 < size_of(destination / "without_mask" / "hopper_1.jpg")[0] / portrait.shape[1] < 0.7
    assert made(tmp_path / "clean_background") == ["without_mask_hopper_b1.jpg", "without_mask_hopper_b2.jpg"]


# The same face, boxed otherwise


def test_jitter_adds_the_same_crops_every_time(street, tmp_path, destination):
    crops = [f"with_mask/group_1{ending}.jpg" for ending in ("", "_j1", "_j2", "_j3")]

    assert run(street, destination, "--jitter", 3) == 0
    assert run(street, tmp_path / "again", "--jitter", 3) == 0
    assert made(destination) == crops
    first = [(destination / name).read_bytes() for name in crops]
    assert [(tmp_path / "again" / name).read_bytes() for name in crops] == first
    assert len(set(first)) == 4
    assert size_of(destination / crops[0]) == (100, 100)
    assert all(85 <= min(size_of(destination / name)) <= 125 for name in crops[1:])
    assert all(fraction_of(RED, destination / name) > 0.5 for name in crops)


def test_annotated_faces_are_cut_out_as_the_detector_boxes_them_too(street, destination, painted):
    painted.boxes = {(105, 60, 195, 150): 0.9, (150, 100, 250, 200): 0.7}

    assert run(street, destination, "--annotations", street / "labels", "--detector", "yunet") == 0
    assert made(destination) == ["with_mask/group_1.jpg", "with_mask/group_1_d1.jpg"]
    assert size_of(destination / "with_mask" / "group_1_d1.jpg") == (90, 90)


# Backgrounds


def test_backgrounds_lie_beside_the_destination_and_hardly_touch_faces(street, destination, backgrounds, capsys):
    assert run(street, destination, "--background", 20, "--min-size", 16) == 0
    assert made(destination) == ["with_mask/group_1.jpg"]
    names = made(backgrounds)
    assert len(names) == 20
    assert all(name.startswith("group_b") for name in names)
    assert all(fraction_of(RED, backgrounds / name) < 0.15 for name in names)  # JPEG bleeds a little
    sizes = [size_of(backgrounds / name) for name in names]
    assert all(width == height and 16 <= width <= HEIGHT / 2 for width, height in sizes)
    assert f"{backgrounds}: 20 images" in capsys.readouterr().out


def test_what_the_detector_nearly_took_for_a_face_comes_first(street, destination, backgrounds, painted):
    nearly, surely, within = (20, 200, 80, 260), (250, 50, 350, 150), (120, 60, 180, 120)
    paint(street / "images" / "group.jpg", {(100, 50, 200, 150): RED, nearly: BLUE, surely: GREEN})
    painted.boxes = {nearly: 0.2, surely: 0.6, within: 0.3, (100, 250, 108, 258): 0.3, (200, 200, 300, 300): 0.05}
    arguments = "--annotations", street / "labels", "--detector", "yunet"

    assert run(street, destination, *arguments, "--background", 8) == 0
    crops = [backgrounds / f"group_b{number}.jpg" for number in range(1, 9)]
    assert fraction_of(BLUE, crops[0]) > 0.9
    assert size_of(crops[0]) == (60, 60)
    assert all(fraction_of(GREEN, crop) < 0.15 and fraction_of(RED, crop) < 0.15 for crop in crops)


def test_photos_in_which_nobody_marked_a_face_give_backgrounds(street, destination, backgrounds):
    paint(street / "images" / "empty.jpg", {})
    annotate(street / "labels" / "empty.txt")

    assert run(street, destination, "--background", 2) == 0
    assert reasons(destination) == {"images/empty.jpg": "has no marked face"}
    assert made(backgrounds) == ["empty_b1.jpg", "empty_b2.jpg", "group_b1.jpg", "group_b2.jpg"]


def test_the_same_command_again_and_its_background_folder(street, tmp_path, destination, capsys):
    arguments = street, destination, "--background-to", tmp_path / "nobody", "--background"
    assert run(*arguments, 3) == 0
    first = [(tmp_path / "nobody" / name).read_bytes() for name in made(tmp_path / "nobody")]
    assert len(first) == 3
    assert run(*arguments, 3) == 0
    assert [(tmp_path / "nobody" / name).read_bytes() for name in made(tmp_path / "nobody")] == first
    assert capsys.readouterr().err == ""
    assert run(*arguments, 2) == 0
    assert "group_b3.jpg: not of this run" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["clean/background", "street", "thesis"])
def test_background_folders_with_other_things_are_refused(street, tmp_path, destination, capsys, place):
    save(tmp_path / "thesis" / "figure.jpg", np.zeros((8, 8, 3), np.uint8))

    assert run(street, destination, "--background", 1, "--background-to", tmp_path / place) == 2
    assert str(tmp_path / place) in capsys.readouterr().err
    assert made(destination) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--face", "."), "--face has a meaning only with --detector"),
        (("--detect-size", "9"), "--detect-size has a meaning only with --detector"),
        (("--background-to", "x"), "--background-to has a meaning only with --background"),
    ],
)
def test_options_without_effect_are_refused(street, destination, capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        main([str(street), str(destination), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
