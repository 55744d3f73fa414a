"""The pages of documentation speak of what is there: links, files, modules, commands and options."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import mask_detection
from mask_detection.__main__ import COMMANDS
from tests.docs.test_commands import module_of
from tests.helpers.pages import PAGES, blocks
from tests.helpers.paths import ROOT

PACKAGE = Path(mask_detection.__file__).parent
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which speaks of the past, too
PACKAGES = sorted(path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("*/**/__init__.py"))
SCRIPTS = ("train_mask_detector.py", "detect_mask_image.py", "detect_mask_video.py")

each_page = pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.relative_to(ROOT).as_posix())


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    for target in (target for target in targets if "://" not in target):
        assert (page.parent / target).exists(), target


@each_page
def test_modules_that_are_named_exist(page: Path):
    packages = "|".join(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    for name in re.findall(rf"`(?:mask_detection/)?((?:{packages})/[\w/]+\.\w+)`", page.read_text("utf-8")):
        assert (PACKAGE / name).is_file(), name


@each_page
def test_commands_that_are_named_exist(page: Path):
    for name in re.findall(r"`python -m mask_detection ([\w-]+)", page.read_text("utf-8")):
        assert name in COMMANDS


@pytest.fixture(scope="module")
def options() -> set[str]:
    """The options of all scripts and commands, from their help."""
    with redirect_stdout(StringIO()) as printed:
        for words in [*([script] for script in SCRIPTS), *(["-m", "mask_detection", name] for name in COMMANDS)]:
            _, module, _ = module_of(["python", *words])
            with pytest.raises(SystemExit):
                module.parse_arguments(["--help"])
    return {*re.findall(r"--[a-z][a-z-]*", printed.getvalue())}


@each_page
def test_options_that_are_named_exist(page: Path, options: set[str]):
    named = re.findall(r"`(--[a-z][a-z-]*)", page.read_text("utf-8"))
    assert {*named} <= options | {"--seed"}


@pytest.mark.parametrize("block", [*blocks("json")], ids=lambda block: block.page)
def test_json_is_valid(block):
    assert all(json.loads(line) for line in block.text.splitlines())


# --- architecture ---


def architecture() -> str:
    return (ROOT / "docs" / "architecture.md").read_text("utf-8")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_list_of_modules_is_complete(package: str):
    (row,) = re.findall(rf"^\| `{package}` \| (.*) \|$", architecture(), re.MULTILINE)
    listed = {*re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row))}
    assert listed == {path.stem for path in (PACKAGE / package).glob("*.py")} - {"__init__"}


def test_the_diagrams_name_modules_that_exist():
    for text in re.findall(r"<i>(.+?)</i>", architecture()):
        package = ""
        for part in text.split(", "):
            package, _, name = part.rpartition("/") if "/" in part else (package, "", part)
            assert (PACKAGE / package / f"{name}.py").is_file(), text
