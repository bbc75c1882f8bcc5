# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README and what is written for those who work on this: short, and naming only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PAPERS = ("README.md", "CONTRIBUTING.md", "tests/README.md")
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
FOLDERS = r"libvirt_vepa|tests|packaging|xslt|hooks"
PLACE = re.compile(rf"(?<![\w./])((?:{FOLDERS})/[\w./-]*)")
# A tour and the quick start; reference is in the manual pages.
README_LINES = 250


def anchors(text: str) -> set[str]:
    """Return what links may name in a document, as forges make it of the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readme_is_a_tour() -> None:
    assert len((TOP / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("paper", PAPERS)
def test_links_lead_somewhere(paper: str) -> None:
    text = (TOP / paper).read_text()
    for target, anchor in LINK.findall(text):
        file = (TOP / paper).parent / (target or Path(paper).name)
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), anchor


@pytest.mark.parametrize("paper", PAPERS)
def test_files_that_are_named_are_there(paper: str) -> None:
    named = {place.rstrip(".") for place in PLACE.findall((TOP / paper).read_text())}
    assert named and sorted(place for place in named if not (TOP / place).exists()) == []
