"""The pages of documentation, and the code in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from tests.helpers.paths import ROOT

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md"), *ROOT.glob("[!.]*/README.md")})


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks(language: str) -> Iterator[Block]:
    """The blocks of one language on all pages."""
    for page in PAGES:
        for found in re.finditer(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            if found[1] == language:
                yield Block(page.relative_to(ROOT).as_posix(), *found.groups())


def commands() -> list[list[str]]:
    """The words of each command in the pages' shell blocks, once each, with shell variables put in."""
    found: dict[str, list[str]] = {}
    for block in blocks("bash"):
        variables: dict[str, list[str]] = {}
        for line in block.text.replace("\\\n", " ").splitlines():
            for command in re.split(r"\s&&\s", line):
                words = shlex.split(command, comments=True)
                if words and (assignment := re.fullmatch(r"(\w+)=(.*)", words[0])):
                    variables[f"${assignment[1]}"] = shlex.split(assignment[2])
                elif words:
                    words = [part for word in words for part in variables.get(word, [word])]
                    found[shlex.join(words)] = words
    return list(found.values())
