# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README's files and sessions, and the sessions of the manual pages, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.lab import manual

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "# "


def text(section: str = "") -> str:
    """Return the README, or one section of it by its heading."""
    whole = README.read_text(encoding="utf-8")
    return whole.partition(f"\n## {section}\n")[2].partition("\n## ")[0] if section else whole


def files() -> Iterator[tuple[str, str]]:
    """Yield name and text of each file that the README shows."""
    for found in BLOCK.finditer(text()):
        if found[2]:
            yield found[2], found[3]


def session(section: str = "") -> Iterator[tuple[str, str]]:
    """Yield each command that is shown, with what it is said to print.

    They are those of one section of the README, or of all of it, and then of the manual pages in the order of their
    names: one story, in which each command goes on where the one before has ended.
    """
    for found in BLOCK.finditer(text(section)):
        if found[1] == "console":
            yield from _commands(found[3])
    for page in () if section else manual.PAGES:
        yield from of_page(page.name)


def of_page(name: str) -> Iterator[tuple[str, str]]:
    """Yield the commands that a manual page shows, with what they are said to print."""
    for example in manual.examples(manual.page(name)):
        if example.startswith(PROMPT):
            yield from _commands(example)


def _commands(block: str) -> Iterator[tuple[str, str]]:
    for part in block.split(f"\n{PROMPT}"):
        command, _, output = part.removeprefix(PROMPT).partition("\n")
        yield command, output.rstrip("\n")


def is_shown(expected: str, found: str) -> bool:
    """Tell whether a command printed what is shown: three dots stand for what differs from host to host.

    A manual page writes them as three characters, which every terminal has.
    """
    pattern = ".*".join(re.escape(part) for part in re.split(r"…|\.{3}", expected))
    return re.fullmatch(pattern, found.rstrip("\n")) is not None
