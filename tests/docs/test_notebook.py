"""The notebook runs from its first cell to its last, and what is committed is what such a run shows."""

from __future__ import annotations

import os
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.paths import ROOT

NOTEBOOK = ROOT / "docs" / "train_mask_detector.ipynb"
SMALL = "IMAGES_PER_CLASS, IMAGE_SIZE, EPOCHS = 10, 32, 1"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: nbformat.NotebookNode) -> set[str]:
    """The kinds of what a cell shows, such as text/plain and image/png."""
    return {kind for output in cell.outputs for kind in output.get("data", {output.get("name", "error"): None})}


def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    committed = [shown(cell) for cell in code_cells(notebook)]
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += f"\n{SMALL}"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()  # with this Python
    for cell, kinds in zip(code_cells(notebook), committed, strict=True):
        assert shown(cell) == kinds or "mistakes" in cell.source  # a small run may make none
    assert (tmp_path / "tutorial" / "model.tflite").is_file()
    (status,) = (output for cell in notebook.cells if ".main(" in cell.source for output in cell.outputs[-1:])
    assert status.data["text/plain"] == "0"


def test_its_outputs_are_of_one_run_and_small(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert NOTEBOOK.stat().st_size < 1_000_000
    assert not any(kind in shown(cell) for cell in cells for kind in ("error", "stderr"))


def test_its_text_names_no_place_on_the_machine_that_ran_it(notebook):
    texts = [output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs]
    assert any(texts)
    assert not any(re.search(r"(?<!\w)(/|[A-Z]:\\)\w+", text) for text in texts)  # an absolute path
