# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who reaches whom: real guests, a real switch, every mode."""

from __future__ import annotations

import pytest

from tests.lab.guest import Guest, define, host_reaches
from tests.lab.hook import define_nic
from tests.lab.network import HOST_ADDRESS, Nic
from tests.lab.reach import EXPECTED, measure
from tests.lab.shell import run
from tests.libvirt.conftest import Make


def two(guest_of: Make, mode: str | None, kind: str = "macvtap", extra: str = "") -> tuple[Guest, Guest]:
    guests = guest_of(1), guest_of(2)
    for guest in guests:
        guest.kernel = True
        guest.ask(mode, kind, extra)
        define(guest)
        guest.start()
    for guest in guests:
        guest.wait()
    return guests


@pytest.mark.parametrize("mode", ["vepa", "pepa", "bridge"])
def test_macvtap(mode: str, guest_of: Make, wire: Nic) -> None:
    one, other = two(guest_of, mode)
    found = {}
    for key in ((mode, False), (mode, True)):
        wire.reflect(key[1])
        found[key] = measure(one, other, HOST_ADDRESS, EXPECTED[key])
    assert found == {key: row for key, row in EXPECTED.items() if key[0] == mode}


def test_ipv6_between_guests_works_without_trust(guest_of: Make, wire: Nic) -> None:
    one, other = two(guest_of, "bridge")
    link_local = "fe80::5054:ff:fe00:2"
    for guest in (one, other):
        # A new link's state is told within a second; `run` bounds the wait.
        guest.run("until ip -6 address show dev eth0 | grep -q fe80; do :; done")
    assert one.run(f"ping -6 -q -c 2 -W 2 -I eth0 {link_local}")[0] == 0, other.run("ip address show eth0")


def test_tap_on_the_bridge_of_the_nic(guest_of: Make, wire: Nic) -> None:
    run("ip", "link", "add", "br-lan", "type", "bridge")
    try:
        run("ip", "address", "flush", "dev", "eth1")
        run("ip", "link", "set", "eth1", "master", "br-lan")
        run("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", "br-lan")
        define_nic("lan", "eth1", "<bridge name='br-lan'/>")
        one, other = two(guest_of, None, "tap")
        assert one.reaches(other.address)
        assert one.reaches(HOST_ADDRESS)
        assert host_reaches(other.address)
        for guest in (one, other):
            guest.destroy()
    finally:
        run("ip", "link", "delete", "br-lan")


def test_mtu_reaches_the_guest(guest_of: Make, wire: Nic) -> None:
    guest = guest_of(1)
    guest.kernel = True
    guest.ask("vepa", extra="<mtu size='1400'/>")
    define(guest)
    guest.start()
    guest.wait()
    assert "mtu 1400" in guest.run("ip link show eth0")[1]
