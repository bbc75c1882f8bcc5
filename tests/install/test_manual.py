# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages, as mandoc and man see them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.shell import run

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
PAGES = sorted(PACKAGING.glob("*.8"))
PROGRAMS = [
    path for path in PACKAGING.iterdir() if path.is_file() and path.read_text().startswith("#!/usr/bin/python3")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_clean(page: Path) -> None:
    done = run("mandoc", "-Tlint", str(page), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("env", "LC_ALL=C.UTF-8", "MANWIDTH=80", "man", "--warnings", "-l", str(page), check=False)
    assert (done.returncode, done.stderr) == (0, "") and "NAME" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_a_date(page: Path) -> None:
    head = next(line for line in page.read_text().splitlines() if line.startswith(".TH "))
    assert re.fullmatch(r'\.TH [A-Z\\-]+ 8 \d{4}-\d\d-\d\d "libvirt\\-vepa" "System Administration"', head)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_program_has_its_page(program: Path) -> None:
    assert program.with_name(f"{program.name}.8") in PAGES
