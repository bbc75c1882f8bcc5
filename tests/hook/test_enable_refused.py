# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `enable` and `disable` refuse, in one line, without a change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hook.conftest import refused
from tests.lab.hook import one_line
from tests.lab.shell import run
from tests.support.leak_check import Untouched
from tests.support.user import CONNECTION, Person

NOT_PLAIN = "which is not plain qemu:///system or qemu:///session; take it out if it is not needed, and try again"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    run("mount", "--bind", str(folder), str(folder))
    try:
        run("mount", "-o", "remount,bind,ro", str(folder))
        yield
    finally:
        run("umount", str(folder))


def differing(folder: Path) -> dict[str, bytes]:
    """Return what a call could change in a folder."""
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


def why(person: Person, word: str) -> str:
    """Return why somebody is refused; their folder stays as it was."""
    folder = person.file.parent
    before = differing(folder)
    with Untouched():
        done = person.run(word)
    assert done.returncode == 1 and differing(folder) == before
    return one_line(done, "error: ")


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+ssh://root@hail.example.com/system",
        "qemu+ext:///system?command=/usr/bin/another",
        f"qemu+ext://hail/system?command={CONNECTION}",
        f"qemu+ext:///system?command={CONNECTION}&mode=direct",
        "qemu+ext:///system?command=/usr/bin/another&mode=/libvirt-vepa-connect",
        "qemu:///system?socket=/run/another",
        "test:///default",
        "hail",
        "",
    ],
)
def test_a_uri_of_somebody_elses(person: Person, uri: str) -> None:
    person.has(f'# a\nuri_default = "{uri}"\n'.encode())
    assert why(person, "enable") == f"{person.file}: the default URI is '{uri}', {NOT_PLAIN}"
    without = f"{person.file} already does without libvirt-vepa-connect"
    theirs = f"{person.file} has the default URI {uri}, which enable has not set; all stays as it is"
    assert person.said("disable") == [theirs if "libvirt-vepa-connect" in uri else without]
    assert person.file.read_bytes() == f'# a\nuri_default = "{uri}"\n'.encode()


@pytest.mark.parametrize("word", ["enable", "disable"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uri_default = 1\n", "uri_default is not a text in quotes; correct that line, or take it out"),
        ('uri_default = "qemu:///system\n', "uri_default is not a text in quotes; correct that line, or take it out"),
        ('uri_default = "a"\nuri_default = "b"\n', "uri_default is set more than once; keep one of the lines"),
    ],
    ids=["number", "open", "twice"],
)
def test_a_file_that_cannot_be_understood(person: Person, word: str, text: str, told: str) -> None:
    person.has(text.encode())
    assert why(person, word) == f"{person.file}: {told}"


def test_a_connection_that_is_not_there(root: Person) -> None:
    connection, away = Path(CONNECTION), Path(f"{CONNECTION}.away")
    connection.rename(away)
    try:
        told = f"there is no program {CONNECTION}; install libvirt-vepa again"
        assert refused("enable") == told
        connection.write_bytes(away.read_bytes())
        assert refused("enable") == told, "it cannot be run"
        # Who has removed it must still get rid of the setting.
        root.has(f'uri_default = "qemu+ext:///system?command={CONNECTION}"\n'.encode())
        assert root.said("disable") == [f"{root.file} is removed"]
    finally:
        away.replace(connection)


def test_a_read_only_folder(person: Person) -> None:
    told = "Read-only file system; make the file system writable"
    person.has(b"# a\n")
    with read_only(person.file.parent):
        assert why(person, "enable") == f"cannot write {person.launcher}: {told}"
    person.said("enable")
    with read_only(person.file.parent):
        assert why(person, "disable") == f"cannot write {person.file}: {told}"
    assert person.said("disable")[0] == f"{person.file} is as it was before"


def test_a_folder_of_roots(user: Person) -> None:
    told = "Permission denied; make it and its folder your own"
    run("chown", "root:", str(user.file.parent))
    assert why(user, "enable") == f"cannot write {user.launcher}: {told}"
    user.has(b"# a\n", 0o600)
    run("chown", "root:", str(user.file))
    assert why(user, "enable") == f"cannot read {user.file}: {told}"


def test_a_folder_in_the_place_of_the_file(person: Person) -> None:
    person.file.mkdir()
    try:
        assert why(person, "enable").startswith(f"cannot read {person.file}: Is a directory; ")
    finally:
        person.file.rmdir()


def test_a_user_without_a_home(user: Person) -> None:
    done = user.run("enable", "-u", "HOME", "XDG_CONFIG_HOME=")
    # The machine's own entry for this user is a folder that nobody can make.
    assert done.returncode == 1 and one_line(
        done, "error: cannot write /nonexistent/.config/libvirt/libvirt-vepa-connect: "
    )


def test_a_file_of_somebody_elses_with_the_launchers_name(person: Person) -> None:
    person.has(b"# a\n")
    person.launcher.write_bytes(b"#!/bin/sh\nexec /usr/bin/my-connection\n")
    try:
        assert why(person, "enable") == f"{person.launcher} is not from libvirt-vepa; give it another name"
        assert person.said("disable") == [f"{person.file} already does without libvirt-vepa-connect"]
        assert person.launcher.read_bytes() == b"#!/bin/sh\nexec /usr/bin/my-connection\n"
    finally:
        person.launcher.unlink()


def test_both_daemons_at_once(person: Person) -> None:
    done = person.run("enable --system --session")
    assert done.returncode == 2 and b"not allowed with argument" in done.stderr and person.files == set()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_with_the_launchers_name(user: Person, make: Callable[[Path], None]) -> None:
    make(user.launcher)
    assert why(user, "enable") == f"{user.launcher} is not from libvirt-vepa; give it another name"
    assert user.said("disable") == [f"{user.file} already does without libvirt-vepa-connect"]
