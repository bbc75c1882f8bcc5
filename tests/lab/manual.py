# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages, as their source has them: the sections, what is shown, and the words without roff's escapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
PAGES = sorted(PACKAGING.glob("*.[158]"))
EXAMPLE = re.compile(r"^\.EX\n(.*?)^\.EE$", re.MULTILINE | re.DOTALL)
FONT = re.compile(r"\\f[PRBI]")
MACRO = re.compile(r"^\.(?:B|I|BR|RB|BI|IB|IR|RI|SS|TP|PP|EX|EE|nf|fi)\b *", re.MULTILINE)
ESCAPES = {r"\-": "-", r"\(aq": "'", r"\(ti": "~", r"\(ha": "^", r"\(ga": "`", r"\&": "", r"\e": "\\"}


def page(name: str) -> str:
    """Return the source of a page, by its file's name."""
    return (PACKAGING / name).read_text(encoding="utf-8")


def section(source: str, heading: str, macro: str = "SH") -> str:
    """Return one section of a page's source; `macro` is SS for one below a section."""
    found = re.search(rf"^\.{macro} {re.escape(heading)}\n(.*?)(?=^\.(?:SH|{macro}) |\Z)", source, re.M | re.S)
    assert found, f"no section {heading}"
    return found[1]


def plain(source: str) -> str:
    """Return the words as they are read: no fonts, no macros, no escapes."""
    text = MACRO.sub("", FONT.sub("", source)).replace('"', "")
    return _unescaped(text)


def examples(source: str) -> Iterator[str]:
    """Yield each example, as it is shown."""
    for found in EXAMPLE.finditer(source):
        yield _unescaped(found[1])


def _unescaped(text: str) -> str:
    return re.sub(r"\\(?:\((?:aq|ti|ha|ga)|[-&e])", lambda found: ESCAPES[found[0]], text)
