"""Training the face detector by its real command, at a tiny size: what it learns from, what it leaves, going on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.commands import cli, train_face_detector
from mask_detection.data.dataset import scan
from mask_detection.data.folds import FOLDS, fold_of
from mask_detection.models import fcos
from mask_detection.models.fcos import widths_of
from mask_detection.models.opencv_detectors import HaarFaceDetector
from mask_detection.training.detector import run as detector_run
from mask_detection.training.detector import start, trainer
from mask_detection.training.detector.dataset import DOUBTFUL, MIN_CONFIDENCE, NO_CLASS, box_faces
from mask_detection.training.detector.run import DetectorRunOptions
from mask_detection.training.detector.start import read_detector_weights
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import FIXTURES
from tests.helpers.training import eager

pytestmark = pytest.mark.xdist_group("tensorflow")

TINY = ["--epochs", "2", "--final-epochs", "1", "--steps", "1", "--batch-size", "2", "--size", "64"]
TINY_DETECTOR = FIXTURES / "tiny_detector.tflite"
TINY += ["--final-size", "96", "--init", str(TINY_DETECTOR)]
FACE = (90, 60, 170, 160)  # in the small portrait
LABELS = ("with_mask", "without_mask", "mask_weared_incorrect")


def names_in(fold: str, count: int) -> list[str]:
    """Names of files that belong to a fold."""
    names = (f"{number}.jpg" for number in range(10_000))
    chosen = [name for name in names if FOLDS[fold_of(name)] == fold]
    return chosen[:count]


def annotate(folder: Path, name: str, image: np.ndarray, faces: list[tuple[str, tuple[int, ...]]]) -> None:
    """Write a photo and its VOC file."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "images" / name), image)
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, (x1, y1, x2, y2) in faces
    )
    (folder / "annotations" / name).with_suffix(".xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.fixture(scope="session")
def street(tmp_path_factory, small_portrait, make_image) -> Path:
    """Annotated photos: the portrait somewhere in textured images, three in each fold but D, and a near-duplicate."""
    folder = tmp_path_factory.mktemp("street")
    rng = np.random.default_rng(5)
    for number, name in enumerate(name for fold in "ABCE" for name in names_in(fold, 3)):
        image = make_image(320, 240, hue=10 * number, seed=number)
        x, y = rng.integers(0, (200, 120))
        image[y : y + 120, x : x + 120] = cv2.resize(small_portrait, (120, 120), interpolation=cv2.INTER_AREA)
        box = tuple(side // 2 + shift for side, shift in zip(FACE, (x, y, x, y), strict=True))
        annotate(folder, name, image, [(LABELS[number % 3], box)])
    of_a = cv2.imread(str(folder / "images" / names_in("A", 1)[0]))
    annotate(folder, names_in("D", 1)[0], np.roll(of_a, 7, axis=1), [])
    return folder


@pytest.fixture(scope="session")
def portraits(tmp_path_factory, portrait) -> Path:
    """Class folders of photos of one face each, and one without any."""
    folder = tmp_path_factory.mktemp("portraits")
    for label in LABELS[:2]:
        (folder / label).mkdir()
        for number in range(3):
            cv2.imwrite(str(folder / label / f"{number}.jpg"), np.roll(portrait, 9 * number + 5 * len(label), axis=0))
    cv2.imwrite(str(folder / "with_mask" / "nobody.jpg"), np.full((90, 90, 3), 90, np.uint8))
    return folder


@dataclass(frozen=True)
class Run:
    """What two commands left: one that was interrupted in its second epoch, and one that went on with it."""

    statuses: tuple[int, int]
    first_curves: dict[str, list[float]]
    output: Path

    @property
    def report(self) -> dict:
        return json.loads(self.output.with_suffix(".json").read_text("utf-8"))


@pytest.fixture(scope="session")
def run(tmp_path_factory, street, portraits) -> Run:
    output = tmp_path_factory.mktemp("detector") / "mine.tflite"
    arguments = ["--images", street / "images", "--annotations", street / "annotations", "--faces", portraits]
    arguments += ["--leave-out-fold", "A", "--output", output, *TINY, "--teacher", TINY_DETECTOR]
    arguments += ["--bias-for", "mask_weared_incorrect=-0.5", "--class-weight", "mask_weared_incorrect=0.2"]
    measure = trainer.measure

    def interrupted(*args):
        if (folder / "detector.json").exists():
            raise KeyboardInterrupt
        return measure(*args)

    folder = output.with_suffix(".training")
    with pytest.MonkeyPatch.context() as patch, eager():
        patch.setattr(detector_run, "load_boxer", lambda _: HaarFaceDetector(MIN_CONFIDENCE))
        patch.setattr(trainer, "measure", interrupted)
        first = train_face_detector.main(list(map(str, arguments)))
        first_curves = json.loads((folder / "detector.json").read_text("utf-8"))
        patch.setattr(trainer, "measure", measure)
        patch.setattr(detector_run, "read_photos", None)  # they are stored already
        second = train_face_detector.main([*map(str, arguments), "--resume"])
    return Run((first, second), first_curves, output)


def test_an_interrupted_run_goes_on_where_it_was(run):
    assert run.statuses == (cli.EXIT_INTERRUPTED, cli.EXIT_DONE)
    assert len(run.first_curves["loss"]) == 1
    curves = run.report["curves"]
    assert {len(values) for values in curves.values()} == {2}
    assert curves["loss"][0] == run.first_curves["loss"][0]


def test_it_leaves_the_detector_its_weights_report_and_curves_and_nothing_else(run):
    left = {path.name for path in run.output.parent.iterdir()}
    assert left == {"mine.tflite", "mine.weights.h5", "mine.json", "mine.png"}
    assert {"loss", "face_ap", "map", "face_ap_32px", "map_32px"} == set(run.report["curves"])


def test_what_measures_is_not_learned_nor_its_near_copies(run):
    report = run.report
    assert report["annotated_photos"] == 13
    assert report["left_out_folds"] == 3
    assert report["left_out_as_near_copies"] >= 1
    assert report["validation_photos"] == 3
    annotated, faces, background = report["training_photos_by_kind"]
    assert annotated == 13 - 3 - 3 - report["left_out_as_near_copies"]
    assert (faces, background) == (6, 0)


def test_badly_worn_masks_are_a_class_of_a_given_part_and_bias(run):
    report = run.report
    assert report["class_names"] == sorted(LABELS)
    counts = np.array([report["faces_by_label"][name] for name in report["class_names"]])
    parts = np.array(report["class_weights"]) * counts / counts.sum()
    np.testing.assert_allclose(parts, [0.2, 0.4, 0.4])
    assert report["bias"]["class"] == "mask_weared_incorrect"
    assert report["bias"]["bias"] == -0.5


def test_a_label_may_be_no_class(street, tmp_path):
    arguments = [
        "--images",
        street / "images",
        "--annotations",
        street / "annotations",
        "--output",
        tmp_path / "a.tflite",
    ]
    args = train_face_detector.parse_arguments([*map(str, arguments), "--unclassed", "mask_weared_incorrect"])
    facts = detector_run.gather(DetectorRunOptions(**vars(args)), tmp_path, [])
    assert facts["class_names"] == ["with_mask", "without_mask"]
    assert facts["faces_by_label"]["mask_weared_incorrect"] > 0


@pytest.mark.parametrize("size", [(64, 96), (160, 128)])
def test_the_exported_network_answers_as_the_trained_one(run, small_portrait, size):
    from mask_detection.models.builtin_detector import DetectorNetwork
    from mask_detection.models.fcos import build_detector
    from mask_detection.models.preprocessing import normalise

    model = build_detector(3, widths_of(read_detector_weights(run.output)))
    model.load_weights(run.output.with_suffix(".weights.h5"))
    network = DetectorNetwork(run.output)
    batch = normalise(cv2.resize(small_portrait, size[::-1]))[None]

    expected = model(batch, training=False).numpy()[0]

    assert network.class_names == tuple(sorted(LABELS))
    assert network.input_size == 96
    assert np.abs(network.predict(batch) - expected).mean() < 0.05


def test_training_can_start_from_a_detector(run, monkeypatch):
    exported = read_detector_weights(run.output)
    monkeypatch.setattr(start, "LIGHT_WIDTHS", widths_of(exported))
    weights = start.start_weights(run.output.with_suffix(".weights.h5"), sorted(LABELS))
    assert weights.keys() == exported.keys()
    for name, (kernel, bias) in weights.items():
        np.testing.assert_allclose(exported[name][0], kernel, atol=np.abs(kernel).max() / 100)
        np.testing.assert_allclose(exported[name][1], bias, atol=0.01)


@pytest.mark.parametrize("part", ["late", "classes"])
def test_what_is_not_to_learn_stays_as_it_is(tmp_path, street, part):
    output = tmp_path / "mine.tflite"
    arguments = ["--images", street / "images", "--annotations", street / "annotations", "--output", output, *TINY]
    with eager():
        assert train_face_detector.main([*map(str, arguments), "--train", part]) == cli.EXIT_DONE
    before, after = read_detector_weights(TINY_DETECTOR), read_detector_weights(output)
    changed = {
        name
        for name, (kernel, bias) in before.items()
        if not (np.allclose(after[name][0], kernel, atol=1e-6) and np.allclose(after[name][1], bias, atol=0.01))
    }
    assert any(name.startswith(fcos.CLASS_LAYERS) for name in changed)
    assert not any(name.startswith(fcos.EARLY_LAYERS) for name in changed)
    assert (part == "late") == any(not name.startswith(fcos.CLASS_LAYERS) for name in changed)


def test_without_epochs_the_network_is_written_with_the_bias_of_its_faces(tmp_path, street):
    output = tmp_path / "mask_face_detector.tflite"
    arguments = ["--images", street / "images", "--annotations", street / "annotations", "--output", output, *TINY]
    arguments += ["--epochs", "0", "--final-epochs", "0", "--face-bias", "-2"]
    assert train_face_detector.main(list(map(str, arguments))) == cli.EXIT_DONE
    before, after = read_detector_weights(TINY_DETECTOR), read_detector_weights(output)
    for name, (kernel, bias) in before.items():
        expected = bias - np.where(np.arange(bias.size) == fcos.FACE, 2, 0) if name.startswith("places_") else bias
        np.testing.assert_allclose(after[name][0], kernel, atol=1e-6)
        np.testing.assert_allclose(after[name][1], expected, atol=0.01)
    assert {len(values) for values in json.loads(output.with_suffix(".json").read_text())["curves"].values()} == {1}


def test_the_main_face_of_a_portrait_is_of_its_folders_class(portraits):
    annotations = box_faces(scan([portraits]), HaarFaceDetector(MIN_CONFIDENCE), pytest.fail)
    assert len(annotations) == 6  # all but nobody.jpg
    for annotation in annotations:
        assert annotation.labels.count(annotation.image.parent.name) == 1
        assert set(annotation.labels) <= {annotation.image.parent.name, NO_CLASS, DOUBTFUL}


# --- what cannot be done ---


def refusal(errors, photos: Path, output: Path, *arguments: str) -> str:
    """The one line with which a training on annotated photos gives up."""
    folders = ["--images", str(photos / "images"), "--annotations", str(photos / "annotations")]
    assert train_face_detector.main([*folders, "--output", str(output / "a.tflite"), *arguments]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    return line


def test_too_few_photos_are_refused(tmp_path, small_portrait, errors):
    annotate(tmp_path, names_in("E", 1)[0], small_portrait, [("with_mask", FACE)])
    assert "0 are left to learn from and 1 to measure on" in refusal(errors, tmp_path, tmp_path)


def test_one_class_is_refused(tmp_path, make_image, errors):
    for number, fold in enumerate("BE"):
        annotate(tmp_path, names_in(fold, 1)[0], make_image(240, 240, seed=number), [("with_mask", FACE)])
    assert "of the classes with_mask; two are needed" in refusal(errors, tmp_path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_weights_that_are_none_are_named(tmp_path, content):
    file = tmp_path / "bad.weights.h5"
    file.write_bytes(content)
    with pytest.raises(MaskDetectionError, match=r"bad\.weights\.h5") as refused:
        start.start_weights(file, LABELS)
    assert "\n" not in str(refused.value)


def test_there_must_be_a_run_to_resume(tmp_path, street, errors):
    assert "holds no interrupted run" in refusal(errors, street, tmp_path, "--resume")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "a", "b", "--annotations", "c"), "as many folders to --annotations"),
        (("--images", "a", "--annotations", "b", "--size", "100"), "not a multiple of 32"),
        (("--images", "a", "--annotations", "b", "--output", "a.h5"), "does not end in .tflite"),
        (("--images", "a", "--annotations", "b", "--train", "classes"), "add --init"),
        (("--images", "a", "--annotations", "b", "--face-bias", "nan"), "nan is not a number"),
        (("--images", "a", "--annotations", "b", "--epochs", "2"), "--final-epochs are part of --epochs"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        train_face_detector.main(list(arguments))
    assert message in capsys.readouterr().err
