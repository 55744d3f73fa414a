"""The report: one page or image of the counts by hour and day."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from mask_detection.commands import cli, report
from mask_detection.inference.statistics import COLUMNS

HEADER = ",".join(COLUMNS)


def line(source: str, time: str, masked: int, bare: int, time_s: float = 0.0) -> str:
    return f"{source},{time},{time_s},3600,{masked + bare},{masked},{bare},0,0,0.5,,{masked + bare},60"


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    """Two days of one source, and one that has none of a file."""
    rows = [
        line("door", f"2026-01-{day}T{hour:02}:00:00+01:00", hour, 24 - hour) for day in (30, 31) for hour in (8, 9)
    ]
    path = tmp_path / "counts.csv"
    path.write_text("\n".join([HEADER, *rows, line("<b>a$b$</b>", "", 0, 0)]) + "\n")
    return path


def test_a_page_needs_nothing_else(counts, tmp_path, capsys):
    output = tmp_path / "report.html"
    assert report.main([str(counts), "--output", str(output)]) == cli.EXIT_DONE
    page = output.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert "<b>a" not in page  # a source's name is no HTML
    assert "96 tracks: 34 with mask, 62 without mask; 35% with a mask (of 96; 95 % interval 27% to 45%)" in page
    assert capsys.readouterr().out.splitlines()[0].startswith("door: 96 tracks")


def test_an_image(counts, tmp_path):
    output = tmp_path / "report.png"
    assert report.main([str(counts), str(counts), "-o", str(output)]) == cli.EXIT_DONE
    image = cv2.imread(str(output))
    assert image.shape[1] > 1000
    assert image.std() > 10


def test_rows_are_added_by_hour_and_day():
    rows = [
        dict.fromkeys(COLUMNS, 0) | {"hour": hour, "tracks": n, "with_mask": n, "sample": n}
        for hour, n in ((8, 1), (9, 2), (8, 4))
    ]
    sums = report.grouped(rows, lambda row: row["hour"])
    assert {key: value["tracks"] for key, value in sums.items()} == {8: 5, 9: 2}


@pytest.mark.parametrize(("successes", "sample", "interval"), [(0, 10, (0.0, 0.278)), (5, 10, (0.237, 0.763))])
def test_intervals_of_a_fraction(successes, sample, interval):
    assert report.wilson(successes, sample) == pytest.approx(interval, abs=0.001)


@pytest.mark.parametrize(
    ("content", "output", "fault"),
    [
        (f"{HEADER}\n", "report.html", "holds no row yet"),
        ("a,b\n", "report.html", "has no column source"),
        (f"{HEADER}\n{line('a', 'today', 1, 1)}\n", "report.html", "line 2 is no row"),
        (f"{HEADER}\n{line('a', '', 1, 1)}\n", "report.pdf", "is no name for a report"),
        (f"{HEADER}\n{line('a', '', 1, 1)}\n", "counts.csv", "is no name for a report"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(tmp_path, content, output, fault, errors):
    (tmp_path / "counts.csv").write_text(content)
    words = [str(tmp_path / "counts.csv"), "--output", str(tmp_path / output)]
    assert report.main(words) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert fault in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.csv"]
