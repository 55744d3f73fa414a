"""Bad data sets and full disks through the training script: one line, the right status, nothing half-written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import h5py
import pytest

import train_mask_detector
from mask_detection.commands import cli
from mask_detection.models import mobilenet
from mask_detection.training import classifier
from tests.helpers.images import png
from tests.helpers.outcomes import Outcome, disk_with_room_for

pytestmark = pytest.mark.xdist_group("tensorflow")

DAMAGED = "is not an image or is damaged; open it in a viewer and save it again"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the run writes."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def train(run, folder, tiny_backbone) -> Callable[..., Outcome]:
    """A function that trains a tiny network on a data set."""

    def train(dataset: Path, *options: object) -> Outcome:
        small = ["--epochs", "1", "--views", "1", "--image-size", "32"]
        return run(train_mask_detector.main, "--dataset", dataset, "--model", folder / "model.h5", *small, *options)

    return train


# --- what is refused before any work ---


@pytest.mark.parametrize(
    ("image_counts", "fault"),
    [
        ({}, "holds no class folders; two are needed, such as with_mask and without_mask"),
        ({"masked": 5}, "holds only the class folder masked; two are needed, such as with_mask and without_mask"),
        ({"masked": 5, "bare": 0}, "the class bare has 0 images; give each class 3 or more"),
        ({"masked": 2, "bare": 5}, "the class masked has 2 images; give each class 3 or more"),
        (
            {"masked": 3, "bare": 3, "Masked": 3},
            "the classes masked and Masked differ only in case; give them one name",
        ),
    ],
    ids=["empty", "one class", "empty class", "small class", "differ in case"],
)
def test_a_data_set_that_is_none_is_refused(train, folder, make_dataset, tmp_path, image_counts, fault):
    dataset = tmp_path / "set"
    dataset.mkdir()
    make_dataset(dataset, image_counts)
    outcome = train(dataset)
    if "differ" in fault:  # whichever of the two comes first
        outcome = Outcome(
            outcome.status, [line.replace("Masked and masked", "masked and Masked") for line in outcome.printed]
        )
    assert outcome == Outcome(cli.EXIT_UNUSABLE, [f"error: {dataset}: {fault}"])
    assert not list(folder.iterdir())


def test_a_missing_data_set_is_named(train, tmp_path):
    fault = f"error: {tmp_path / 'none'}: there is no such folder; name one that holds a folder for each class"
    assert train(tmp_path / "none") == Outcome(cli.EXIT_UNUSABLE, [fault])


def test_a_class_of_unreadable_images_is_refused(train, folder, make_dataset, tmp_path):
    dataset = make_dataset(tmp_path / "set", {"mask": 4, "none": 4})
    for i in range(2):
        (dataset / "none" / f"{i}.png").write_bytes(b"")
    status, (*named, last) = train(dataset)
    assert status == cli.EXIT_UNUSABLE
    fault = "is empty (0 bytes), not an image; get the file again; excluded"
    assert sorted(named) == [f"error: {dataset / 'none' / f'{i}.png'}: {fault}" for i in range(2)]
    assert last == "error: none: only 2 of this class's images can be read; add more"
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("option", "name"), [("--model", "a.h5"), ("--plot", "a.png"), ("--report", "a.json")])
def test_a_missing_output_folder_is_said_before_any_work(train, tmp_path, option, name):
    target = tmp_path / "missing" / name
    fault = f"error: {target}: there is no folder {target.parent}; make it first"
    assert train(tmp_path / "also missing", option, target) == Outcome(cli.EXIT_UNUSABLE, [fault])


# --- what is excluded ---


def test_bad_images_are_named_and_training_goes_on_without_them(train, folder, make_dataset, tmp_path):
    dataset = make_dataset(tmp_path / "set", {"a mask": 6, "kein Mundschutz": 6, "неправильно": 6})
    bad = {
        "damaged.jpg": (b"\xff\xd8\xff\xe0 and no more", DAMAGED),
        "empty.png": (b"", "is empty (0 bytes), not an image; get the file again"),
        "huge.png": (png(20_000, 20_000, bytes(20_000 * 2501)), "has more than 200 megapixels; scale it down"),
    }
    for name, (content, _) in bad.items():
        (dataset / "a mask" / name).write_bytes(content)
    (dataset / "a mask" / "notes.txt").write_text("not an image, and no error either")
    (dataset / ".hidden").mkdir()

    status, printed = train(dataset)

    assert status == cli.EXIT_SOME_FAILED
    assert sorted(printed) == [
        f"error: {dataset / 'a mask' / name}: {fault}; excluded" for name, (_, fault) in bad.items()
    ]
    with h5py.File(folder / "model.h5") as file:
        assert json.loads(file.attrs["class_names"]) == ["a mask", "kein Mundschutz", "неправильно"]
        assert file.attrs["input_size"] == 32


# --- no space left ---


@contextmanager
def disk_filled_during(module: ModuleType, name: str, n_bytes: int) -> Iterator[None]:
    """Give files so much room while a module's function runs, and no more."""
    function = getattr(module, name)

    def in_need(*arguments: object, **options: object) -> object:
        with disk_with_room_for(n_bytes):
            return function(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, in_need)
        yield


@pytest.fixture
def dataset(tmp_path: Path, make_dataset) -> Path:
    return make_dataset(tmp_path / "set", {"mask": 12, "none": 12})


def test_a_full_disk_leaves_the_old_model_alone_and_the_run_can_go_on(train, folder, dataset):
    old = folder / "model.h5"
    old.write_bytes(b"the model of yesterday")

    with disk_filled_during(classifier, "train", 4_000):  # bytes: enough for the features, not for the head's weights
        status, (line,) = train(dataset)
    assert status == cli.EXIT_UNUSABLE
    assert line.startswith(f"error: {folder / 'model.training' / 'head_0000.npz'}: cannot be written (File too large)")

    with disk_filled_during(mobilenet, "save_model", 40_000):  # half of the network
        status, (line,) = train(dataset, "--resume")
    assert status == cli.EXIT_UNUSABLE
    assert line.startswith(f"error: {old}: cannot be written (")

    assert old.read_bytes() == b"the model of yesterday"
    assert sorted(path.name for path in folder.iterdir()) == ["model.h5", "model.training"]
    assert not list(folder.rglob("*.part*"))
    assert train(dataset, "--resume") == Outcome(cli.EXIT_DONE, [])
    assert {path.name for path in folder.iterdir()} >= {"model.h5", "model.tflite", "plot.png", "report.json"}
    assert old.read_bytes() != b"the model of yesterday"


def test_a_full_disk_for_temporary_files_is_named(train, dataset, shipped_model):
    with disk_with_room_for(1_000_000):
        status, (line,) = train(dataset, "--init", shipped_model)
    assert status == cli.EXIT_UNUSABLE
    assert line.startswith(f"error: {shipped_model}: ")
    assert f"the temporary folder {tempfile.gettempdir()} has no room for a copy (File too large)" in line
