"""Splits: no copy on two sides, the classes in proportion, the same for the same seed, kept in a file."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.data.dataset import Samples, scan
from mask_detection.data.splits import fingerprint, read_split, split, without_leaks, write_split
from mask_detection.utils.errors import MaskDetectionError


def made_up(n_images: int, parts: list[str] | None = None) -> Samples:
    """Samples without files: two classes, taking turns."""
    names = tuple(Path("/set", f"{i}.png") for i in range(n_images))
    labels = np.arange(n_images) % 2
    return Samples(names, labels, ("a", "b"), np.array(parts or [""] * n_images, "<U10"), Path("/set"))


def test_groups_stay_together_and_sizes_are_right():
    samples = made_up(400)
    groups = np.arange(400) // 4  # four copies of each

    made = split(samples, groups, 0.1, 0.2, seed=1)

    assert [len(part) for part in (made.train, made.validation, made.test)] == pytest.approx([280, 40, 80], abs=8)
    sides = [{groups[int(path.stem)] for path in part.paths} for part in made.parts().values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert all(abs(part.class_counts["a"] - part.class_counts["b"]) <= 2 for part in made.parts().values())


def test_the_seed_decides():
    samples, groups = made_up(100), np.arange(100)

    assert split(samples, groups, 0.1, 0.2, 7).test.paths == split(samples, groups, 0.1, 0.2, 7).test.paths
    assert split(samples, groups, 0.1, 0.2, 7).test.paths != split(samples, groups, 0.1, 0.2, 8).test.paths


def test_a_ready_made_split_is_kept():
    parts = ["train"] * 60 + ["validation"] * 20 + ["test"] * 20

    made = split(made_up(100, parts), np.arange(100), 0.1, 0.2, 0)

    assert {name: len(part) for name, part in made.parts().items()} == {"train": 60, "validation": 20, "test": 20}


def test_a_part_that_is_lacking_comes_out_of_the_training_images():
    parts = ["train"] * 80 + ["test"] * 20

    made = split(made_up(100, parts), np.arange(100), 0.1, 0.2, 0)

    assert len(made.test) == 20
    assert len(made.validation) == pytest.approx(8, abs=2)
    assert len(made.train) + len(made.validation) == 80


def test_training_copies_of_ready_made_test_images_are_excluded(caplog):
    parts = ["train"] * 60 + ["validation"] * 20 + ["test"] * 20
    groups = np.arange(100)
    groups[[0, 1]] = groups[[80, 81]]  # two training images are copies of test images
    groups[61] = groups[82]
    groups[2] = groups[70]

    made = split(made_up(100, parts), groups, 0.1, 0.2, 0)

    assert {name: len(part) for name, part in made.parts().items()} == {"train": 57, "validation": 19, "test": 20}
    assert "4 images are copies" in caplog.text


def test_too_few_different_images_are_refused():
    with pytest.raises(MaskDetectionError, match="a: has 2 images that are no copies"):
        split(made_up(20), np.arange(20) % 4, 0.1, 0.2, 0)


@pytest.fixture
def folder(tmp_path: Path, make_dataset) -> Path:
    return make_dataset(tmp_path / "set", {"a": 6, "b": 6})


def test_the_same_image_under_two_classes_is_named_and_excluded(folder, caplog):
    (folder / "b" / "again.png").write_bytes((folder / "a" / "0.png").read_bytes())

    usable, groups, facts = without_leaks(scan([folder]), excluded=[])

    assert facts["left_out_under_two_classes"] == 2
    assert usable.class_counts == {"a": 5, "b": 6}
    assert len(groups) == 11
    assert "a/0.png" in caplog.text
    assert "b/again.png" in caplog.text


def test_copies_of_excluded_images_are_excluded(folder, tmp_path):
    excluded = tmp_path / "evaluation.jpg"
    cv2.imwrite(str(excluded), cv2.imread(str(folder / "a" / "3.png")), [cv2.IMWRITE_JPEG_QUALITY, 80])

    usable, _, facts = without_leaks(scan([folder]), [excluded])

    assert facts["left_out_as_copies_of_kept_out_images"] == len(scan([folder])) - len(usable)
    assert "a/3.png" not in usable.names


def test_a_split_file_gives_the_same_split_back(folder, tmp_path):
    samples = scan([folder])
    made = split(samples, np.arange(12), 0.1, 0.2, 3)
    write_split(tmp_path / "split.json", made)

    again = read_split(tmp_path / "split.json", samples)

    assert fingerprint(again) == fingerprint(made)
    assert {name: part.names for name, part in again.parts().items()} == {
        name: part.names for name, part in made.parts().items()
    }


@pytest.mark.parametrize("content", ["", "{", "[]", '{"train": 1}', '{"train": [], "validation": []}'])
def test_what_is_no_split_file_is_refused_in_one_line(folder, tmp_path, content):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(MaskDetectionError, match=r"split\.json") as refusal:
        read_split(tmp_path / "split.json", scan([folder]))
    assert "\n" not in str(refusal.value)


def test_a_split_of_another_data_set_is_refused(folder, tmp_path):
    names = {"train": ["a/0.png", "a/nowhere.png"], "validation": ["a/1.png"], "test": ["b/1.png"]}
    (tmp_path / "split.json").write_text(json.dumps(names))
    with pytest.raises(MaskDetectionError, match=r"such as a/nowhere\.png"):
        read_split(tmp_path / "split.json", scan([folder]))
