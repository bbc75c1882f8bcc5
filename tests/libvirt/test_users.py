# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user's default URI with a real virsh: which daemon `enable` chooses, and virsh when the installation is gone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import readme
from tests.lab.daemon import Daemon, end, virsh
from tests.lab.guest import Guest
from tests.lab.hook import PACKAGE, removed
from tests.lab.shell import run
from tests.libvirt.conftest import as_user
from tests.support.user import CONNECTION, USER

HOME = Path("/run/somebody")
RUNTIME = Path(f"/run/user/{USER}")
FILE, LAUNCHER = (HOME / ".config/libvirt" / name for name in ("libvirt.conf", "libvirt-vepa-connect"))
SYSTEM_SOCKET = "/run/libvirt/libvirt-sock"
LACKING = "in a session no guest can have a physical interface"
JOIN = "become a member of the group libvirt"
ANEW = "run 'libvirt-vepa enable --system'"


@pytest.fixture
def home(libvirtd: Daemon) -> Iterator[Path]:
    for folder in (HOME, RUNTIME):
        folder.mkdir(mode=0o700, parents=True)
        os.chown(folder, USER, USER)
    yield HOME
    for pid in daemons():
        end(pid)
    shutil.rmtree(HOME)
    shutil.rmtree(RUNTIME)


def daemons() -> list[int]:
    """Return the user's own daemons."""
    return [int(pid) for pid in run("pgrep", "-u", str(USER), "libvirtd", check=False).stdout.split()]


def person(*groups: int) -> tuple[str, ...]:
    """Return what becomes the user, with the variables of a login and no default URI of the lab's."""
    path = os.environ["PATH"]
    return (*as_user(*groups), "env", "-i", f"PATH={path}", f"HOME={HOME}", f"XDG_RUNTIME_DIR={RUNTIME}")


def enabled(through: tuple[str, ...], *options: str) -> list[str]:
    """Run `enable`, and return the daemon that it has chosen and what it says of the choice."""
    lines = run(*through, "libvirt-vepa", "enable", *options).stdout.splitlines()
    runs = lines.index(f"{LAUNCHER} runs {CONNECTION}, or plain libvirt where that is gone")
    kind = FILE.read_text().partition("qemu+ext:///")[2].partition("?")[0]
    return [kind, *lines[runs + 1 :]]


# -- which daemon


def test_system_for_whom_the_daemon_lets_in(home: Path, grouped: int) -> None:
    assert enabled(person(grouped)) == ["system"]
    assert run(*person(grouped), "virsh", "list").returncode == 0


def test_a_session_for_whom_the_socket_is_closed_to(home: Path, grouped: int) -> None:
    refused = f"qemu:///system is not for this user: {SYSTEM_SOCKET} is closed to this user; {JOIN}"
    assert enabled(person()) == ["session", f"{LACKING}, and {refused}, and {ANEW}"]


def test_what_is_chosen_stays_until_another_is_asked_for(home: Path, grouped: int) -> None:
    enabled(person())
    said = run(*person(grouped), "libvirt-vepa", "enable").stdout.splitlines()
    assert said[0].startswith(f"{FILE} already has ") and said[2:] == [f"{LACKING}; {ANEW} for qemu:///system"]
    assert enabled(person(grouped), "--system") == ["system"]
    refused = f"qemu:///system is not for this user: {SYSTEM_SOCKET} is closed to this user; {JOIN}"
    assert run(*person(), "libvirt-vepa", "enable").stdout.splitlines()[2:] == [refused]


def test_the_group_decides_where_no_daemon_answers(home: Path, libvirtd: Daemon) -> None:
    run("groupadd", "-f", "libvirt")
    group = int(run("getent", "group", "libvirt").stdout.split(":")[2])
    libvirtd.stop()
    try:
        silent = f"{SYSTEM_SOCKET} does not answer (No such file or directory), and this user is "
        (kind, said) = enabled(person(group))
        assert (kind, said) == (
            "system",
            f"qemu:///system is taken to be for this user: {silent}in the group libvirt",
        )
        FILE.unlink()
        (kind, said) = enabled(person())
        assert kind == "session" and f"{silent}not in the group libvirt; {JOIN}" in said
    finally:
        libvirtd.start()


# -- when it is gone


