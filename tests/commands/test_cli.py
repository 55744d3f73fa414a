"""What every command shares: a help that answers at once, statuses, one-line errors, machines that lack something."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mask_detection.__main__ import COMMANDS
from mask_detection.__main__ import main as list_commands
from mask_detection.commands import cli
from mask_detection.utils.errors import MaskDetectionError
from tests.helpers.paths import ROOT

SCRIPTS = ("train_mask_detector.py", "detect_mask_image.py", "detect_mask_video.py")
HEAVY = ("tensorflow", "keras", "cv2", "matplotlib", "sklearn")
# Runs a command's help and says afterwards which libraries it has loaded.
HELP_PROBE = f"""
import runpy, sys
command = sys.argv[1]
try:
    if command.endswith(".py"):
        sys.argv = [command, "--help"]
        runpy.run_path(command, run_name="__main__")
    else:
        sys.argv = ["mask_detection", command, "--help"]
        runpy.run_module("mask_detection", run_name="__main__")
finally:
    print("LOADED", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def commands() -> list[str]:
    """The scripts and the commands of ``python -m mask_detection``."""
    return [*SCRIPTS, *COMMANDS]


def run_python(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own in the project's folder."""
    without_screen = {key: value for key, value in os.environ.items() if key not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**without_screen, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def assert_one_line(stderr: str, *parts: str) -> None:
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


# --- help ---


def test_without_a_command_all_are_listed(capsys):
    assert list_commands([]) == cli.EXIT_DONE
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


@pytest.mark.parametrize("command", commands())
def test_help_teaches_and_loads_nothing_heavy(command):
    done = run_python("-c", HELP_PROBE, command)
    assert done.returncode == 0, done.stderr
    help_text, _, loaded = done.stdout.rpartition("LOADED")
    assert loaded.split() == []
    assert "usage:" in help_text
    assert f"python {command}" in help_text or f"python -m mask_detection {command}" in help_text  # an example
    assert "default" in help_text
    assert "xit status" in help_text


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_classic_short_options_are_there(script):
    help_text = run_python(script, "--help").stdout
    wanted = {"train": ("-d", "-m", "-p"), "image": ("-i", "-f", "-m", "-c"), "video": ("-f", "-m", "-c")}
    for option in next(options for name, options in wanted.items() if name in script):
        assert f"  {option} " in help_text or f"  {option}, " in help_text


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option_is_a_usage_error(script):
    done = run_python(script, "--frobnicate")
    assert done.returncode == cli.EXIT_UNUSABLE
    assert "usage:" in done.stderr
    assert "Traceback" not in done.stderr


# --- machines that lack something ---


@pytest.fixture
def fake_library(tmp_path: Path):
    """A function that puts a library in front of the real one, and returns what PYTHONPATH has to be."""

    def fake(name: str, source: str) -> str:
        package = tmp_path / "fakes" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source)
        return str(package.parent)

    return fake


@pytest.mark.parametrize(
    ("script", "option"), [("detect_mask_image.py", "--image"), ("detect_mask_video.py", "--source")]
)
def test_an_opencv_that_cannot_be_loaded_names_both_remedies(script, option, fake_library, photo):
    fakes = fake_library("cv2", "raise ImportError('libGL.so.1: cannot open shared object file: No such file')")
    done = run_python(script, option, photo, PYTHONPATH=fakes)
    assert done.returncode == cli.EXIT_UNUSABLE
    assert_one_line(done.stderr, "libGL.so.1", "apt install libgl1", "pip install 'opencv-python-headless>=4.10,<5'")


def test_a_missing_library_names_the_requirements(fake_library, photo):
    fakes = fake_library("cv2", "raise ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')")
    done = run_python("detect_mask_image.py", "--image", photo, PYTHONPATH=fakes)
    assert done.returncode == cli.EXIT_UNUSABLE
    assert_one_line(done.stderr, "No module named 'cv2'", f"pip install -r {ROOT / 'requirements.txt'}")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux runs without a screen")
@pytest.mark.parametrize(
    ("script", "option", "remedies"),
    [
        ("detect_mask_image.py", "--image", ("--output", "--json")),
        ("detect_mask_video.py", "--source", ("--output", "--log")),
    ],
)
@pytest.mark.parametrize(
    "screen", [{}, {"DISPLAY": ":987"}, {"WAYLAND_DISPLAY": "none"}], ids=["none", "dead", "wayland"]
)
def test_without_a_working_screen_the_remedy_is_named(script, option, remedies, screen, photo):
    """OpenCV's own answer to a dead display is to abort the process."""
    done = run_python(script, option, photo, **screen)
    assert done.returncode == cli.EXIT_UNUSABLE
    assert_one_line(done.stderr, "no window can be opened here", *remedies)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux runs without a screen")
def test_a_dead_display_does_not_matter_to_outputs(photo, tmp_path):
    """The one complete run in a process of its own: nothing but our lines on either stream."""
    output = tmp_path / "out.png"
    files = ["--image", photo, "--output", output, "--json", "-", "--detector", "haar"]
    done = run_python("detect_mask_image.py", *files, DISPLAY=":987")
    assert done.returncode == cli.EXIT_DONE
    assert done.stderr.splitlines() == ["face detector: Haar cascade"]
    assert json.loads(done.stdout)["image"] == str(photo)
    assert output.exists()


def test_a_reader_that_leaves_is_no_traceback(photo, tiny_model):
    """As in ``detect_mask_image.py … | head -1``."""
    source = (
        "import os, sys, detect_mask_image as script\n"
        "read_end, write_end = os.pipe()\n"
        "os.dup2(write_end, 1)\n"
        "os.close(read_end)\n"
        "sys.exit(script.main(sys.argv[1:]))\n"
    )
    files = ["--image", photo, "--json", "-", "--detector", "haar", "--no-display"]
    done = run_python("-c", source, *files, "--model", tiny_model)
    assert done.returncode == cli.EXIT_SOME_FAILED
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


# --- errors and statuses ---


@pytest.mark.parametrize(
    ("outcome", "status", "line"),
    [
        (MaskDetectionError("a.jpg: is bad; mend it"), 2, "error: a.jpg: is bad; mend it\n"),
        (MaskDetectionError("two\nlines.jpg: is bad; mend it"), 2, "error: two\\nlines.jpg: is bad; mend it\n"),
        (ModuleNotFoundError("No module named 'tqdm'"), 2, None),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_ends_a_command_becomes_a_status_and_a_line(outcome, status, line, capsys):
    @cli.command
    def main(argv=None):
        raise outcome

    assert main([]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert line is None or printed.err == line


@pytest.fixture
def heed_ctrl_c() -> Iterator[None]:
    """Undo what a shell does to commands that it starts in the background: to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_every_end_is_like_ctrl_c_and_those_after_it_let_the_outputs_be_finished(ending, heed_ctrl_c, capsys):
    finished, others = [], [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)]

    @cli.command
    def main(argv=None):
        try:
            signal.raise_signal(ending)
        finally:
            for other in others:
                signal.raise_signal(other)
            finished.append(True)
        return cli.EXIT_DONE

    before = [signal.getsignal(other) for other in others]
    assert main([]) == cli.EXIT_INTERRUPTED
    assert finished
    assert capsys.readouterr().err == "interrupted\n"
    assert [signal.getsignal(other) for other in others] == before


def test_under_nohup_a_closed_terminal_ends_nothing():
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("Windows has no such signal")
    main = cli.command(lambda argv: signal.raise_signal(signal.SIGHUP) or cli.EXIT_DONE)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main([]) == cli.EXIT_DONE
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no terminals of this kind")
def test_a_terminal_that_is_gone_is_no_fault(photo, tiny_model, tmp_path):
    """What is written to it fails then."""
    ours, theirs = os.openpty()
    answers = tmp_path / "answers.jsonl"
    files = ["--image", photo, "--json", answers, "--model", tiny_model, "--detector", "haar", "--no-display"]
    os.close(ours)
    command = [sys.executable, ROOT / "detect_mask_image.py", *files]
    status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, check=False).returncode
    os.close(theirs)
    assert status == cli.EXIT_DONE
    assert json.loads(answers.read_text())["image"] == str(photo)


def test_a_command_also_runs_in_a_thread():
    """Where Python lets nobody handle signals."""
    statuses = []
    main = cli.command(lambda argv: cli.EXIT_DONE)
    thread = threading.Thread(target=lambda: statuses.append(main([])))
    thread.start()
    thread.join()
    assert statuses == [cli.EXIT_DONE]


def test_a_mistake_of_ours_keeps_its_traceback():
    @cli.command
    def main(argv=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.mark.parametrize(("failed", "total", "status"), [(0, 3, 0), (1, 3, 1), (2, 3, 1), (3, 3, 2), (0, 0, 0)])
def test_exit_statuses(failed, total, status):
    assert cli.exit_status(failed, total) == status


def test_what_libraries_log_is_not_printed(capsys):
    root = logging.getLogger()
    before = [*root.handlers]

    @cli.command
    def main(_: object) -> int:
        logging.getLogger("matplotlib").warning("cannot make a cache folder")
        logging.warning("this adds a handler, where there is none")
        logging.getLogger("mask_detection").info("good news")
        return cli.EXIT_DONE

    for handler in before:  # pytest's own
        root.removeHandler(handler)
    try:
        assert main([]) == cli.EXIT_DONE
        assert root.handlers == []
    finally:
        for handler in before:
            root.addHandler(handler)
    assert capsys.readouterr().err == "good news\n"


def test_what_a_program_logs_is_its_own_matter_after_a_command():
    logger = logging.getLogger("mask_detection")
    before = logger.level, [*logger.handlers]

    @cli.command
    def main(_: object) -> int:
        assert logger.isEnabledFor(logging.INFO)
        return cli.EXIT_DONE

    assert main([]) == cli.EXIT_DONE
    assert (logger.level, logger.handlers) == before
