# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`pip install .` gives the library, its data and the programs, and knows the version and the dependencies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from libvirt_vepa.version import VERSION
from tests.install.conftest import OURS, PROGRAMS
from tests.lab.manual import PAGES
from tests.lab.shell import run

TOP = Path(__file__).resolve().parents[2]
SOURCES = ("libvirt_vepa", "packaging", "xslt", "LICENSE", "README.md", "pyproject.toml", "setup.cfg")
ASKED = (
    "import importlib.metadata as m, json; print(json.dumps([m.version('libvirt-vepa'), m.requires('libvirt-vepa')]))"
)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install into an environment that has Debian's libraries, from a copy: setuptools writes into its sources."""
    folder = tmp_path_factory.mktemp("pip")
    for name in SOURCES:
        copy = shutil.copytree if (TOP / name).is_dir() else shutil.copy
        copy(TOP / name, folder / name)
    run("/usr/bin/python3", "-m", "venv", "--system-site-packages", "--without-pip", str(folder / "venv"))
    offline = ("--no-index", "--no-build-isolation", "--no-deps", "--disable-pip-version-check")
    python = str(folder / "venv/bin/python")
    run("env", f"HOME={folder}", python, "-m", "pip", "install", *offline, str(folder), timeout=300)
    return folder / "venv"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_run(venv: Path, name: str) -> None:
    assert run(str(venv / "bin" / name), "--version").stdout == f"{name} {VERSION}\n"


def test_the_data_are_found(venv: Path) -> None:
    done = run(str(venv / "bin/libvirt-vepa"), "translate", stdin=OURS)
    assert "urn:libvirt-vepa:physical:1" in done.stdout
    assert {path.name for path in (venv / "share/libvirt-vepa").iterdir()} == {p.name for p in (TOP / "xslt").iterdir()}


def test_the_pages_of_what_is_installed_are_there(venv: Path) -> None:
    found = {path.name for path in (venv / "share/man").glob("man*/*")}
    assert found == {page.name for page in PAGES} - {"libvirt-vepa-hook.8"}
    assert all(path.parent.name == f"man{path.suffix[1:]}" for path in (venv / "share/man").glob("man*/*"))


def test_version_and_dependencies_are_known(venv: Path) -> None:
    found = json.loads(run(str(venv / "bin/python"), "-I", "-c", ASKED).stdout)
    assert (found[0], sorted(found[1])) == (VERSION, ["libvirt-python", "lxml", "pyroute2"])
