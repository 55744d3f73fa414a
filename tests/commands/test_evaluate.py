"""Figures of known answers, worked out by hand, and the real stages on the examples, all through the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import options
from mask_detection.commands.evaluate import main
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.inference.detector import MaskDetector
from mask_detection.models import load
from mask_detection.models.face_detector import FaceDetector
from mask_detection.utils import defaults

WITH, WITHOUT, INCORRECT = "with_mask", "without_mask", "mask_weared_incorrect"
EXAMPLES = defaults.PROJECT_FOLDER / "examples"
CAFFE_FOLDER = defaults.PROJECT_FOLDER.parent / "shared" / "face_detector"

# Faces: box, true class, what the classifier will say of with_mask.
FIRST_WIDTH, SECOND_WIDTH = 200, 210
MASKED, BARE, SMALL = [10, 10, 50, 50], [100, 10, 140, 50], [10, 150, 30, 170]
INCORRECT_LARGE, NOTHING = [100, 100, 170, 170], [160, 10, 195, 45]
BARE_TOO, OVERLOOKED = [50, 50, 110, 110], [10, 150, 50, 190]
PHOTOS = {
    FIRST_WIDTH: [(MASKED, WITH, 0.9), (BARE, WITHOUT, 0.2), (SMALL, WITH, 0.3), (INCORRECT_LARGE, INCORRECT, 0.6)],
    SECOND_WIDTH: [(BARE_TOO, WITHOUT, 0.1), (OVERLOOKED, WITH, 0.8)],
}
FOUND = {
    FIRST_WIDTH: [(MASKED, 0.9), (BARE, 0.8), (INCORRECT_LARGE, 0.7), (NOTHING, 0.6), (SMALL, 0.2)],
    SECOND_WIDTH: [(BARE_TOO, 0.65), (OVERLOOKED, 0.05)],
}


class KnowsThePhotos(FaceDetector):
    """Knows the photos by their width and predicts from ``FOUND``."""

    name = "a detector for tests"

    def propose(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, confidences = zip(*FOUND[frame.shape[1]], strict=True)
        return np.array(boxes, float), np.array(confidences)


class SeesBlue:
    """Says with_mask as surely as a crop's centre is blue."""

    input_size = 8

    def __init__(self, class_names: tuple[str, ...] = (WITH, WITHOUT)) -> None:
        self.class_names = class_names

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        probabilities = np.zeros((len(crops), len(self.class_names)), np.float32)
        probabilities[:, 0] = [crop[crop.shape[0] // 2, crop.shape[1] // 2, 0] / 255 for crop in crops]
        probabilities[:, 1] = 1 - probabilities[:, 0]
        return probabilities


@pytest.fixture
def known_stages(monkeypatch):
    """Put the stages above in the place of real ones; returns a function that changes the classes."""

    def use(class_names: tuple[str, ...] = (WITH, WITHOUT)) -> None:
        blue = SeesBlue(class_names)

        def detector(args: argparse.Namespace) -> MaskDetector:
            return MaskDetector(lambda: KnowsThePhotos(args.confidence), lambda: blue)

        monkeypatch.setattr(options, "mask_detector", detector)
        monkeypatch.setattr(load, "load_classifier", lambda path, names: blue)

    use()
    return use


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The folder of the two photos, their annotations in VOC XML among them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for width, faces in PHOTOS.items():
        image = np.zeros((200, width, 3), np.uint8)
        for (x1, y1, x2, y2), _, blue in faces:
            image[y1:y2, x1:x2, 0] = round(blue * 255)
        cv2.imwrite(str(folder / f"{width}.png"), image)
        write_voc(folder / f"{width}.xml", [face[:2] for face in faces])
    return folder


def write_voc(path: Path, faces: list) -> None:
    names = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, box, strict=True))
        + "</bndbox></object>"
        for box, label in faces
    ]
    path.write_text(f"<annotation>{''.join(objects)}</annotation>")


def write_yolo(path: Path, faces: list, size: tuple[int, int], class_names: tuple[str, ...]) -> None:
    path.with_name("classes.txt").write_text("\n".join(class_names))
    lines = []
    for (x1, y1, x2, y2), label in faces:
        center_and_size = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        fractions = np.divide(center_and_size, [*size, *size])
        lines.append(f"{class_names.index(label)} " + " ".join(f"{value:.6f}" for value in fractions))
    path.write_text("\n".join(lines))


