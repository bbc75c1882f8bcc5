# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The RPM: built, and looked at without being installed. No test has seen it on a running Fedora."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from libvirt_vepa.version import VERSION
from tests.lab.shell import run
from tests.support import packages

TOP = Path(__file__).resolve().parents[2]
PACKAGE = "/usr/lib/python3.13/site-packages/libvirt_vepa"
FILES = {
    "/etc/libvirt/hooks/qemu.d/libvirt-vepa",
    "/etc/libvirt/vepa",
    "/usr/bin/libvirt-vepa",
    "/usr/bin/libvirt-vepa-connect",
    "/usr/bin/libvirt-vepa-hook",
    "/usr/bin/libvirt-vepad",
    "/usr/share/selinux/packages/libvirt_vepa.cil",
}
MANAGERS = ("packaging/udev/*", "packaging/networkd/*", "packaging/NetworkManager/*")
PROGRAMS = sorted(name for name in FILES if name.startswith("/usr/bin/"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.rpm(tmp_path_factory.mktemp("rpm"))


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack what is in it."""
    folder = tmp_path_factory.mktemp("tree")
    archive = subprocess.run(("rpm2cpio", str(package)), check=True, capture_output=True).stdout
    subprocess.run(("cpio", "-idm", "--quiet"), input=archive, cwd=folder, check=True)
    return folder


def asked(package: Path, *words: str) -> list[str]:
    return run("rpm", "-qp", *words, str(package)).stdout.splitlines()


def test_it_holds_all_that_the_checkout_has(package: Path) -> None:
    listed = set(asked(package, "-l"))
    assert listed >= FILES
    inside = {name.removeprefix(f"{PACKAGE}/") for name in listed if name.startswith(f"{PACKAGE}/")}
    modules = {str(path.relative_to(TOP / "libvirt_vepa")) for path in (TOP / "libvirt_vepa").rglob("*.py")}
    assert {name for name in inside if name.endswith(".py")} == modules
    for pattern in ("xslt/*", "packaging/*.socket", "packaging/*.service", "packaging/*.[158]", *MANAGERS):
        names = {path.name for path in TOP.glob(pattern)}
        assert names <= {Path(name).name for name in listed}, pattern


def test_everything_in_it_is_roots(package: Path) -> None:
    lines = asked(package, "-lv")
    assert {tuple(line.split()[2:4]) for line in lines} == {("root", "root")}


def test_the_rpm_marks_nothing_as_configuration(package: Path) -> None:
    assert asked(package, "--configfiles") == []


def test_it_asks_for_fedoras_packages(package: Path) -> None:
    assert {"python3-lxml", "python3-pyroute2", "python3-libvirt"} <= set(asked(package, "--requires"))
    assert {"python3-nftables", "libvirt-daemon-driver-qemu >= 6.5"} <= set(asked(package, "--recommends"))


def test_programs_and_units_name_what_is_in_it(tree: Path) -> None:
    for program in PROGRAMS:
        lines = (tree / program.lstrip("/")).read_text().splitlines()
        assert lines[0] == "#!/usr/bin/python3 -I" and any(line.startswith("LIBRARY = None") for line in lines)
    started = [
        line.removeprefix("ExecStart=").split()[0]
        for unit in (tree / "usr/lib/systemd/system").glob("*.service")
        for line in unit.read_text().splitlines()
        if line.startswith("ExecStart=")
    ]
    assert started and set(started) <= set(PROGRAMS)


def test_its_scripts_are_scripts_and_switch_nothing_silently(package: Path) -> None:
    parts = asked(package, "--scripts")
    text = "\n".join("" if "scriptlet (using /bin/sh):" in line else line for line in parts)
    # A macro that nobody has expanded would be one, too.
    assert subprocess.run(("sh", "-n"), input=text, text=True, check=False).returncode == 0 and "%" not in text
    assert "setsebool" not in text and "semodule -i" not in text
    assert "install-system-units libvirt-vepa-connect.socket libvirt-vepad.socket" in text
    assert "libvirt-vepa disable" in text


def test_its_readme_says_what_selinux_needs(tree: Path) -> None:
    (readme,) = tree.glob("usr/share/doc/libvirt-vepa*/README.Fedora")
    text = readme.read_text()
    assert "setsebool -P virt_hooks_unconfined on" in text and "Nobody has tried it on a running" in text
    assert "semodule -i /usr/share/selinux/packages/libvirt_vepa.cil" in text


def test_a_module_that_does_not_compile_is_no_package(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.cil"
    text = (TOP / "packaging/rpm/libvirt_vepa.cil").read_text()
    wrong.write_text(text.replace("virt_hook_unconfined_t", "virt_hook_unconfned_t"))
    policy = str(TOP / "packaging/rpm/policy.cil")
    done = run("secilc", "-o", "/dev/null", "-f", "/dev/null", policy, str(wrong), check=False)
    assert done.returncode != 0


def test_rpmlint_finds_nothing_that_is_not_explained(package: Path) -> None:
    done = run("rpmlint", "-c", str(TOP / "packaging/rpm/rpmlint.toml"), str(package), check=False)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout


def test_its_version_is_the_programs(package: Path) -> None:
    assert asked(package, "--queryformat", "%{VERSION}") == [VERSION]
