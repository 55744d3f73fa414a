"""A small data set and where to put what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.data_sets import save


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes of two images each, all different."""
    folder = tmp_path / "raw"
    for seed, name in enumerate(("with_mask/1.jpg", "with_mask/2.jpg", "without_mask/3.jpg", "without_mask/4.jpg")):
        save(folder / name, seed=seed)
    return folder


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "clean"
