# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An interface that a running guest is given, and one that is taken away from it: nothing else is touched."""

from __future__ import annotations

import pytest

from libvirt_vepa.errors import KernelError, VepaError
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.interface import derived_alias
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.attached import FIRST, SECOND, attach, state
from tests.support.host_fixture import World, ask, device, guest, line, links, mac


def detach(world: World, number: int) -> tuple[VepaError, ...]:
    return guests.detach(guest(1).uuid, derived_alias(ask(1, number).mac), world.host)


def test_what_is_attached_is_as_if_the_guest_had_started_with_it(world: World) -> None:
    world.begin(guest(1, FIRST))
    attach(world, guest(1, SECOND))
    attached, journal = links(), world.journal(guest(1))
    world.end(guest(1))
    world.begin(guest(1, FIRST, SECOND))
    started = world.journal(guest(1))
    assert journal and started and journal.uses == started.uses
    assert set(map(str, journal.operations)) == set(map(str, started.operations))
    alike = ("address", "mtu", "allmulti", "up", "kind", "mode", "link")
    assert [attached[device(1, 2)][key] for key in alike] == [links()[device(1, 2)][key] for key in alike]


def test_a_detach_undoes_just_that(world: World) -> None:
    world.begin(guest(1, FIRST))
    before = state(world)
    attach(world, guest(1, SECOND))
    assert device(1, 2) in links()
    assert detach(world, 2) == ()
    assert state(world) == before
    guests.check(guest(1, FIRST), world.host)


def test_what_the_guest_started_with_can_go_and_the_rest_stays(world: World) -> None:
    world.begin(guest(1, FIRST, SECOND))
    assert detach(world, 1) == ()
    assert device(1, 1) not in links() and device(1, 2) in links()
    guests.check(guest(1, SECOND), world.host)
    assert world.end(guest(1)) == () and not world.files()


def test_a_guest_that_had_none_and_has_none_again(world: World) -> None:
    attach(world, guest(1, SECOND))
    assert device(1, 2) in links()
    assert detach(world, 2) == ()
    assert device(1, 2) not in links() and not world.files()


def test_the_end_of_the_guest_takes_what_was_attached(world: World) -> None:
    world.begin(guest(1, FIRST))
    attach(world, guest(1, SECOND))
    assert world.end(guest(1)) == () and not world.files()
    assert not {device(1, 1), device(1, 2)} & links().keys()


def test_what_is_not_there_is_no_error(world: World) -> None:
    assert detach(world, 2) == ()
    world.begin(guest(1, FIRST))
    before = state(world)
    assert detach(world, 2) == ()
    assert state(world) == before


def test_a_mac_of_its_own_is_in_use(world: World) -> None:
    world.begin(guest(1, FIRST))
    before = links(), world.files()
    with pytest.raises(VepaError) as caught:
        attach(world, guest(1, ask(1, 1, device="another")))
    assert line(str(caught.value), guest(1)) == (
        f"interface {mac(1)}: mac {mac(1)} is in use by guest 'web1' ({guest(1).uuid}); "
        "choose another mac, or stop that guest"
    )
    assert (links(), world.files()) == before


def test_a_failure_leaves_what_was_there(world: World) -> None:
    run(*f"ip link add link eth1 name other address {mac(1, 2)} up type macvtap mode vepa".split())
    run("ip", "link", "set", "eth1", "up")
    world.begin(guest(1, FIRST))
    before = state(world)
    with pytest.raises(KernelError, match="Address already in use"):
        attach(world, guest(1, SECOND))
    assert state(world) == before
    guests.check(guest(1, FIRST), world.host)


def test_another_nic(world: World, dmz: Nic) -> None:
    world.define("dmz", "eth2")
    world.begin(guest(1, FIRST))
    attach(world, guest(1, ask(1, 2, "dmz")))
    journal = world.journal(guest(1))
    assert journal and journal.nics == ("eth1", "eth2")
    assert detach(world, 2) == ()
    journal = world.journal(guest(1))
    assert journal and journal.nics == ("eth1",)
