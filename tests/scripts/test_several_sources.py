"""Several sources in one run: each as if it were alone, outputs by name, and one that is lost ends no other."""

from __future__ import annotations

import csv
import json

import pytest

from mask_detection.commands import cli
from tests.helpers.videos import Act, endless, facts_of, lines_of, shown, streaming

WORDS = ["M" * 30, "B" * 12 + "M" * 20, "." * 5 + "U" * 9, "MB" * 20]
NAMES = ["cards-0", "cards-1", "cards-2", "cards-3"]


def test_four_files_give_what_four_runs_give(play_cards, tmp_path):
    assert play_cards(WORDS, "--log", tmp_path / "all.jsonl", "--output", tmp_path / "{source}.mkv") == cli.EXIT_DONE
    lines = lines_of(tmp_path / "all.jsonl")
    for name, word in zip(NAMES, WORDS, strict=True):
        alone = tmp_path / "alone.jsonl"
        assert play_cards(word, "--log", alone, "--output", tmp_path / "alone.mkv") == cli.EXIT_DONE
        assert [line for line in lines if line["source"] == name] == [
            {**line, "source": name} for line in lines_of(alone)
        ]
        assert facts_of(tmp_path / f"{name}.mkv") == facts_of(tmp_path / "alone.mkv")
    assert {line["source"] for line in lines} == {*NAMES}


def test_files_and_folders_by_name(play_cards, tmp_path, capsys):
    arguments = ["--name", "front", "back", "--output", tmp_path / "frames", "--log", tmp_path / "{source}" / "log.csv"]
    assert play_cards(["M" * 3, "B" * 4], *arguments) == cli.EXIT_DONE
    assert len([*(tmp_path / "frames" / "front").iterdir()]) == 3
    assert len([*(tmp_path / "frames" / "back").iterdir()]) == 4
    with (tmp_path / "back" / "log.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["source"] for row in rows] == ["back"] * 4
    assert list(rows[0])[-1] == "source"
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if " frames; " in line] == [
        "front",
        "back",
    ]


def test_the_summary_and_alarms_name_the_source(play_cards, tmp_path):
    clips = ["--clips", tmp_path / "clips", "--alert-after", 0.5, "--clip-after", 0.5]
    assert play_cards(["M" * 20, "B" * 20], "--summary", tmp_path / "summary.json", *clips) == cli.EXIT_DONE
    records = json.loads((tmp_path / "summary.json").read_text())["sources"]
    assert [(record["source"], record["frames"]) for record in records] == [("cards-0", 20), ("cards-1", 20)]
    (clip,) = (tmp_path / "clips").iterdir()
    assert clip.name == "cards-1-000001.mkv"
    assert facts_of(clip).n_frames == 11  # from the start, up to half a second after 0.5 s


def test_a_source_that_is_lost_costs_the_others_nothing(play_cards, tmp_path, errors):
    import detect_mask_video

    log = tmp_path / "seen.jsonl"
    play_cards("M" * 20, "--log", tmp_path / "first.jsonl")
    sources = [tmp_path / "missing.mp4", tmp_path / "cards.avi"]
    words = ["--source", *sources, "--log", log, "--no-display"]
    assert detect_mask_video.main([str(word) for word in words]) == cli.EXIT_SOME_FAILED
    (error,) = errors()
    assert "missing.mp4: no such video file" in error
    assert [line["source"] for line in lines_of(log)] == ["cards"] * 20


def test_no_source_at_all_is_unusable(play_cards, tmp_path, errors):
    import detect_mask_video

    words = ["--source", tmp_path / "a.mp4", tmp_path / "b.mp4", "--log", tmp_path / "seen.jsonl", "--no-display"]
    assert detect_mask_video.main([str(word) for word in words]) == cli.EXIT_UNUSABLE
    assert len(errors()) == 3
    assert not (tmp_path / "seen.jsonl").exists()


def test_a_stream_and_a_file_together(video, tiny_model, tmp_path):
    import detect_mask_video

    log = tmp_path / "seen.jsonl"
    with streaming(Act(endless(shown()))) as server:
        words = ["--source", server.address, video, "--log", log, "--max-frames", 60, "--no-display"]
        stages = ["--detector", "haar", "--model", tiny_model]
        assert detect_mask_video.main([str(word) for word in (*words, *stages)]) == cli.EXIT_DONE
    by_source = [line["source"] for line in lines_of(log)]
    assert by_source.count("moving") == 20
    assert by_source.count(by_source[0] if by_source[0] != "moving" else by_source[1]) >= 20
    assert all(("time" in line) is (line["source"] != "moving") for line in lines_of(log))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--output", "one.mkv"], "one file for several sources; put {source} into its name"),
        (["--log", "-", "--name", "a"], "1 names for 2 sources"),
        (["--log", "-", "--name", "a", "a"], "two sources have the same name"),
        (["--log", "-", "--name", "a", "../b"], "is no name of up to 60 letters"),
        (["--log", "-", "--keep", "10GB"], "add --segment or --clips"),
        (["--log", "-", "--clip-after", "3"], "add --clips"),
        (["--log", "-", "--interval", "1m"], "add --statistics"),
        (["--statistics", "a.csv", "--interval", "25h"], "not a duration from 1 to 86400 seconds"),
        (["--output", "frames", "--segment", "10m"], "names a folder of frames"),
        (["--statistics", "a.csv", "--segment", "10m"], "there is nothing to cut"),
        (["--clips", "c", "--alert-minimum", "1", "--alert-fraction", "0.2"], "not a whole number from 2"),
        (["--clips", "c", "--alert-window", "1m"], "add --alert-fraction"),
    ],
)
def test_what_contradicts_itself_is_a_usage_error(play_cards, arguments, fault, capsys):
    with pytest.raises(SystemExit) as caught:
        play_cards(["M", "B"], *arguments)
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert fault in capsys.readouterr().err


def test_outputs_never_replace_a_source(play_cards, tmp_path, errors):
    (tmp_path / "clip.avi").write_bytes(b"")
    assert play_cards(["M", "B"], "--output", tmp_path / "{source}.avi") == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert "cards-0.avi: is an input and would be lost" in error
