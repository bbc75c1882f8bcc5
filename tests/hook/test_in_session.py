# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hook as the daemon of a user's session calls it: no guest of ours starts there, and nothing else is stopped."""

from __future__ import annotations

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import STATIONS, call, one_line, stored
from tests.lab.network import Nic
from tests.support.leak_check import Untouched
from tests.support.user import USER, Person

PHYSICAL = b"<domain><name>web</name><title>copy of a physical server</title></domain>"


def test_a_start_is_refused_with_the_way_out(guest: Guest) -> None:
    with Untouched():
        done = call("prepare", stored(guest), user=USER)
    assert done.returncode == 1
    assert one_line(done) == (
        f"guest '{guest.name}': a physical interface needs qemu:///system, and this is qemu:///session; "
        "run 'libvirt-vepa enable --system', and define the guest there"
    )


@pytest.mark.parametrize("operation", sorted(set(STATIONS) - {"prepare"}))
def test_nothing_else_is_stopped_or_done(guest: Guest, operation: str) -> None:
    with Untouched():
        done = call(operation, stored(guest), user=USER)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_what_root_has_made_stays(guest: Guest) -> None:
    assert call("prepare", stored(guest)).returncode == 0
    with Untouched():
        for operation in ("start", "reconnect", "stopped", "release"):
            assert call(operation, stored(guest), user=USER).returncode == 0


@pytest.mark.parametrize("operation", ["restore", "migrate"])
def test_the_filters_translate(guest: Guest, operation: str) -> None:
    done = call(operation, guest.xml.encode(), user=USER)
    assert (done.returncode, done.stderr) == (0, b"") and b"<interface type='ethernet'>" in done.stdout


@pytest.mark.parametrize("operation", sorted(STATIONS))
def test_a_guest_that_asks_for_nothing_passes(wire: Nic, operation: str) -> None:
    with Untouched():
        done = call(operation, PHYSICAL, user=USER)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_plan_says_where_it_holds(guest: Guest, user: Person) -> None:
    note = (
        "note: this is for qemu:///system, and your default URI reaches qemu:///session; "
        "in a session no guest can have a physical interface"
    )
    file = user.file.with_name("guest.xml")
    file.write_text(guest.xml)

    def last(*variables: str) -> str:
        done = user.run(f"plan {file}", *variables)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode().splitlines()[-1]

    def is_told(*variables: str) -> bool:
        said = last(*variables)
        assert note not in said or said.endswith("and run 'libvirt-vepa enable --system'"), said
        return said.startswith(note)

    assert is_told()
    user.said("enable --session")
    assert is_told()
    assert not is_told("LIBVIRT_DEFAULT_URI=qemu:///system")
    user.said("enable --system")
    assert not is_told()
    assert is_told("LIBVIRT_DEFAULT_URI=qemu:///session")
    user.has(b"uri_default = 1\n")
    assert not is_told()


def test_plan_says_nothing_of_it_to_root(guest: Guest, root: Person) -> None:
    file = root.file.with_name("guest.xml")
    file.write_text(guest.xml)
    try:
        assert b"session" not in root.run(f"plan {file}").stdout
    finally:
        file.unlink()
