# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make install` for another Python and into other folders: what is installed runs, and names only what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from libvirt_vepa.version import VERSION
from tests.install.conftest import OURS, PROGRAMS
from tests.lab.shell import run

TOP = Path(__file__).resolve().parents[2]
HOOK = Path("/etc/libvirt/hooks/qemu.d/libvirt-vepa")
# Below a folder that is the lab's own, and where Debian's Python does not look.
PLACE = Path("/usr/lib/vepa-elsewhere")
PATH = re.compile(r"(/[\w./-]+/libvirt\\?-vepa[\w-]*)\b")


def make(goal: str, *settings: str) -> subprocess.CompletedProcess[str]:
    """Run make as a person does, and return what it said, whatever its exit status."""
    return run("make", "-C", str(TOP), goal, *settings, check=False, timeout=120)


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Have the settings in this list taken back by `make uninstall`."""
    kept: list[str] = []
    yield kept
    done = make("uninstall", *kept)
    shutil.rmtree(PLACE, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def venv(folder: Path, *options: str) -> str:
    """Make a virtual environment and return its Python."""
    run("/usr/bin/python3", "-m", "venv", "--without-pip", *options, str(folder))
    return f"{folder}/bin/python"


def assert_runs(folder: Path, *, sbin: Path) -> None:
    for name in PROGRAMS:
        program = (sbin if name == "libvirt-vepad" else folder) / name
        assert run(str(program), "--version").stdout == f"{name} {VERSION}\n"
    assert "urn:libvirt-vepa:physical:1" in run(str(HOOK), "lan", "migrate", "begin", "-", stdin=OURS).stdout


def test_a_python_that_is_not_debians_finds_the_package(settings: list[str]) -> None:
    # Its folder is site-packages, as with any Python but Debian's own.
    python = venv(PLACE, "--system-site-packages")
    settings += [f"PREFIX={PLACE}", f"PYTHON={python}", f"UNITS={PLACE}/units"]
    done = make("install", *settings)
    assert done.returncode == 0, done.stderr
    found = run(python, "-I", "-c", "import libvirt_vepa; print(libvirt_vepa.__path__[0])").stdout.strip()
    assert Path(found).parent.name == "site-packages" and Path(found).is_relative_to(PLACE)
    version = "from importlib.metadata import version; print(version('libvirt-vepa'))"
    assert run(python, "-I", "-c", version).stdout == f"{VERSION}\n"
    assert "LIBRARY = None" in (PLACE / "bin/libvirt-vepa").read_text()
    assert_runs(PLACE / "bin", sbin=PLACE / "sbin")


def test_programs_find_a_library_folder_outside_pythons_path(settings: list[str]) -> None:
    python = venv(PLACE / "python", "--system-site-packages")
    settings += [f"PREFIX={PLACE}/prefix", f"PYTHON={python}"]
    done = make("install", *settings)
    assert done.returncode == 0, done.stderr
    assert_runs(PLACE / "prefix/bin", sbin=PLACE / "prefix/sbin")


def test_a_python_in_the_path_is_named_in_full(settings: list[str]) -> None:
    settings += [f"PREFIX={PLACE}", "PYTHON=python3"]
    run("env", "PATH=/usr/bin:/bin", "make", "-C", str(TOP), "install", *settings)
    assert (PLACE / "bin/libvirt-vepa").read_text().startswith("#!/usr/bin/python3 -I\n")


def test_libraries_that_are_missing_are_named_in_one_line(settings: list[str]) -> None:
    python = venv(PLACE / "bare")
    settings += [f"PREFIX={PLACE}", f"PYTHON={python}"]
    done = make("install", *settings)
    assert done.returncode == 2
    told, made = done.stderr.splitlines()
    assert told == (
        f"make install: {python} lacks lxml, pyroute2, libvirt-python; install python3-lxml python3-pyroute2 "
        "python3-libvirt, or with pip lxml pyroute2 libvirt-python, and run it again"
    )
    assert made.startswith("make: *** ")


def test_a_check_at_the_end_sees_what_does_not_run(settings: list[str]) -> None:
    settings += [f"PREFIX={PLACE}", f"DATA={PLACE}/where/nobody/looks"]
    done = make("install", *settings)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        f"make install: {HOOK} does not run: libvirt-vepa: guest 'lan': the hook cannot run: "
        "No module named 'hand_over'; install libvirt-vepa again"
    )


FOLDERS = {
    "PREFIX": PLACE,
    "BIN": PLACE / "programs",
    "SBIN": PLACE / "programs",
    "UNITS": PLACE / "units",
    "MAN": PLACE / "pages",
}


def test_whatever_the_folders_are_called_nothing_names_another(settings: list[str]) -> None:
    settings += [f"{name}={folder}" for name, folder in FOLDERS.items()]
    done = make("install", *settings)
    assert done.returncode == 0, done.stderr
    assert_runs(FOLDERS["BIN"], sbin=FOLDERS["SBIN"])
    files = [HOOK, *(path for path in PLACE.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".py"))]
    named = {(file, path.replace("\\", "")) for file in files for path in PATH.findall(file.read_text())}
    # What comes into being when it is used: sockets, and a user's or root's own files.
    used = ("/run/", "/etc/libvirt/", "/.config/libvirt/")
    wrong = [(str(file), path) for file, path in named if not Path(path).exists() and not path.startswith(used)]
    assert wrong == []
    started = [line for file in files if file.suffix == ".service" for line in file.read_text().splitlines()]
    programs = {line.removeprefix("ExecStart=").split()[0] for line in started if line.startswith("ExecStart=")}
    assert programs == {f"{PLACE}/programs/libvirt-vepa-connect", f"{PLACE}/programs/libvirt-vepad"}
    if Path("/usr/bin/systemd-analyze").exists():
        sockets = [str(path) for path in FOLDERS["UNITS"].glob("*.socket")]
        done = run("systemd-analyze", "verify", *sockets, check=False)
        assert "not found" not in done.stderr and "not executable" not in done.stderr


def test_the_connection_is_named_where_it_is(settings: list[str]) -> None:
    settings += [f"{name}={folder}" for name, folder in FOLDERS.items()]
    assert make("install", *settings).returncode == 0
    command = str(FOLDERS["BIN"] / "libvirt-vepa")
    told = run(command, "enable").stdout
    run(command, "disable")
    assert f"{FOLDERS['BIN']}/libvirt-vepa-connect" in told


def test_nothing_of_another_version_is_left(settings: list[str]) -> None:
    settings += [f"PREFIX={PLACE}"]
    package = PLACE / "lib/python3/dist-packages/libvirt_vepa"
    assert make("install", *settings).returncode == 0
    old = [package / "of_another_version.py", package.parent / "libvirt_vepa-0.0.1.dist-info/METADATA"]
    for file in old:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert make("install", *settings).returncode == 0
    assert not any(file.exists() for file in old)
    assert sorted(path.name for path in package.parent.iterdir()) == [
        package.name,
        f"{package.name}-{VERSION}.dist-info",
    ]


def test_uninstall_leaves_nothing() -> None:
    settings = [f"{name}={folder}" for name, folder in FOLDERS.items()]
    assert make("install", *settings).returncode == 0
    assert make("uninstall", *settings).returncode == 0
    assert [path for path in PLACE.rglob("*") if not path.is_dir()] == [] and not HOOK.exists()