def figures(tmp_path: Path, *arguments: object, status: int = 0) -> dict:
    """Run the command and return what it writes as JSON."""
    file = tmp_path / "figures.json"
    assert main([*map(str, arguments), "--json", str(file)]) == status
    return json.loads(file.read_text())


def photo_figures(tmp_path: Path, photos: Path, *options: object, status: int = 0) -> dict:
    return figures(tmp_path, "--images", photos, "--annotations", photos, *options, status=status)


def test_figures_by_hand(tmp_path, photos, known_stages):
    report = photo_figures(tmp_path, photos)
    everything, over_16, over_32, over_64 = report["by_size"]

    assert (report["photos"], report["left_out"]) == (2, 0)
    assert everything == {
        "min_size": 0,
        "faces": 6,
        "face_recall": pytest.approx(4 / 6),
        "face_precision": pytest.approx(4 / 5),  # the fifth found nothing
        "face_ap": pytest.approx(4 / 6 + 1 / 6 * 5 / 6),  # right four times, wrong, right: the small face at 0.2
        "ap": {
            WITH: pytest.approx(1 / 3),  # the incorrect one, called with_mask, counts neither for nor against
            WITHOUT: pytest.approx(1 / 2 + 1 / 2 * 2 / 3),  # 0.64 right, 0.6 wrong, 0.585 right
        },
        "map": pytest.approx((1 / 3 + 5 / 6) / 2),
        "accuracy": {WITH: pytest.approx(2 / 3), WITHOUT: 1},
        "balanced_accuracy": pytest.approx(5 / 6),
        "certain_on_true_boxes": pytest.approx(4 / 5),
        "certain_on_false_boxes": 1,  # where nothing is, nothing is blue
        "confusion_matrix": {
            "truth": [WITH, WITHOUT, INCORRECT],
            "answers": [WITH, WITHOUT],
            "counts": [[2, 1], [0, 2], [1, 0]],
        },
        "precision": {WITH: 1, WITHOUT: pytest.approx(2 / 3)},
        "ap_on_true_boxes": {WITH: 1, WITHOUT: 1},  # by their order alone, all five are right
    }
    assert over_16 == everything | {"min_size": 16}
    assert over_32["faces"] == 5
    assert [over_32[f"face_{name}"] for name in ("recall", "precision", "ap")] == pytest.approx([4 / 5] * 3)
    assert over_32["ap"] == {WITH: 1 / 2, WITHOUT: pytest.approx(5 / 6)}
    assert over_32["accuracy"] == {WITH: 1, WITHOUT: 1}
    # The one large face is of a class that the model doesn't know.
    assert [over_64[name] for name in ("faces", "face_recall", "face_precision", "face_ap")] == [1] * 4
    assert over_64["ap"] == over_64["accuracy"] == {WITH: None, WITHOUT: None}
    assert over_64["map"] is over_64["balanced_accuracy"] is None
    assert over_64["certain_on_true_boxes"] is over_64["certain_on_false_boxes"] is None


def test_yolo_annotations_give_the_same_figures(tmp_path, photos, known_stages):
    labels = tmp_path / "labels"
    labels.mkdir()
    for width, faces in PHOTOS.items():
        write_yolo(labels / f"{width}.txt", [face[:2] for face in faces], (width, 200), (INCORRECT, WITHOUT, WITH))

    expected = photo_figures(tmp_path, photos)
    assert photo_figures(tmp_path, photos, "--annotations", labels)["by_size"] == expected["by_size"]


def test_the_confidence_moves_recall_and_precision_but_no_average_precision(tmp_path, photos, known_stages):
    usual = photo_figures(tmp_path, photos)["by_size"][0]
    strict = photo_figures(tmp_path, photos, "--confidence", 0.85)["by_size"][0]

    assert (strict["face_recall"], strict["face_precision"]) == (pytest.approx(1 / 6), 1)
    assert {**strict, "face_recall": 0, "face_precision": 0} == {**usual, "face_recall": 0, "face_precision": 0}

    lenient = photo_figures(tmp_path, photos, "--confidence", 0.01)
    assert lenient["confidence_for_ap"] == 0.01
    assert lenient["by_size"][0]["face_recall"] == 1


