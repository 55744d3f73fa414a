"""Alarms: whom and when they are raised for, what the command gets, and that nothing it does harms the video."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mask_detection.commands import cli
from mask_detection.inference import alarm
from mask_detection.inference.alarm import Alarm, AlarmCommand, CrowdAlarm, choose_alert_classes
from mask_detection.inference.detections import Detections
from mask_detection.io.sources import Frame
from mask_detection.utils.errors import MaskDetectionError

NAMES = ("with_mask", "without_mask")
MASKED, BARE, UNCERTAIN = (0.95, 0.05), (0.05, 0.95), (0.4, 0.6)


def python(source: str, *arguments: object) -> str:
    """A command line that runs a piece of Python."""
    return shlex.join([sys.executable, "-S", "-c", source, *map(str, arguments)])


def append_to(path: Path) -> str:
    """A command line that adds its event to a file."""
    return python("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())", path)


def events_in(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Recorder(AlarmCommand):
    """Keeps the events instead of running something."""

    def __init__(self) -> None:
        self.events: list[dict] = []

    def start(self, event: dict) -> None:
        self.events.append(event)

    def collect(self) -> None:
        pass


def frame_at(time_s: float) -> Frame:
    return Frame(np.zeros((200, 200, 3), np.uint8), round(time_s * 10), time_s)


def faces_of(there: dict[int, tuple[float, float]]) -> Detections:
    """Faces with these probabilities, by track."""
    return Detections(
        np.array([[20 * k, 0, 20 * k + 15, 20] for k in range(len(there))], np.int32).reshape(-1, 4),
        np.ones(len(there), np.float32),
        np.array([*there.values()], np.float32).reshape(-1, 2),
        NAMES,
        np.array([*there], np.int32),
    )


def watch(
    labels: dict[int, str], *, after_s: float = 1.0, cooldown_s: float = 0.0, classes: tuple[str, ...] = NAMES[1:]
) -> list[tuple[int, float]]:
    """The track and the time of each alarm; for each track a letter a frame, 10 frames a second: M, B, U or nobody."""
    rows, recorder = {"M": MASKED, "B": BARE, "U": UNCERTAIN}, Recorder()
    watcher = Alarm([recorder.start], classes, after_s, cooldown_s)
    for i in range(max(map(len, labels.values()))):
        there = {track: rows[letters[i]] for track, letters in labels.items() if letters[i : i + 1] in {*rows}}
        watcher.write(frame_at(i / 10), faces_of(there))
    return [(event["track"], event["time_s"]) for event in recorder.events]


# --- when ---


def test_an_alarm_comes_after_the_time_and_once_for_each_track():
    assert watch({1: "B" * 60}) == [(1, 1.0)]
    assert watch({1: "B" * 9}) == []
    assert watch({1: "M" * 60}) == []
    assert watch({1: "B" * 60, 2: "M" * 20 + "B" * 40}) == [(1, 1.0), (2, 3.0)]


def test_no_time_at_all_is_the_first_sight():
    assert watch({1: "MMB"}, after_s=0) == [(1, 0.2)]


def test_a_mask_between_starts_the_time_anew():
    assert watch({1: "B" * 9 + "M" + "B" * 20}) == [(1, 2.0)]


def test_uncertain_answers_and_short_gaps_neither_end_the_time_nor_raise_the_alarm():
    assert watch({1: "BBBUU.....BBBBB"}) == [(1, 1.0)]
    assert watch({1: "BBBUUUUUUUUUUUU"}) == []
    assert watch({1: "BBBUUUUUUUUUUUUB"}) == [(1, 1.5)]
    assert watch({1: "U" * 60}) == []


def test_alarms_keep_their_distance_and_none_is_lost():
    assert watch({1: "B" * 60, 2: "B" * 60}, cooldown_s=2) == [(1, 1.0), (2, 3.0)]
    assert watch({1: "B" * 60, 2: "B" * 20 + "M" * 40}, cooldown_s=2) == [(1, 1.0)]


def test_the_classes_can_be_chosen():
    assert watch({1: "M" * 20}, classes=("with_mask",)) == [(1, 1.0)]
    assert watch({1: "MMMMMBBBBBB"}, classes=NAMES) == [(1, 1.0)]


@pytest.mark.parametrize(
    ("given", "class_names", "chosen"),
    [
        (None, NAMES, ("without_mask",)),
        (None, ("mask", "No Mask", "visor"), ("No Mask",)),
        (None, ("with_mask", "mask_weared_incorrect", "without_mask"), ("mask_weared_incorrect", "without_mask")),
        (["visor"], ("mask", "visor"), ("visor",)),
    ],
)
def test_the_classes_that_do_not_protect_are_the_default(given, class_names, chosen):
    assert choose_alert_classes(given, class_names) == chosen


@pytest.mark.parametrize(
    ("given", "fault"), [(None, "no class called without_mask"), (["scarf"], "scarf: is no class")]
)
def test_a_class_that_the_model_does_not_know_is_said(given, fault):
    with pytest.raises(MaskDetectionError, match=f"{fault}.*name one of visor, hat"):
        choose_alert_classes(given, ("visor", "hat"))


# --- crowds ---


def watch_crowd(labels: dict[int, str], **how: float) -> list[dict]:
    """The alarms of a crowd; for each track a letter a second, of two sightings."""
    rows, recorder = {"M": MASKED, "B": BARE, "U": UNCERTAIN}, Recorder()
    conditions = {"fraction": 0.25, "window_s": 300.0, "minimum": 5, "cooldown_s": 600.0} | how
    watcher = CrowdAlarm([recorder.start], NAMES[1:], **conditions)
    for second in range(max(map(len, labels.values()))):
        there = {track: rows[word[second]] for track, word in labels.items() if word[second : second + 1] in {*rows}}
        for part in (0.0, 0.6):
            watcher.write(frame_at(second + part), faces_of(there))
    return recorder.events


def test_a_crowd_too_many_of_which_wear_none_raises_the_alarm():
    (event,) = watch_crowd({1: "M", 2: "M", 3: "M", 4: "B", 5: "B", 6: "M"})
    assert (event["fraction"], event["sample"], event["count"], event["tracks"]) == (0.3333, 6, 2, [4, 5])
    assert (event["classes"], event["source"], event["time_s"]) == (["without_mask"], "", 0.6)
    assert watch_crowd(dict.fromkeys(range(1, 8), "M") | {8: "B"}) == []


def test_one_face_never_raises_the_alarm_of_a_crowd():
    assert watch_crowd({1: "B" * 50}, minimum=2) == []
    assert watch_crowd({1: "B" * 50}, minimum=2, fraction=0.0) == []
    assert watch_crowd({1: "B" * 50, 2: "M" * 50, 3: "M" * 50}, minimum=2) == []
    assert len(watch_crowd({1: "B" * 50, 2: "B" * 50}, minimum=2)) == 1


def test_too_few_faces_are_no_crowd():
    assert watch_crowd(dict.fromkeys(range(1, 5), "B" * 9)) == []
    assert len(watch_crowd(dict.fromkeys(range(1, 6), "B" * 9))) == 1


def test_faces_seen_before_the_window_do_not_count():
    early = dict.fromkeys((1, 2, 3), "B") | dict.fromkeys((4, 5, 6), "." * 20 + "B")
    assert len(watch_crowd(early, window_s=30.0)) == 1
    assert watch_crowd(early, window_s=10.0) == []


def test_glimpses_and_uncertain_faces_do_not_count():
    assert watch_crowd(dict.fromkeys(range(1, 9), "U" * 9)) == []
    recorder = Recorder()
    watcher = CrowdAlarm([recorder.start], NAMES[1:], 0.25, 300.0, 5, 0.0)
    for i in range(20):
        watcher.write(frame_at(i), faces_of({i + 1: BARE}))
    assert recorder.events == []


def test_alarms_of_a_crowd_keep_their_distance():
    crowd = dict.fromkeys(range(1, 6), "B" * 60)
    assert [event["time_s"] for event in watch_crowd(crowd, cooldown_s=20.0)] == [0.6, 20.6, 40.6]


def test_the_alarm_of_a_crowd_through_the_script(play_cards, tmp_path):
    log, gone = tmp_path / "alarms.jsonl", "." * 25
    conditions = ["--alert-fraction", 0.5, "--alert-window", "1m", "--alert-minimum", 3]
    letters = gone.join(["M" * 8, "B" * 8, "B" * 8, "B" * 8])
    assert play_cards(letters, "--alert-command", append_to(log), *conditions) == cli.EXIT_DONE
    (event,) = events_in(log)
    assert event["source"] == str(tmp_path / "cards.avi")
    assert (event["sample"], event["tracks"], event["fraction"]) == (3, [2, 3], 0.6667)


# --- through the script ---


def test_the_command_gets_the_event(play_cards, tmp_path):
    log = tmp_path / "alarms.jsonl"
    arguments = ["--alert-command", append_to(log), "--alert-after", 0.5, "--log", tmp_path / "seen.jsonl"]
    assert play_cards("B" * 20 + "M" * 5, *arguments) == cli.EXIT_DONE
    (event,) = events_in(log)
    assert event.pop("source") == str(tmp_path / "cards.avi")
    assert event.pop("seconds") == 0.5
    assert (event.pop("frame"), event.pop("time_s")) == (5, 0.5)
    assert event["track"] == 1
    assert (event.pop("classes"), event.pop("tracks"), event.pop("count")) == (["without_mask"], [1], 1)
    assert event == json.loads((tmp_path / "seen.jsonl").read_text().splitlines()[5])["faces"][0]


def test_an_alarm_is_enough_to_do(play_cards, tmp_path):
    log, classes = tmp_path / "alarms.jsonl", ("hat", "cap", "crown")
    arguments = ["--alert-command", append_to(log), "--alert-after", 0.2, "--alert-class", "crown", "cap"]
    assert play_cards("M" * 5 + "." * 25 + "W" * 10, *arguments, class_names=classes) == cli.EXIT_DONE
    assert [event["label"] for event in events_in(log)] == ["crown"]


def test_alarms_follow_each_other_at_the_cooldown(play_cards, tmp_path):
    log, gone = tmp_path / "alarms.jsonl", "." * 21
    conditions = ["--alert-after", 0, "--alert-cooldown", 4]
    play_cards(f"B{gone}BB{gone}B", "--alert-command", append_to(log), *conditions)
    assert sorted(event["frame"] for event in events_in(log)) == [0, 45]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (python("import sys; print('no route', file=sys.stderr); sys.exit(7)"), "ended with status 7: no route"),
        (python("raise SystemExit(3)"), "ended with status 3"),
        ("no-such-program --loud", "cannot be run (No such file or directory); check the program's name"),
    ],
)
def test_a_failing_alarm_is_one_line_and_the_video_goes_on(play_cards, tmp_path, command, fault, errors):
    log = tmp_path / "seen.jsonl"
    assert play_cards("B" * 20, "--alert-command", command, "--alert-after", 0.5, "--log", log) == cli.EXIT_DONE
    assert errors() == [f"error: --alert-command: {fault}"]
    assert len(log.read_text().splitlines()) == 20


def test_a_missing_program_is_said_at_the_start(play_cards, capsys):
    play_cards("M" * 2, "--alert-command", "no-such-program")
    assert "there is no program no-such-program here" in capsys.readouterr().err


def test_no_shell_runs_the_command(play_cards, tmp_path):
    words = ["$HOME", "a b", "*", ">", "x", ";", "|"]
    source = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))"
    play_cards("B" * 3, "--alert-after", 0, "--alert-command", python(source, tmp_path / "words", *words))
    assert json.loads((tmp_path / "words").read_text()) == words


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--alert-command", "say 'hello"], "--alert-command: a quotation mark in it is left open"),
        (["--alert-command", ""], "--alert-command: is empty"),
        (["--alert-command", "true", "--alert-class", "scarf"], "--alert-class scarf: is no class of the model"),
    ],
)
def test_an_alarm_that_can_never_come_is_refused(play_cards, arguments, fault, errors):
    assert play_cards("B" * 3, *arguments) == cli.EXIT_UNUSABLE
    (error,) = errors()
    assert error.startswith(f"error: {fault}")


@pytest.mark.parametrize("arguments", [["--alert-after", 7], ["--alert-cooldown", 7], ["--alert-class", "x"]])
def test_conditions_without_a_command_are_a_usage_error(play_cards, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        play_cards("B", *arguments)
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert "add --alert-command" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon"])
def test_senseless_seconds_are_a_usage_error(play_cards, text, capsys):
    with pytest.raises(SystemExit) as caught:
        play_cards("B", "--alert-command", "true", f"--alert-after={text}")
    assert caught.value.code == cli.EXIT_UNUSABLE
    assert "--alert-after" in capsys.readouterr().err


# --- commands that don't end ---


@pytest.fixture
def stuck() -> str:
    """A command line that never ends by itself."""
    return python("import threading; threading.Event().wait()")


def test_commands_that_hang_are_bounded_and_stopped_at_the_end(stuck, monkeypatch, caplog):
    monkeypatch.setattr(alarm, "LAST_WAIT", 0.0)
    command = AlarmCommand(stuck)
    for _ in range(alarm.MAX_RUNNING + 2):
        command.start({"track": 1})
        command.collect()
    processes = [program._process for program in command._running]
    assert len(processes) == alarm.MAX_RUNNING
    assert [record.message for record in caplog.records] == [
        "error: --alert-command: is still running for 4 earlier alarms; this one is left out"
    ] * 2
    command.finish()
    assert all(process.returncode for process in processes)


# A program that starts another one, which writes its number into a file and never ends.
PARENT = """
import pathlib, subprocess, sys, time
child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-S", "-c", child, sys.argv[1]])
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
time.sleep(float(sys.argv[2]))
"""


def wait_for(path: Path) -> int:
    """The number in a file, as soon as it is there."""
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at Linux's list of processes")
@pytest.mark.parametrize("lasting", [0, 600], ids=["its parent has ended", "its parent still runs"])
def test_what_a_command_started_ends_with_the_run(tmp_path, monkeypatch, lasting):
    monkeypatch.setattr(alarm, "LAST_WAIT", 1.0)
    command = AlarmCommand(python(PARENT, tmp_path / "child", lasting))
    command.start({"track": 1})
    child = wait_for(tmp_path / "child")
    if not lasting:
        command._running[0].wait(30)
    command.collect()
    assert is_alive(child)
    command.finish()
    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(child)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions")
def test_the_commands_are_not_in_our_group_which_ctrl_c_ends(tmp_path):
    command = AlarmCommand(
        python("import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getsid(0)))", tmp_path / "group")
    )
    command.start({"track": 1})
    command.finish()
    assert wait_for(tmp_path / "group") != os.getsid(0)


def test_a_chatty_command_neither_waits_nor_fills_the_disk(caplog):
    source = "import sys; [sys.stderr.write('x' * 999 + chr(10)) for _ in range(9000)]; sys.exit('the last word')"
    command = AlarmCommand(python(source))
    command.start({"track": 1})
    (program,) = command._running
    command.finish()
    assert [record.message for record in caplog.records] == [
        "error: --alert-command: ended with status 1: the last word"
    ]
    assert len(program._errors) <= alarm.MAX_ERROR_BYTES
