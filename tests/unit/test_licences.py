# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every source file says whose it is, and under which licence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
OWNER = "SPDX-FileCopyrightText: the libvirt-vepa authors"
LICENCE = "SPDX-License-Identifier: LGPL-2.1-or-later"
# Documents that tests compare byte for byte, texts for people, a kernel module that only tests load, and what
# Debian's tools read, which know no remarks there; debian/copyright says it for all.
WITHOUT = (
    "tests/golden/plan/",
    "tests/golden/translate/",
    "LICENSE",
    ".gitignore",
    "tests/lab/module/embedded.c",
    "packaging/debian/changelog",
    "packaging/debian/copyright",
    "packaging/debian/libvirt-vepa.docs",
    "packaging/debian/libvirt-vepa.install",
    "packaging/debian/po/",
    "packaging/debian/source/",
    "packaging/rpm/README.Fedora",
)
# A script's first line or the XML declaration may stand before the two lines.
FIRST_LINES = 4


def sources() -> list[Path]:
    listed = subprocess.run(("git", "ls-files"), cwd=TOP, check=True, capture_output=True, text=True).stdout
    paths = (TOP / name for name in listed.splitlines() if not name.startswith(WITHOUT) and not name.endswith(".md"))
    return [path for path in paths if path.is_file() and path.stat().st_size]


def says_so(path: Path) -> bool:
    first = [line.removesuffix(" -->") for line in path.read_text(encoding="utf-8").splitlines()[:FIRST_LINES]]
    return all(any(line.endswith(wanted) for line in first) for wanted in (OWNER, LICENCE))


@pytest.mark.skipif(not (TOP / ".git").exists(), reason="only git knows what is a source file")
def test_every_source_file_names_its_owner_and_its_licence() -> None:
    assert [str(path.relative_to(TOP)) for path in sources() if not says_so(path)] == []
