"""What an output folder holds decides what a run may do there; nothing of this needs Ray to start."""

from __future__ import annotations

import os

import pytest

from mask_detection.commands import archive, cli
from mask_detection.distributed.job import Job, find_job, sole_run
from mask_detection.distributed.places import open_place
from mask_detection.utils.errors import MaskDetectionError


def test_a_list_that_was_not_finished_is_begun_anew(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "000000.parquet").touch()
    assert find_job(open_place(str(tmp_path))) is None
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["a file", "other files", "a damaged job"])
def test_an_output_with_something_else_is_refused_and_kept(tmp_path, there, errors, many_photos):
    output = tmp_path / "out"
    if there == "a file":
        output.write_text("mine")
    else:
        output.mkdir()
        (output / ("job.json" if there == "a damaged job" else "mine.txt")).write_text("mine")
    assert archive.main(["--image", str(many_photos), "--output", str(output), "--resume"]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert str(output) in line
    assert next(path for path in (output, *tmp_path.rglob("*.*")) if path.is_file()).read_text() == "mine"


def test_a_second_run_on_an_output_is_refused(tmp_path, errors, many_photos):
    pytest.importorskip("fcntl")
    output = tmp_path / "out"
    with sole_run(open_place(str(output))):
        assert archive.main(["--image", str(many_photos), "--output", str(output)]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert "another run is writing there" in line


def test_a_bad_model_is_named_before_anything_is_made(tmp_path, errors, many_photos):
    output = tmp_path / "out"
    arguments = ["--image", str(many_photos), "--output", str(output), "--model", str(many_photos / "03.jpg")]
    assert archive.main(arguments) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert "03.jpg" in line
    assert not output.exists()


def test_an_input_without_photos_leaves_nothing(tmp_path, errors, tiny_model):
    (tmp_path / "photos").mkdir()
    output = tmp_path / "out"
    arguments = ["--image", tmp_path / "photos", "--output", output, "--model", tiny_model]
    assert archive.main([str(word) for word in arguments]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert "no images are there" in line
    assert not output.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"inputs": ["other"]}, "--image photos"),
        ({"format": "jsonl"}, "another format: parquet"),
        ({"detector": {"model": "2"}}, "another model: 1"),
        ({"class_names": ["c"]}, r"another class names: \['a', 'b'\]"),
    ],
)
def test_a_job_is_only_gone_on_with_as_it_was_begun(tmp_path, change, named):
    asked = {"inputs": ["photos"], "format": "parquet", "detector": {"model": "1"}, "class_names": ["a", "b"]}
    output = open_place(str(tmp_path))
    Job(**asked).save(output)
    begun = find_job(output)
    assert begun == Job(**asked)
    begun.check_same(output, Job(**asked))
    with pytest.raises(MaskDetectionError, match=named):
        begun.check_same(output, Job(**{**asked, **change}))


OF_RAY = ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED")  # set while it runs


def test_a_cluster_that_is_not_there_is_named(tmp_path, errors, many_photos, monkeypatch, tiny_model):
    from mask_detection.distributed import cluster

    def refuse(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore of it.")

    monkeypatch.setattr(cluster.ray, "init", refuse)
    before = [os.environ.get(name) for name in OF_RAY]
    arguments = ["--image", many_photos, "--output", tmp_path / "out", "--address", "auto", "--model", tiny_model]
    assert archive.main([str(word) for word in arguments]) == cli.EXIT_UNUSABLE
    (line,) = errors()
    assert line.startswith(
        "error: Ray cluster auto: Could not find any running Ray instance; check the address and the token"
    )
    assert [os.environ.get(name) for name in OF_RAY] == before
