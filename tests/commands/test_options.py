"""Arguments out of every range are usage errors, through the scripts and commands that take them."""

from __future__ import annotations

import argparse
import importlib

import pytest

from mask_detection.commands import cli, options

HUGE = "9" * 30
SENSELESS = {
    "detect_mask_image": [
        ["--image", "a.jpg", "--detect-size", size] for size in ("99999999", "8193", "0", "-1", "1e3", "9" * 5000)
    ],
    "detect_mask_video": [["--max-frames", HUGE], ["--every", HUGE], ["--timeout", "1e300"], ["--timeout", "9e999"]],
    "train_mask_detector": [
        *(["--seed", seed] for seed in ("-1", HUGE)),
        *(["--learning-rate", rate] for rate in ("nan", "inf", "-1", "0")),
        *([option, HUGE] for option in ("--views", "--epochs", "--batch-size", "--image-size")),
    ],
    "mask_detection.commands.crop_faces": [
        ["a", "b", option, HUGE] for option in ("--jitter", "--background", "--size")
    ],
    "mask_detection.commands.synthesize": [["a", "b", "--per-face", HUGE], ["a", "b", "--seed", "-1"]],
}


@pytest.mark.parametrize(
    ("script", "arguments"),
    [(script, arguments) for script, all_of_it in SENSELESS.items() for arguments in all_of_it],
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:40],
)
def test_senseless_numbers_are_usage_errors(script, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(script).main(arguments)
    assert stopped.value.code == cli.EXIT_UNUSABLE
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {arguments[-2]}: " in error
    assert len(error) < 300


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("1000000000", 10**9)])
def test_whole_numbers(text, number):
    assert options.positive_int(text) == number


def test_the_longest_duration_is_a_year():
    assert options.seconds("8784h") == 366 * 24 * 3600


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500", 500), ("500MB", 5e8), ("10GB", 1e10), ("1.5tb", 1.5e12), (" 2 k ", 2000)]
)
def test_sizes_have_units(text, size):
    assert options.n_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "10XB", "10GBs", "1" * 99, "nan"])
def test_what_is_no_size_is_said(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size such as"):
        options.n_bytes(text)


def test_durations_have_limits():
    parse = options.between_seconds(1.0, 86400.0)
    assert (parse("1s"), parse("24h")) == (1.0, 86400.0)
    for text in ("0.5s", "25h", "soon"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a duration"):
            parse(text)
