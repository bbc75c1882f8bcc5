# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `make install` puts where, and that `make uninstall` takes all of it away."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from libvirt_vepa.xml import translate
from tests.lab.manual import PAGES
from tests.lab.shell import run

TOP = Path(__file__).resolve().parents[2]
HOOK = "/etc/libvirt/hooks/qemu.d/libvirt-vepa"
COMMAND = "/usr/bin/libvirt-vepa"
LIBRARY = "/usr/lib/python3/dist-packages/libvirt_vepa"
SOURCE = TOP / "libvirt_vepa"
MODULES = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py"))
CLIENTS = Path("/etc/libvirt/libvirt.conf")
LAUNCHER = CLIENTS.with_name("libvirt-vepa-connect")
DATA = "/usr/share/libvirt-vepa"
ASKING = b"""<domain><name>web</name><uuid>11111111-2222-4333-8444-555555555555</uuid><devices>
<interface type='physical'><name>nowhere</name><mac address='52:54:00:00:0f:01'/></interface></devices></domain>"""
PROGRAMS = (COMMAND, f"{COMMAND}-connect", f"{COMMAND}-hook", "/usr/sbin/libvirt-vepad")
SERVICES = ("libvirt-vepa-connect", "libvirt-vepad")
COMMANDS = (
    "iface-define",
    "iface-list",
    "iface-dumpxml",
    "iface-undefine",
    "translate",
    "plan",
    "status",
    "reconcile",
    "enable",
    "disable",
)


@pytest.mark.parametrize("path", [HOOK, *PROGRAMS])
def test_what_runs_is_a_real_executable_file(host: Any, path: str) -> None:
    file = host.file(path)
    # AppArmor's profile of libvirtd denies a hook that is a link to somewhere else.
    assert file.is_file and not file.is_symlink
    assert (file.user, file.group, file.mode) == ("root", "root", 0o755)


@pytest.mark.parametrize("path", MODULES)
def test_the_package_is_installed_whole(host: Any, path: str) -> None:
    file = host.file(f"{LIBRARY}/{path}")
    assert (file.user, file.mode) == ("root", 0o644)
    assert Path(f"{LIBRARY}/{path}").read_bytes() == (SOURCE / path).read_bytes()


@pytest.mark.parametrize("path", sorted(path.name for path in (TOP / "xslt").iterdir()))
def test_sheets_and_schemas_are_installed(host: Any, path: str) -> None:
    assert host.file(f"{DATA}/{path}").mode == 0o644
    assert Path(f"{DATA}/{path}").read_bytes() == (TOP / "xslt" / path).read_bytes()


def test_only_the_hook_is_in_the_hooks_folder(host: Any) -> None:
    # libvirt runs every executable file in there, whatever its name.
    assert host.file("/etc/libvirt/hooks/qemu.d").listdir() == ["libvirt-vepa"]


def test_the_hook_runs_with_the_systems_python(host: Any) -> None:
    assert host.file(HOOK).content_string.startswith("#!/usr/bin/python3 ")


def test_the_hook_lets_a_foreign_guest_pass(host: Any) -> None:
    done = host.run(f"echo '<domain/>' | env -i PATH=/usr/bin {HOOK} other prepare begin -")
    assert (done.rc, done.stdout, done.stderr) == (0, "", "")


def test_the_command_works_from_anywhere(host: Any) -> None:
    done = host.run(f"cd / && {COMMAND} iface-list")
    assert done.rc == 0 and done.stdout.startswith(" Name   Device")


def test_the_command_explains_itself(host: Any) -> None:
    done = host.run(f"{COMMAND} --help")
    assert done.rc == 0
    assert [name for name in COMMANDS if name not in done.stdout] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_manual_pages_are_there(host: Any, page: Path) -> None:
    assert host.file(f"/usr/share/man/man{page.suffix[1:]}/{page.name}").mode == 0o644


@pytest.mark.parametrize("program", PROGRAMS[1:])
def test_a_program_that_is_used_wrongly_says_how(host: Any, program: str) -> None:
    done = host.run(f"{program} --no-such-option")
    assert (done.rc, done.stdout) == (2, "") and done.stderr.startswith(f"usage: {Path(program).name} ")


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_are_as_systemd_wants_them(host: Any, name: str) -> None:
    units = [f"/usr/lib/systemd/system/{name}{kind}" for kind in (".socket", ".service")]
    assert all(host.file(unit).mode == 0o644 for unit in units)
    if host.exists("systemd-analyze"):
        done = host.run(f"systemd-analyze verify {units[0]} {units[1]}")
        assert (done.rc, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local", "/opt/vepa"])
def test_a_staged_install_is_taken_away_whole(prefix: str, tmp_path: Path) -> None:
    def make(goal: str) -> set[str]:
        run("make", "-C", str(TOP), goal, f"DESTDIR={tmp_path}", f"PREFIX={prefix}")
        return {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()}

    installed = make("install")
    assert {f"{prefix}/bin/libvirt-vepa", f"{prefix}/share/libvirt-vepa/stored.xsl", HOOK} <= installed
    assert make("uninstall") == set()


def test_another_prefix_is_found_by_command_and_hook() -> None:
    run("make", "-C", str(TOP), "install", "PREFIX=/usr/local/vepa")
    try:
        assert run("/usr/local/vepa/bin/libvirt-vepa", "iface-list").stdout.startswith(" Name")
        guest = translate.to_stored(ASKING, "test")
        done = subprocess.run((HOOK, "web", "prepare", "begin", "-"), input=guest, capture_output=True, check=False)
        assert done.returncode == 1 and b"no physical interface 'nowhere' is defined on this host" in done.stderr
    finally:
        run("make", "-C", str(TOP), "uninstall", "PREFIX=/usr/local/vepa")
        run("make", "-C", str(TOP), "install")


@pytest.mark.usefixtures("host")
def test_uninstall_leaves_no_default_uri_to_what_is_gone() -> None:
    before = CLIENTS.read_bytes()
    run(COMMAND, "enable")
    assert bytes(LAUNCHER) in CLIENTS.read_bytes()
    try:
        run("make", "-C", str(TOP), "uninstall")
        assert CLIENTS.read_bytes() == before and not LAUNCHER.exists()
        run("make", "-C", str(TOP), "uninstall")
    finally:
        run("make", "-C", str(TOP), "install")
        run(COMMAND, "disable")
