"""What pip installs: the requirements stand in one place each, and the package's data files go with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mask_detection
from tests.helpers.paths import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
REQUIREMENT_FILES = re.findall(r'file = \["(.+?)"\]', PYPROJECT)


@pytest.mark.parametrize("name", REQUIREMENT_FILES)
def test_setuptools_can_read_each_requirements_file(name):
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines()]
    requirements = [Requirement(line) for line in lines if line]  # a line such as -r raises
    assert requirements


def test_requirements_txt_is_made_of_what_the_package_declares():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert lines == [f"-r {name}" for name in REQUIREMENT_FILES]


def test_the_version_is_the_packages():
    assert 'version = {attr = "mask_detection.__version__"}' in PYPROJECT
    assert re.fullmatch(r"\d+\.\d+\.\d+", mask_detection.__version__)


def test_every_file_of_the_package_that_is_no_module_is_package_data():
    (patterns,) = re.findall(r'"\*" = \[(.+)\]', PYPROJECT)
    package = Path(mask_detection.__file__).parent
    others = [path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}]
    assert others
    for path in others:
        assert any(path.match(pattern) for pattern in re.findall(r'"(.+?)"', patterns)), path
