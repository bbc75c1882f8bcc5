# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The embedded switch before there is one, where its driver cannot set it, and where to set it harms others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from libvirt_vepa.errors import KernelError
from libvirt_vepa.host.context import Host
from libvirt_vepa.lifecycle import executor
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.model.interface import Mode
from libvirt_vepa.operations import nic as nics
from libvirt_vepa.operations.nic import CreateVfs
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.card_tools import hwmode, parameter
from tests.support.guest_cycle import WRITES, Child, Place, die_before, guest, place, records

BESIDE, VF, VMDQ = "ethernet", "sr-iov", "vmdq"


@pytest.fixture
def bare(card: Nic, tmp_path: Path) -> Iterator[Place]:
    """The first card without VFs, under a name for each type."""
    with place(card, tmp_path) as found:
        for kind in (BESIDE, VMDQ):
            found.define("", kind, kind=kind)
        found.define("<vf count='2'/>", VF)
        yield found


def test_a_macvtap_that_was_there_before_the_switch(bare: Place) -> None:
    beside, one = guest(1, name=BESIDE), guest(2, name=VF)
    assert bare.seen()["hwmode"] is None
    bare.begin(beside)
    guests.check(beside, bare.host)
    for begin in (True, False):
        said = bare.refused(guest(3, Mode.BRIDGE, name=VF), begin)
        assert "embedded switch of card0 is to be in vepa, once there is one, for guest 'g1'; " in said
    assert not bare.functions()
    bare.begin(one)
    assert len(bare.functions()) == 2 and hwmode("card0") == "VEPA"
    assert "is in vepa for guest" in bare.refused(guest(3, Mode.BRIDGE, name=VF))
    assert not bare.end(one)
    guests.check(beside, bare.host)
    assert not bare.end(beside)
    assert hwmode("card0") == "VEB" and not bare.files()


def test_a_macvtap_alone_leaves_no_trace_of_a_switch(bare: Place) -> None:
    before, beside = bare.seen(), guest(1, name=BESIDE)
    bare.begin(beside)
    assert not bare.end(beside)
    assert bare.seen() == before


def test_vfs_that_could_not_be_made_are_nobodys(bare: Place) -> None:
    with pytest.raises(KernelError, match=r"cannot give .* 8 VFs"):
        executor.perform(CreateVfs("card0", NicKey(str(bare.address)), 8, VF), bare.host)
    assert not list(bare.root.glob("state/shared/*"))


@pytest.mark.parametrize("written", [0, 1])
def test_a_kill_while_vfs_are_made(bare: Place, written: int) -> None:
    """Before they are there, nothing stays; afterwards they are the definition's, and no guest's."""
    some = guest(1, name=VF)

    def work(host: Host) -> None:
        die_before(written, WRITES)
        bare.begin(some, host)

    assert Child.of(bare.host.store, work).end() == ("", signal.SIGKILL)
    assert (records(some, bare.host.store) == ["CreateVfs"]) == (not written)
    assert not bare.gone() and not bare.files()
    assert bool(bare.functions()) == bool(written) == bool(list(bare.root.glob("state/shared/vfs-*")))


def test_a_station_in_a_switch_without_control(bare: Place) -> None:
    first = guest(1, Mode.BRIDGE, name=VMDQ)
    with parameter("nohwmode", "Y"):
        bare.begin(first)
        for begin in (True, False):
            said = bare.refused(guest(2, name=VMDQ), begin)
            assert said.startswith("HostError: ") and "driver igb of NIC card0 cannot set its embedded switch" in said
        assert not bare.end(first)


def test_a_reset_waits_until_nobody_else_is_harmed(lan: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with i40e: whoever is the last one while others use the card leaves the switch as it is to a later one."""
    before, stranger = lan.seen(), lan.functions()[6].device or ""
    monkeypatch.setattr(nics, "RESETTING", frozenset({"igb"}))
    lan.begin(guest(1))
    run("ip", "address", "add", "192.0.2.1/24", "dev", stranger)
    assert not lan.end(guest(1))
    assert hwmode("card1") == "VEPA" and lan.files() == [f"state/shared/hwmode-{lan.address}.json"]
    lan.begin(guest(2))
    run("ip", "address", "flush", "dev", stranger)
    assert not lan.end(guest(2))
    assert lan.seen() == before