def test_a_model_that_knows_the_class_is_held_to_it(tmp_path, photos, known_stages):
    known_stages((WITH, WITHOUT, INCORRECT))
    everything = photo_figures(tmp_path, photos)["by_size"][0]

    assert everything["ap"] == {WITH: pytest.approx(1 / 3), WITHOUT: pytest.approx(5 / 6), INCORRECT: 0}
    assert everything["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert everything["balanced_accuracy_without_worn_wrong"] == pytest.approx((2 / 3 + 1) / 2)
    assert everything["map_without_worn_wrong"] == pytest.approx((1 / 3 + 5 / 6) / 2)


def test_the_table(tmp_path, photos, known_stages, capsys):
    assert main(["--images", str(photos), "--annotations", str(photos)]) == 0
    lines = capsys.readouterr().out.splitlines()

    start = next(i for i, line in enumerate(lines) if line.startswith("size of the faces"))
    assert len({len(line) for line in lines[start : start + 15]}) == 1  # the columns are aligned
    assert lines[start].split()[4:] == ["all", *">= 16 px >= 32 px >= 64 px".split()]
    row = {line.rsplit(maxsplit=4)[0]: line.split()[-4:] for line in lines[start + 1 : start + 15]}
    assert row["number of faces"] == ["6", "6", "5", "1"]
    assert row["face recall (confidence >= 0.5)"] == ["0.667", "0.667", "0.800", "1.000"]
    assert row["AP with_mask"] == ["0.333", "0.333", "0.500", "-"]
    assert row["balanced accuracy (true boxes)"] == ["0.833", "0.833", "1.000", "-"]
    assert row["precision without_mask (true boxes)"] == ["0.667", "0.667", "1.000", "-"]
    assert any(line.split() == [INCORRECT, "(unknown", "to", "the", "model)", "1", "0"] for line in lines)
    assert lines[-1].startswith("time per photo: median ")


def test_json_on_standard_output_stands_alone(photos, known_stages, capsys):
    assert main(["--images", str(photos), "--annotations", str(photos), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds_per_photo"]["median"] > 0


@pytest.mark.parametrize("name", ["curves.png", "curves.svg"])
def test_curves_are_drawn(tmp_path, photos, known_stages, name):
    photo_figures(tmp_path, photos, "--plot", tmp_path / name)
    assert (tmp_path / name).stat().st_size > 10_000
    assert not list(tmp_path.glob("*.part*"))


def test_what_cannot_be_read_is_named_and_left_out(tmp_path, photos, known_stages, capsys):
    whole = photo_figures(tmp_path, photos)
    for name in ("broken", "fine"):
        (photos / f"{name}.jpg").write_bytes(b"no image")
        write_voc(photos / f"{name}.xml", [])
    cv2.imwrite(str(photos / "fine.jpg"), np.zeros((10, 10, 3), np.uint8))
    (photos / "fine.xml").write_text("<annotation>")
    report = photo_figures(tmp_path, photos, status=1)

    assert report["left_out"] == 2
    assert report["by_size"] == whole["by_size"]
    errors = capsys.readouterr().err.splitlines()
    assert [any(name in line and line.startswith("error: ") for line in errors) for name in ("broken.jpg", "fine.xml")]
    assert len(errors) == 2


def test_nothing_usable_is_status_2(tmp_path, photos, known_stages, capsys):
    for photo in photos.glob("*.png"):
        photo.write_bytes(b"no image")
    assert main(["--images", str(photos), "--annotations", str(photos)]) == 2
    assert main(["--images", str(tmp_path / "nowhere"), "--annotations", str(photos)]) == 2
    assert main(["--dataset", str(tmp_path / "nowhere")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_truth_in_other_words_than_the_models_is_refused(photos, known_stages, capsys):
    known_stages(("mask", "no mask"))
    assert main(["--images", str(photos), "--annotations", str(photos)]) == 2
    assert "--classes" in capsys.readouterr().err


def test_outputs_are_checked_before_the_work(tmp_path, capsys):
    arguments = ["--images", str(tmp_path), "--annotations", str(tmp_path)]
    assert main([*arguments, "--json", str(tmp_path / "nowhere" / "figures.json")]) == 2
    assert main([*arguments, "--plot", str(tmp_path / "nowhere" / "curves.png")]) == 2
    assert capsys.readouterr().err.count("there is no folder") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--images", "photos"],
        ["--annotations", "labels"],
        ["--dataset", "dataset", "--images", "photos"],
        ["--dataset", "dataset", "--plot", "curves.txt"],
        ["--dataset", "dataset", "--fold", "F"],
        ["--dataset", "dataset", "--no-display"],
    ],
)
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert "usage: python -m mask_detection evaluate" in capsys.readouterr().err


def test_folds_are_pinned_even_and_by_name_alone():
    assert [FOLDS[fold_of(name)] for name in ("group.jpg", "with_mask.jpg", "ä.png")] == ["D", "C", "C"]
    counts = np.bincount([fold_of(f"{number}.jpg") for number in range(5000)])
    assert len(counts) == len(FOLDS)
    assert counts.min() > 900


def test_a_fold_is_evaluated_alone(tmp_path, photos, known_stages):
    n_photos = {}
    for fold in FOLDS:
        if any(FOLDS[fold_of(f"{width}.png")] == fold for width in PHOTOS):
            report = photo_figures(tmp_path, photos, "--fold", fold)
            n_photos[report["fold"]] = report["photos"]
        else:
            assert main(["--images", str(photos), "--annotations", str(photos), "--fold", fold]) == 2
    assert sum(n_photos.values()) == 2


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Class folders, each with what the classifier will say of with_mask."""
    folder = tmp_path / "crops"
    for class_name, blues in {WITH: [0.9, 0.8, 0.4], WITHOUT: [0.6, 0.2, 0.1, 0.3], INCORRECT: [0.9, 0.7, 0.2]}.items():
        (folder / class_name).mkdir(parents=True)
        for number, blue in enumerate(blues):
            image = np.full((20, 30, 3), round(255 * blue), np.uint8)
            cv2.imwrite(str(folder / class_name / f"{number}.png"), image)
    return folder


def test_figures_of_class_folders(tmp_path, crops, known_stages, capsys):
    report = figures(tmp_path, "--dataset", crops, "--plot", tmp_path / "curves.png")

    assert (report["images"], report["left_out"]) == (10, 0)
    assert report["confusion_matrix"]["counts"] == [[2, 1], [1, 3], [2, 1]]
    assert report["recall"] == {WITH: pytest.approx(2 / 3), WITHOUT: 3 / 4}
    assert report["precision"] == {WITH: pytest.approx(2 / 3), WITHOUT: 3 / 4}
    assert report["accuracy"] == pytest.approx(5 / 7)
    assert report["balanced_accuracy"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert report["ap"][WITH] == pytest.approx(2 / 3 + 1 / 3 * 3 / 4)  # right, right, wrong, right
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert "accuracy 0.714, balanced accuracy 0.708" in capsys.readouterr().out


def test_unreadable_crops_are_named_and_left_out(tmp_path, crops, known_stages, capsys):
    (crops / WITH / "0.png").write_bytes(b"no image")
    report = figures(tmp_path, "--dataset", crops, status=1)

    assert (report["images"], report["left_out"]) == (9, 1)
    assert report["recall"][WITH] == 1 / 2
    assert "0.png" in capsys.readouterr().err


needs_model = pytest.mark.skipif(not defaults.MODEL_FILE.exists(), reason=f"needs {defaults.MODEL_FILE.name}")
needs_caffe = pytest.mark.skipif(not CAFFE_FOLDER.is_dir(), reason="needs the Caffe SSD in ../shared/face_detector")


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Annotations of the example photos in VOC XML."""
    for name, faces in json.loads((EXAMPLES / "expected.json").read_text()).items():
        write_voc((tmp_path / name).with_suffix(".xml"), [(face["box"], face["label"]) for face in faces])
    return tmp_path


@needs_model
@needs_caffe
def test_the_examples_with_the_caffe_ssd(tmp_path, examples):
    report = figures(
        tmp_path, "--images", EXAMPLES, "--annotations", examples, "--detector", "caffe", "--face", CAFFE_FOLDER
    )
    everything = report["by_size"][0]
    assert (report["photos"], everything["faces"]) == (3, 8)
    assert (everything["face_recall"], everything["face_precision"]) == (1, 1)
    assert everything["balanced_accuracy"] == everything["map"] == 1


@needs_model
def test_the_examples_with_the_haar_cascade(tmp_path, examples):
    report = figures(tmp_path, "--images", EXAMPLES, "--annotations", examples, "--detector", "haar")
    everything = report["by_size"][0]
    assert report["face_detector"] == "Haar cascade"
    assert everything["face_recall"] > 0
    assert everything["balanced_accuracy"] == 1
