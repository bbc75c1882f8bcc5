# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is said once, the version and the dependencies, is said alike by all that must repeat it."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from libvirt_vepa.version import VERSION

TOP = Path(__file__).resolve().parents[2]
INSTALLING = TOP / "packaging/installing.py"


@pytest.fixture
def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(TOP / "setup.cfg", encoding="utf-8")
    return parser


def packages(setup: ConfigParser) -> set[str]:
    """Return what Debian and Fedora call the libraries."""
    return {f"python3-{name.removesuffix('-python')}" for name in setup["options"]["install_requires"].split()}


def spec(field: str) -> set[str]:
    lines = (TOP / "packaging/libvirt-vepa.spec").read_text().splitlines()
    return {line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{field}:")}


def test_the_version_is_read_from_the_package(setup: ConfigParser) -> None:
    assert setup["metadata"]["version"] == "attr: libvirt_vepa.version.VERSION"


def test_packages_have_the_programs_version() -> None:
    newest = (TOP / "packaging/debian/changelog").read_text().splitlines()[0]
    assert newest.startswith(f"libvirt-vepa ({VERSION}-")
    assert spec("Version") == {VERSION}
    heads = [line for line in (TOP / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert re.match(rf"## {re.escape(VERSION)}\b", heads[0])


def test_packages_depend_on_what_setup_cfg_says(setup: ConfigParser) -> None:
    assert packages(setup) <= spec("Requires")
    # debhelper finds them in the metadata that `make install` writes.
    assert "${python3:Depends}" in (TOP / "packaging/debian/control").read_text()


def test_the_metadata_has_the_dependencies(setup: ConfigParser) -> None:
    command = (sys.executable, "-I", str(INSTALLING), "metadata", VERSION)
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    required = {line.removeprefix("Requires-Dist: ") for line in text.splitlines() if line.startswith("Requires-Dist:")}
    assert required == set(setup["options"]["install_requires"].split()) and f"\nVersion: {VERSION}\n" in text


def test_readme_names_what_is_to_be_installed(setup: ConfigParser) -> None:
    text = (TOP / "README.md").read_text()
    assert [name for name in sorted(packages(setup)) if name not in text] == []


def test_what_debconf_asks_can_be_translated() -> None:
    asked = (TOP / "packaging/debian/libvirt-vepa.templates").read_text()
    (question,) = re.findall(r"^_Description: (.*)$", asked, re.MULTILINE)
    assert f'msgid "{question}"' in (TOP / "packaging/debian/po/templates.pot").read_text()
