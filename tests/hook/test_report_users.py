# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`disable --report-users`: who of the host's users still has the connection as default URI; nothing is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.hook import command
from tests.lab.shell import run
from tests.support.leak_check import Untouched
from tests.support.user import CONNECTION

HOMES = Path("/run/homes")


@dataclass(frozen=True)
class User:
    """A user of the host, with a home folder of their own."""

    name: str
    uid: int

    @property
    def folder(self) -> Path:
        return HOMES / self.name / ".config/libvirt"

    @property
    def file(self) -> Path:
        return self.folder / "libvirt.conf"

    def has(self, text: str) -> None:
        self.file.write_text(text)
        os.chown(self.file, self.uid, self.uid)


def add(name: str) -> User:
    run("useradd", "--user-group", "--home-dir", str(HOMES / name), "--no-create-home", name)
    user = User(name, int(run("id", "-u", name).stdout))
    user.folder.mkdir(parents=True)
    run("chown", "-R", f"{name}:{name}", str(HOMES / name))
    return user


@pytest.fixture
def users(installed: None) -> Iterator[tuple[User, User]]:
    yield add("alice"), add("bob")
    for name in ("alice", "bob"):
        run("userdel", name)
    shutil.rmtree(HOMES)


def reported(*through: str) -> list[str]:
    """Return what is said of these users; the machine may have others."""
    with Untouched():
        done = command("disable", "--report-users", through=through)
    assert (done.returncode, done.stderr) == (0, b"")
    return [line for line in done.stdout.decode().splitlines() if line.startswith(f"{HOMES}/")]


def names(path: str | Path) -> str:
    return f'x = 1\nuri_default = "qemu+ext:///system?command={path}"\n'


def test_nobody_is_named_who_does_without(users: tuple[User, User]) -> None:
    alice, bob = users
    assert reported() == []
    alice.has('uri_default = "qemu:///system"\n')
    bob.has(f'# uri_default = "qemu+ext:///system?command={CONNECTION}"\n')
    assert reported() == []


def test_each_is_told_what_is_lost_and_what_to_do(users: tuple[User, User]) -> None:
    alice, bob = users
    alice.has(names(alice.folder / "libvirt-vepa-connect"))
    bob.has(names(CONNECTION))
    remedy = "run 'libvirt-vepa disable' as {0} now, or take the line uri_default out of it later"
    assert reported() == [
        f"{alice.file} names libvirt-vepa-connect, and alice's virsh goes on without libvirt-vepa as plain libvirt's; "
        + remedy.format("alice"),
        f"{bob.file} names libvirt-vepa-connect, and bob's virsh cannot connect any more without libvirt-vepa; "
        + remedy.format("bob"),
    ]


@pytest.mark.parametrize("more", ["&mode=direct", "&socket=/run/mine"])
def test_a_uri_that_says_more_is_told_of_too(users: tuple[User, User], more: str) -> None:
    alice, bob = users
    alice.has(names(f"{alice.folder}/libvirt-vepa-connect{more}"))
    bob.has(names(f"{CONNECTION}{more}"))
    assert ["cannot connect" in line for line in reported()] == [False, True]


def test_who_names_the_socket_is_told_of_too(users: tuple[User, User]) -> None:
    alice, _ = users
    alice.has('uri_default = "qemu:///system?socket=/run/libvirt/libvirt-vepa-sock"\n')
    assert ["cannot connect" in line for line in reported()] == [True]


def test_a_file_elsewhere_behind_a_link_is_read(users: tuple[User, User]) -> None:
    alice, _ = users
    alice.has(names(CONNECTION))
    alice.file.rename(HOMES / "alice/mine")
    alice.file.symlink_to(HOMES / "alice/mine")
    assert [line.partition(" ")[0] for line in reported()] == [str(alice.file)]


def test_what_a_user_may_not_read_is_not_read_for_them(users: tuple[User, User]) -> None:
    alice, bob = users
    bob.has(names(CONNECTION))
    bob.file.chmod(0o600)
    alice.file.symlink_to(bob.file)
    assert [line.partition(" ")[0] for line in reported()] == [str(bob.file)]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop", "locked", "not-understood"])
def test_what_is_no_file_of_libvirts_holds_nobody_up(users: tuple[User, User], kind: str) -> None:
    alice, bob = users
    bob.has(names(CONNECTION))
    if kind == "pipe":
        os.mkfifo(alice.file, 0o666)
    elif kind == "folder":
        alice.file.mkdir()
    elif kind == "device":
        alice.file.symlink_to("/dev/zero")
    elif kind == "loop":
        alice.file.symlink_to(alice.file)
    elif kind == "locked":
        alice.folder.chmod(0)
    else:
        alice.has(names(CONNECTION) * 2)
    assert [line.partition(" ")[0] for line in reported()] == [str(bob.file)]


def test_only_the_beginning_of_a_huge_file_is_read(users: tuple[User, User]) -> None:
    alice, _ = users
    alice.has(names(CONNECTION))
    os.truncate(alice.file, 1 << 40)
    assert [line.partition(" ")[0] for line in reported()] == [str(alice.file)]


def test_a_user_is_told_what_they_can_read(users: tuple[User, User]) -> None:
    alice, bob = users
    alice.has(names(CONNECTION))
    bob.has(names(CONNECTION))
    bob.file.chmod(0o600)
    through = ("setpriv", f"--reuid={alice.uid}", f"--regid={alice.uid}", "--clear-groups")
    assert [line.partition(" ")[0] for line in reported(*through)] == [str(alice.file)]