@pytest.mark.parametrize("missing", [Path(CONNECTION), PACKAGE], ids=["program", "library"])
def test_virsh_of_the_system_works_on(home: Path, grouped: int, missing: Path) -> None:
    through = person(grouped)
    enabled(through)
    guest = Guest(1)
    guest.ask("vepa")
    file = HOME / "guest.xml"
    file.write_text(guest.xml)
    run(*through, "virsh", "define", str(file))
    try:
        assert "<interface type='physical'>" in run(*through, "virsh", "dumpxml", guest.name).stdout
        with removed(missing):
            assert guest.name in run(*through, "virsh", "list", "--all").stdout
            assert guest.name in run(*through, "virsh", "-r", "list", "--all").stdout
            assert "<interface type='ethernet'>" in run(*through, "virsh", "dumpxml", guest.name).stdout
        assert "<interface type='physical'>" in run(*through, "virsh", "dumpxml", guest.name).stdout
    finally:
        run(*through, "virsh", "undefine", guest.name)


@pytest.mark.parametrize("missing", [Path(CONNECTION), PACKAGE], ids=["program", "library"])
@pytest.mark.parametrize("runs", [False, True], ids=["first", "running"])
def test_virsh_of_a_session_works_on_with_the_same_daemon(home: Path, missing: Path, runs: bool) -> None:
    enabled(person(), "--session")
    if runs:
        run(*person(), "virsh", "list")
    before = daemons()
    assert len(before) == int(runs)
    with removed(missing):
        assert run(*person(), "virsh", "list").returncode == 0
    after = daemons()
    assert len(after) == 1 and (before or after) == after
    assert (RUNTIME / "libvirt/libvirt-sock").is_socket()
    assert run(*person(), "virsh", "list").returncode == 0 and daemons() == after


def test_what_to_do_where_libvirts_relay_is_missing_too(home: Path, grouped: int) -> None:
    enabled(person(grouped))
    with removed(Path(CONNECTION)), removed(Path("/usr/bin/virt-ssh-helper")):
        done = run(*person(grouped), "virsh", "list", check=False)
    told = "libvirt-vepa is gone, and there is no virt-ssh-helper; take uri_default out of libvirt.conf"
    assert done.returncode == 1 and told in done.stderr


def test_where_no_program_runs_the_uri_names_the_installed_one(home: Path, grouped: int) -> None:
    folder = FILE.parent
    folder.mkdir(parents=True)
    run("chown", "-R", f"{USER}:{USER}", str(HOME))
    run("mount", "-t", "tmpfs", "-o", f"noexec,uid={USER},gid={USER}", "lab", str(folder))
    try:
        lines = run(*person(grouped), "libvirt-vepa", "enable").stdout.splitlines()
        told = "is on a file system that runs no programs; run 'libvirt-vepa disable' before an uninstall"
        assert lines[2:] == [f"{folder} {told}"]
        assert f"?command={CONNECTION}" in FILE.read_text() and not LAUNCHER.exists()
        assert run(*person(grouped), "virsh", "list").returncode == 0
        run(*person(grouped), "libvirt-vepa", "disable")
        assert list(folder.iterdir()) == []
    finally:
        run("umount", str(folder))


def test_a_home_with_blanks_and_signs(home: Path, grouped: int) -> None:
    folder = HOME / "a b'c\"&%\u00fc"
    folder.mkdir()
    os.chown(folder, USER, USER)
    through = (*person(grouped), f"XDG_CONFIG_HOME={folder}")
    run(*through, "libvirt-vepa", "enable")
    assert run(*through, "virsh", "list").returncode == 0
    with removed(Path(CONNECTION)):
        assert run(*through, "virsh", "list").returncode == 0


def test_the_readmes_way_out_leaves_a_guest_that_starts(asked: Guest, tmp_path: Path) -> None:
    (way,) = re.findall(r"^ *(virsh dumpxml --inactive .*)\n *(virsh define .*)$", readme.text(), re.MULTILINE)
    plain = ("env", "-u", "LIBVIRT_DEFAULT_URI", "-C", str(tmp_path))
    run("libvirt-vepa", "enable")
    for line in way:
        run(*plain, "sh", "-c", line.replace(" web ", f" {asked.name} "))
    run("make", "uninstall")
    try:
        run(*plain, "virsh", "start", asked.name)
        assert "<interface type='direct'>" in run(*plain, "virsh", "dumpxml", asked.name).stdout
    finally:
        virsh("destroy", asked.name, check=False)
        run("make", "install")


# -- a session


def test_a_start_in_a_session_is_refused_with_the_way_out(home: Path) -> None:
    enabled(person(), "--session")
    guest = Guest(1)
    guest.ask("vepa")
    file = HOME / "guest.xml"
    file.write_text(guest.xml)
    run(*person(), "virsh", "define", str(file))
    done = run(*person(), "virsh", "start", guest.name, check=False)
    assert done.returncode == 1 and done.stderr.rstrip().endswith(
        f"guest '{guest.name}': a physical interface needs qemu:///system, and this is qemu:///session; "
        "run 'libvirt-vepa enable --system', and define the guest there"
    )
