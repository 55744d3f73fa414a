"""Counts by the interval: each track once, in the interval in which it began, by the clock or from a file's start."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.inference.detections import Detections
from mask_detection.inference.statistics import COLUMNS, Statistics, open_statistics, read_statistics
from mask_detection.io.sources import Frame
from mask_detection.utils.errors import MaskDetectionError, OutputError
from tests.helpers.videos import lines_of

BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ("with_mask", "without_mask", "mask_weared_incorrect")
ROWS = {"M": (0.95, 0.03, 0.02), "B": (0.03, 0.95, 0.02), "W": (0.02, 0.03, 0.95), "U": (0.4, 0.3, 0.3)}


def faces(seen: dict[int, str]) -> Detections:
    """Faces by track: a letter each."""
    n = len(seen)
    boxes = np.array([[20 * k, 0, 20 * k + 15, 20] for k in range(n)], np.int32).reshape(-1, 4)
    probabilities = np.array([ROWS[letter] for letter in seen.values()], np.float32).reshape(-1, 3)
    return Detections(boxes, np.ones(n, np.float32), probabilities, NAMES, np.array([*seen], np.int32))


IMAGE = np.zeros((20, 200, 3), np.uint8)


def count(
    frames: list[tuple[float, dict[int, str]]], interval_s: float, start: str | None = None, gaps: tuple = ()
) -> list[dict]:
    """The rows for frames at these seconds; ``start`` is a live source's time of day, gaps are (from when, seconds)."""
    rows: list[dict] = []
    statistics = Statistics("door", interval_s, [rows.append], BERLIN)
    for i, (time_s, seen) in enumerate(frames):
        moment = start and (datetime.fromisoformat(start) + timedelta(seconds=time_s)).isoformat(
            timespec="milliseconds"
        )
        gap_s = sum(seconds for since_s, seconds in gaps if time_s >= since_s)
        statistics.write(Frame(IMAGE, i, time_s, moment, gap_s, "door"), faces(seen))
    statistics._last_wall_s = None  # these frames are no more of today
    statistics.close()
    return rows


def test_a_file_is_counted_from_its_start():
    frames = [(i / 2, {1: "M"} if i < 4 else {2: "B", 3: "W"} if i >= 22 else {}) for i in range(41)]  # 20 s
    first, second, last = count(frames, 10)
    assert list(first) == [*COLUMNS]
    assert (first["source"], first["time"], first["time_s"], first["seconds"]) == ("door", None, 0, 10)
    assert (first["tracks"], first["with_mask"], first["mask_fraction"], first["sample"]) == (1, 1, 1.0, 1)
    assert first["mean_in_view"] == 0.2
    assert (second["time_s"], second["tracks"], second["without_mask"], second["worn_wrong"]) == (10, 2, 1, 1)
    assert (second["mask_fraction"], second["sample"]) == (0.0, 2)
    assert second["mean_in_view"] == pytest.approx(2 * 9 / 10)
    assert (last["time_s"], last["seconds"], last["tracks"]) == (20, 0, 0)


def test_a_track_counts_where_it_began_by_the_label_it_had_most():
    letters = "B" * 3 + "M" * 5 + "U" * 8 + "B" * 30
    rows = count([(float(i), {1: letter}) for i, letter in enumerate(letters)], 12)
    assert [row["tracks"] for row in rows] == [1, 0, 0, 0]
    assert (rows[0]["with_mask"], rows[0]["without_mask"], rows[0]["uncertain"]) == (1, 0, 0)
    (uncertain,) = count([(0.0, {1: "U"}), (1.0, {1: "U"})], 60)
    assert (uncertain["tracks"], uncertain["uncertain"], uncertain["mask_fraction"]) == (1, 1, None)


def test_a_live_source_goes_by_the_clock_across_midnight():
    frames = [(600.0 * i, {i + 1: "M"}) for i in range(7)]
    rows = count(frames, 3600, start="2026-01-31T22:45:00+00:00")
    assert [row["time"] for row in rows] == ["2026-01-31T23:45:00+01:00", "2026-02-01T00:00:00+01:00"]
    assert [row["seconds"] for row in rows] == [900, 2700]
    assert [row["tracks"] for row in rows] == [2, 5]


@pytest.mark.parametrize(
    ("start", "starts"),
    [
        ("2026-10-25T00:30:00+00:00", ["02:30:00+02:00", "02:00:00+01:00", "03:00:00+01:00"]),
        ("2026-03-29T00:30:00+00:00", ["01:30:00+01:00", "03:00:00+02:00", "04:00:00+02:00"]),
    ],
    ids=["back", "forth"],
)
def test_a_change_of_summer_time_loses_and_doubles_nothing(start, starts):
    rows = count([(60.0 * i, {i + 1: "B"}) for i in range(121)], 3600, start=start)
    assert [row["time"][11:] for row in rows] == starts
    assert [row["tracks"] for row in rows] == [30, 60, 31]
    assert [row["seconds"] for row in rows] == [1800, 3600, 1800]


def test_seconds_without_picture_are_split_among_the_intervals():
    frames = [(0.0, {1: "M"}), (10.0, {1: "M"}), (130.0, {2: "M"}), (140.0, {2: "M"})]
    rows = count(frames, 60, start="2026-01-31T12:00:00+00:00", gaps=((130.0, 115.0),))
    assert [row["seconds_without_picture"] for row in rows] == [45, 60, 10]
    assert [row["seconds"] for row in rows] == [60, 60, 20]
    assert [row["mean_in_view"] for row in rows] == [1.0, None, 1.0]


