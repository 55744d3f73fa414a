"""Class folders in their usual layouts, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detection.data.dataset import exclude_unreadable, list_images, scan
from mask_detection.utils.errors import MaskDetectionError

IMAGE = np.full((8, 8, 3), 120, np.uint8)


@pytest.fixture
def fill(tmp_path: Path):
    """A function that puts small images into folders: ``fill({"with_mask": 3})``."""

    def make(counts: dict[str, int], suffix: str = ".png") -> Path:
        for folder, count in counts.items():
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                cv2.imwrite(str(tmp_path / "set" / folder / f"{i}.png"), IMAGE + i)
        for path in (tmp_path / "set").rglob("*.png"):
            path.rename(path.with_suffix(suffix))
        return tmp_path / "set"

    return make


def test_classes_are_the_folders_in_alphabetical_order(fill):
    samples = scan([fill({"no": 3, "Yes": 4, "half": 5})])

    assert samples.class_names == ("Yes", "half", "no")
    assert samples.class_counts == {"Yes": 4, "half": 5, "no": 3}
    assert set(samples.parts) == {""}
    assert "half/0.png" in samples.names


def test_images_are_known_by_content_and_searched_to_the_bottom(fill):
    folder = fill({"a/deep/down": 3, "b": 3}, suffix=".dat")
    (folder / "a" / "notes.txt").write_text("no image")
    (folder / "a" / ".hidden.png").write_bytes(b"x")

    assert scan([folder]).class_counts == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    "parts",
    [("Train", "Validation", "Test"), ("train", "val", "test"), ("Training", "valid", "Testing")],
)
def test_ready_made_splits_in_any_spelling(fill, parts):
    samples = scan([fill({f"{part}/{name}": 3 for part in parts for name in ("a", "b")})])

    assert Counter(samples.parts.tolist()) == {"train": 6, "validation": 6, "test": 6}
    assert samples.class_names == ("a", "b")


def test_several_sets_become_one(fill, tmp_path):
    one = fill({"a": 3, "b": 3})
    other = one.rename(tmp_path / "other")
    one = fill({"a": 4, "b": 5})

    samples = scan([one, other])

    assert samples.class_counts == {"a": 7, "b": 8}
    assert {"set/a/3.png", "other/a/2.png"} <= set(samples.names)


def test_unreadable_images_are_counted_and_excluded(fill):
    folder = fill({"a": 4, "b": 4})
    (folder / "a" / "broken.jpg").write_bytes(b"")
    (folder / "b" / "text.jpg").write_text("not an image")

    kept, n_left_out = exclude_unreadable(scan([folder]))

    assert n_left_out == 2
    assert kept.class_counts == {"a": 4, "b": 4}


def test_a_class_with_too_few_readable_images_is_named(fill):
    folder = fill({"a": 3, "b": 3})
    (folder / "b" / "0.png").write_bytes(b"broken")

    with pytest.raises(MaskDetectionError, match="b: only 2 of this class's images can be read"):
        exclude_unreadable(scan([folder]))


def test_list_images_takes_every_folder_below(fill):
    folder = fill({"x/y": 2, "z": 1})

    assert len(list_images([folder])) == 3
    with pytest.raises(MaskDetectionError, match="holds no images"):
        list_images([folder / "nowhere"])
