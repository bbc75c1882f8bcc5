# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages: as mandoc and man see them, beside the programs and the grammars that they speak of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.lab import manual
from tests.lab.manual import PACKAGING, PAGES
from tests.lab.shell import run

TOP = PACKAGING.parent
PROGRAMS = [
    path for path in PACKAGING.iterdir() if path.is_file() and path.read_text().startswith("#!/usr/bin/python3")
]
TITLES = {"1": "User Commands", "5": "File Formats", "8": "System Administration"}
RNG = "{http://relaxng.org/ns/structure/1.0}"
GRAMMARS = [("libvirt-vepa-interface.5", "host.rng"), ("libvirt-vepa-domain.5", "guest.rng")]


def options(help_text: str) -> set[str]:
    """Return the long options that a program's help has."""
    return set(re.findall(r"--[a-z-]+", help_text.partition("\noptions:\n")[2]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_clean(page: Path) -> None:
    done = run("mandoc", "-Tlint", str(page), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("env", "LC_ALL=C.UTF-8", "MANWIDTH=80", "man", "--warnings", "-l", str(page), check=False)
    assert (done.returncode, done.stderr) == (0, "") and "NAME" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_its_section_and_a_date(page: Path) -> None:
    section = page.suffix[1:]
    head = next(line for line in page.read_text().splitlines() if line.startswith(".TH "))
    name = re.escape(page.stem.upper().replace("-", "\\-"))
    assert re.fullmatch(rf'\.TH {name} {section} \d{{4}}-\d\d-\d\d "libvirt\\-vepa" "{TITLES[section]}"', head)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_program_has_its_page(program: Path) -> None:
    assert [page.name for page in PAGES if page.suffix in (".1", ".8") and page.stem == program.name] != []


def test_pages_refer_to_pages_that_are_there() -> None:
    found = set()
    for page in PAGES:
        found |= set(re.findall(r"(libvirt-vepa[a-z-]*)\s*\(([0-9])\)", manual.plain(page.read_text())))
    assert found and {f"{name}.{section}" for name, section in found} <= {page.name for page in PAGES}


@pytest.fixture
def commands(host: Any) -> list[str]:
    """Return what the command's help names."""
    return re.findall(r"^    ([a-z-]+)(?:  .*)?$", host.run("libvirt-vepa --help").stdout, re.MULTILINE)


def described() -> dict[str, str]:
    """Return what the page says of each command."""
    source = manual.section(manual.page("libvirt-vepa.8"), "COMMANDS")
    headings = re.findall(r"^\.SS (.*)$", source, re.MULTILINE)
    return {
        manual.plain(heading).partition(" ")[0]: manual.plain(manual.section(source, heading, "SS"))
        for heading in headings
    }


def test_all_commands_are_in_the_page_and_no_others(commands: list[str]) -> None:
    assert commands and list(described()) == commands


def test_a_commands_options_are_in_its_section(host: Any, commands: list[str]) -> None:
    offered = {name: options(host.run(f"libvirt-vepa {name} --help").stdout) - {"--help"} for name in commands}
    told = {name: set(re.findall(r"--[a-z-]+", text)) for name, text in described().items()}
    assert told == offered and any(offered.values())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
@pytest.mark.usefixtures("host")
def test_a_programs_options_are_in_its_page(program: Path) -> None:
    (page,) = (page for page in PAGES if page.suffix in (".1", ".8") and page.stem == program.name)
    told = manual.plain(manual.section(page.read_text(), "OPTIONS"))
    assert set(re.findall(r"--[a-z-]+", told)) == options(run(program.name, "--help").stdout)


def names(grammar: str) -> Iterator[str]:
    """Yield the elements and attributes of a grammar of ours, and of the one that it includes."""
    tree = ElementTree.parse(TOP / "xslt" / grammar)
    for kind in ("element", "attribute"):
        yield from (found.attrib["name"] for found in tree.iter(f"{RNG}{kind}") if "name" in found.attrib)
    for include in tree.iter(f"{RNG}include"):
        yield from names(include.attrib["href"])


@pytest.mark.parametrize(("page", "grammar"), GRAMMARS)
def test_a_page_of_a_format_has_all_that_its_grammar_has(page: str, grammar: str) -> None:
    words = set(re.findall(r"[A-Za-z_]+", manual.plain(manual.page(page))))
    assert sorted(set(names(grammar)) - words) == []


@pytest.mark.usefixtures("host")
def test_the_definitions_that_a_page_shows_can_be_defined() -> None:
    shown = list(manual.examples(manual.page("libvirt-vepa-interface.5")))
    assert len(shown) == 2
    for example in shown:
        name = re.findall(r" name='(\w+)'", example)[0]
        run("libvirt-vepa", "iface-define", "-", stdin=example)
        run("libvirt-vepa", "iface-undefine", name)


@pytest.mark.usefixtures("host")
def test_the_request_that_a_page_shows_can_be_asked() -> None:
    request = next(manual.examples(manual.page("libvirt-vepa-domain.5")))
    guest = f"<domain><name>web</name><devices>{request}</devices></domain>"
    assert "urn:libvirt-vepa:physical:1" in run("libvirt-vepa", "translate", stdin=guest).stdout