def test_a_clock_that_is_set_back_ends_no_interval_early():
    rows: list[dict] = []
    statistics = Statistics("door", 60, [rows.append], BERLIN)
    for i, moment in enumerate(["12:00:30", "12:00:50", "12:00:20", "12:00:59", "12:01:10"]):
        statistics.write(Frame(IMAGE, i, i * 20.0, f"2026-01-31T{moment}+00:00", source="door"), faces({i + 1: "M"}))
    assert [(row["time"][11:19], row["tracks"]) for row in rows] == [("13:00:30", 4)]


def test_a_source_that_fell_silent_had_no_picture_until_the_end(monkeypatch):
    rows: list[dict] = []
    statistics = Statistics("door", 3600, [rows.append], BERLIN)
    statistics.write(Frame(IMAGE, 0, 0.0, "2026-01-31T12:00:00+00:00", source="door"), faces({}))
    monkeypatch.setattr("time.time", lambda: datetime.fromisoformat("2026-01-31T14:30:00+00:00").timestamp())
    statistics.close()
    assert [row["seconds_without_picture"] for row in rows] == [3600, 3600, 1800]


# --- through the script ---


def test_the_cards_of_a_video_are_counted_as_by_hand(play_cards, tmp_path):
    gone = "." * 25
    letters = "M" * 10 + gone + "B" * 10 + gone + "M" * 10 + gone + "U" * 10  # at 0, 3.5, 7 and 10.5 s
    file = tmp_path / "counts.csv"
    assert play_cards(letters, "--statistics", file, "--interval", "5s") == cli.EXIT_DONE
    rows = read_statistics(file)
    columns = ("source", "time_s", "tracks", "with_mask", "without_mask", "uncertain")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("cards", 0, 2, 1, 1, 0),
        ("cards", 5, 1, 1, 0, 0),
        ("cards", 10, 1, 0, 0, 1),
    ]


def test_another_run_goes_on_with_the_file(play_cards, tmp_path):
    file = tmp_path / "counts.csv"
    for _ in range(2):
        assert play_cards(["MM", "BBB"], "--statistics", file) == cli.EXIT_DONE
    with file.open("ab") as stream:
        stream.write(b"half a li")
    play_cards("M", "--statistics", file)
    with file.open(newline="") as stream:
        lines = [*csv.reader(stream)]
    assert lines[0] == [*COLUMNS]
    assert sorted(line[0] for line in lines[1:]) == ["cards", "cards-0", "cards-0", "cards-1", "cards-1"]


@pytest.mark.parametrize("content", [b"name,age\r\nme,7\r\n", b"no lines at all", b"\xff\xfe\x00"])
def test_a_file_that_is_something_else_is_left_alone(tmp_path, content):
    file = tmp_path / "mine.csv"
    file.write_bytes(content)
    with pytest.raises(OutputError, match="holds something else"), open_statistics(file):
        pytest.fail("it was opened")
    assert file.read_bytes() == content


def test_half_a_header_is_begun_anew(tmp_path):
    file = tmp_path / "counts.csv"
    file.write_text("source,ti")
    with open_statistics(file) as statistics:
        statistics.write(dict.fromkeys(COLUMNS, 1))
    assert file.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_statistics_are_csv(tmp_path):
    with pytest.raises(OutputError, match="end it in"), open_statistics(tmp_path / "counts.json"):
        pytest.fail("it was opened")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b\n1,2\n", "has no column source"),
        (",".join(COLUMNS) + "\ndoor,yesterday" + ",1" * 11 + "\n", "line 2 is no row"),
        (",".join(COLUMNS) + "\ndoor,,0\n", "line 2 is no row"),
        (",".join(COLUMNS) + "\ndoor,,nan" + ",1" * 10 + "\n", "line 2 is no row"),
    ],
)
def test_files_that_are_no_statistics_are_refused(tmp_path, text, fault):
    file = tmp_path / "counts.csv"
    file.write_text(text)
    with pytest.raises(MaskDetectionError, match=fault):
        read_statistics(file)


def test_statistics_and_the_log_agree(detect, video, tmp_path):
    file, log = tmp_path / "counts.csv", tmp_path / "seen.jsonl"
    assert detect(video, "--statistics", file, "--interval", "1h", "--log", log) == cli.EXIT_DONE
    (row,) = read_statistics(file)
    tracks = {face["track"] for line in lines_of(log) for face in line["faces"]}
    assert row["tracks"] == len(tracks)
    assert row["source"] == "moving"


@pytest.mark.parametrize(("name", "masked", "bare"), [("putting_masks_on", 5, 0), ("one_face_without_mask", 0, 1)])
def test_real_videos_are_counted_as_by_hand(shared, tmp_path, name, masked, bare):
    import detect_mask_video

    file = tmp_path / "counts.csv"  # four persons and a painting put masks on in the first two seconds
    words = ["--source", shared / "video" / f"{name}.mp4", "--statistics", file, "--interval", "6s", "--every", "2"]
    stages = ["--detector", "builtin", "--no-display"]
    assert detect_mask_video.main([str(word) for word in (*words, *stages)]) == cli.EXIT_DONE
    rows = read_statistics(file)
    assert [(row["tracks"], row["with_mask"], row["without_mask"]) for row in rows] == [
        (masked + bare, masked, bare),
        *[(0, 0, 0)] * (len(rows) - 1),
    ]
    assert [row["mean_in_view"] for row in rows] == pytest.approx([masked + bare] * len(rows), abs=0.02)
