# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest's owner may write into its metadata hinders nobody: not the host's housekeeping, not its own end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import libvirt
import pytest

from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import Guest, define
from tests.lab.shell import link, run
from tests.libvirt.conftest import nothing_left
from tests.libvirt.test_life import qemu_pid, released
from tests.support.via_proxy import through

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
PIECE = 200_000


def write(guest: Guest, key: str, text: str) -> None:
    """Put foreign metadata into a running guest, as its owner may."""
    connection = libvirt.open("qemu:///system")
    try:
        domain = connection.lookupByName(guest.name)
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, key, f"urn:evil:{key}", LIVE)
    finally:
        connection.close()


def no_xml(guest: Guest) -> None:
    """Have libvirt write what its own parser would not take."""
    write(guest, "e", "<a>" + "<m:x/>" * 12_000 + "<z:b/></a>")
    assert "<e:z:b/>" in virsh("dumpxml", guest.name).stdout


def no_text(guest: Guest) -> None:
    virsh("desc", guest.name, "--live", "--title", "\uffff")


def no_utf8(guest: Guest) -> None:
    virsh("desc", guest.name, "--live", "--title", os.fsdecode(b"\xff"))


def too_long(guest: Guest) -> None:
    """Make the guest's XML longer than libvirt can pass on; the hook still gets all of it."""
    for number in range(3):
        write(guest, f"m{number}", f"<a>{'<x/>' * PIECE}</a>")
    assert virsh("dumpxml", guest.name, check=False).returncode != 0


EVIL = pytest.mark.parametrize("evil", [no_xml, no_text, no_utf8, too_long])


def reconciled() -> subprocess.CompletedProcess[str]:
    return run("libvirt-vepa", "reconcile", check=False)


@EVIL
def test_the_guest_leaves_nothing(guest: Guest, evil: Callable[[Guest], None]) -> None:
    guest.start()
    evil(guest)
    guest.destroy()
    assert nothing_left(guest)


@EVIL
def test_what_another_guest_left_is_put_back(
    guest: Guest, guest_of: Callable[[int], Guest], libvirtd: Daemon, evil: Callable[[Guest], None]
) -> None:
    guest.start()
    lost = guest_of(2)
    lost.ask(None)
    define(lost)
    lost.start()
    libvirtd.stop()
    os.kill(qemu_pid(lost), signal.SIGKILL)
    for path in Path("/run/libvirt/qemu").glob(f"{lost.name}.*"):
        path.unlink()
    libvirtd.start()
    evil(guest)
    done = reconciled()
    assert link(lost.device) is None and link(guest.device)
    if evil is too_long:
        where = f"guest '{guest.name}' ({guest.uuid}): "
        assert f"{where}keep all, for it runs and its XML cannot be read\n" in done.stdout
        assert done.returncode == 1 and done.stderr.startswith(f"error: {where}cannot ask libvirt about guest ")
        assert done.stderr.count("\n") == 1
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_a_guest_of_others_is_not_asked_for_its_xml(guest: Guest, guest_of: Callable[[int], Guest]) -> None:
    guest.start()
    other = guest_of(2)
    define(other)
    other.start()
    too_long(other)
    done = reconciled()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("evil", [no_xml, no_text])
def test_it_is_shown_as_stored(asked: Guest, evil: Callable[[Guest], None]) -> None:
    asked.start()
    evil(asked)
    assert through("dumpxml", asked.name).stdout == virsh("dumpxml", asked.name).stdout
    asked.destroy()
    released(asked)
