# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that has nothing of ours, and names the device of one that has: libvirt would let the two share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.lab.daemon import virsh
from tests.lab.guest import Guest, define
from tests.lab.network import Nic
from tests.lab.shell import link, run

Make = Callable[[int], Guest]
TAKING = {
    "ethernet": "<target dev='{device}' managed='no'/>",
    "direct": "<source dev='{device}' mode='{mode}'/>",
}


def foreign(guest_of: Make, kind: str, device: str, mode: str = "passthrough") -> Guest:
    """Return a guest that is defined by plain libvirt and takes a device of the host."""
    found = guest_of(2)
    inside = TAKING[kind].format(device=device, mode=mode)
    found.interfaces = f"<interface type='{kind}'><mac address='{found.mac}'/>{inside}</interface>"
    virsh("define", "/dev/stdin", stdin=found.xml)
    return found


@pytest.mark.parametrize(
    ("kind", "mode"), [("ethernet", ""), ("direct", "passthrough"), ("direct", "bridge"), ("direct", "private")]
)
def test_a_macvtap_of_a_guest_is_not_shared(guest: Guest, guest_of: Make, kind: str, mode: str) -> None:
    guest.start()
    before = link(guest.device)
    done = virsh("start", foreign(guest_of, kind, guest.device, mode).name, check=False)
    assert done.returncode, f"it starts; {guest.device} was {before}, and is {link(guest.device)}"
    assert (
        f"libvirt-vepa: guest 'lab2': interface 52:54:00:00:00:02: device {guest.device} is in use by guest 'lab1' "
        f"({guest.uuid}); choose another device, or stop that guest"
    ) in done.stderr
    assert link(guest.device) == before


@pytest.fixture
def bridged(wire: Nic) -> Iterator[str]:
    """The bridge br-lan, of which the NIC is a port."""
    run("ip", "link", "add", "br-lan", "type", "bridge", "forward_delay", "0")
    run("ip", "link", "set", wire.device, "master", "br-lan")
    yield "br-lan"
    run("ip", "link", "delete", "br-lan")


@pytest.mark.parametrize("managed", ["yes", "no"])
@pytest.mark.usefixtures("bridged")
def test_a_tap_of_several_queues_is_not_joined(guest_of: Make, managed: str) -> None:
    guest = guest_of(1)
    guest.ask("bridge", "tap", "<driver name='qemu' queues='2'/>")
    define(guest)
    guest.start()
    other = guest_of(2)
    target = f"<target dev='{guest.device}' managed='{managed}'/><driver name='qemu' queues='2'/>"
    model = "<model type='virtio'/>"
    other.interfaces = f"<interface type='ethernet'><mac address='{other.mac}'/>{target}{model}</interface>"
    virsh("define", "/dev/stdin", stdin=other.xml)
    done = virsh("start", other.name, check=False)
    assert done.returncode and f"device {guest.device} is in use by guest 'lab1'" in done.stderr


def test_an_unmanaged_tap_of_the_hosts_own_is_had(guest: Guest, guest_of: Make) -> None:
    guest.start()
    other = foreign(guest_of, "ethernet", "plain9")
    run("ip", "tuntap", "add", "plain9", "mode", "tap")
    try:
        virsh("start", other.name)
        virsh("destroy", other.name)
    finally:
        run("ip", "link", "delete", "plain9")
