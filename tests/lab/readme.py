# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README's files and sessions, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

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
    """Yield each command that the README, or one section of it, shows, with what it is said to print."""
    for found in BLOCK.finditer(text(section)):
        for part in found[3].split(f"\n{PROMPT}") if found[1] == "console" else ():
            command, _, output = part.removeprefix(PROMPT).partition("\n")
            yield command, output.rstrip("\n")


def is_shown(expected: str, found: str) -> bool:
    """Tell whether a command printed what the README shows: three dots stand for what differs from host to host."""
    return re.fullmatch(re.escape(expected).replace("…", ".*"), found.rstrip("\n")) is not None
