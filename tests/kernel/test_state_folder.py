# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A state folder that cannot be written: one line, and nothing is made."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from libvirt_vepa.errors import StateError
from tests.lab.shell import run
from tests.support.host_fixture import World, device, guest, line, links, mac


@pytest.fixture
def mounted(world: World) -> Iterator[World]:
    """The state folder on a file system of its own, as /run is."""
    world.root.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=100,mode=755", "state", str(world.root))
    yield world
    run("umount", "--lazy", str(world.root))


def begin_fails(world: World) -> str:
    before, files = links(), world.files()
    with pytest.raises(StateError) as caught:
        world.begin(guest(1))
    assert links() == before and world.files() == files
    return line(str(caught.value), guest(1))


def fill(world: World, left: int) -> None:
    """Leave that many pages."""
    room = os.statvfs(world.root)
    (world.root / "full").write_bytes(b"x" * room.f_frsize * (room.f_bavail - left))


def read_only(world: World, *options: str) -> None:
    run("mount", "-o", ",".join(("remount", *options)), str(world.root))


@pytest.mark.parametrize("left", range(3))
def test_a_full_one(mounted: World, left: int) -> None:
    """Wherever it is that no page is left: for the journal, or one of two leases; locks do without."""
    fill(mounted, left)
    text = begin_fails(mounted)
    # The locks and the journal are the whole guest's.
    interface = "" if left < len(("lock", "lock", "journal")) else f"interface {mac(1)}: "
    assert text.startswith(f"{interface}cannot write {mounted.root}/")
    assert text.endswith(": No space left on device; make room on the file system")


def test_one_with_just_enough_room(mounted: World) -> None:
    fill(mounted, 5)
    mounted.begin(guest(1))
    assert mounted.end(guest(1)) == () and mounted.files().keys() == {"full"}


def test_a_read_only_one(mounted: World) -> None:
    read_only(mounted, "ro")
    text = begin_fails(mounted)
    assert text.startswith(f"cannot write {mounted.root}/guests/")
    assert text.endswith(": Read-only file system; make the file system writable")


def test_a_read_only_one_when_the_guest_ends(mounted: World) -> None:
    """What can be put back is; the journal, which cannot be changed, still holds all of it."""
    mounted.begin(guest(1))
    read_only(mounted, "ro")
    errors = [str(error) for error in mounted.end(guest(1))]
    assert errors and all(text.endswith(": Read-only file system; make the file system writable") for text in errors)
    assert device(1) not in links()
    read_only(mounted, "rw")
    assert mounted.end(guest(1)) == () and not mounted.files()


def test_one_that_is_full_when_the_guest_ends_is_no_obstacle(mounted: World) -> None:
    """Not even the locks' holder can be named, which would take a page each."""
    mounted.begin(guest(1))
    fill(mounted, 0)
    assert mounted.end(guest(1)) == ()
    assert device(1) not in links() and mounted.files().keys() == {"full"}


def test_no_file_can_be_made_when_the_guest_ends(mounted: World) -> None:
    """Also the lock's own file has no room: all inodes are taken."""
    mounted.begin(guest(1))
    for number in range(os.statvfs(mounted.root).f_favail):
        (mounted.root / f"full{number}").touch()
    assert os.statvfs(mounted.root).f_favail == 0
    assert mounted.end(guest(1)) == ()
    assert device(1) not in links() and all(name.startswith("full") for name in mounted.files())
