# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A live migration to a second machine of the same release on the same switch, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.hosts import Host
from tests.lab import readme
from tests.lab.booted import Switch
from tests.lab.booted import machine as booted
from tests.lab.guest import Guest

GUEST = Guest(8)


@pytest.fixture(scope="module")
def other(machine: Host, switch: Switch, package: Path) -> Iterator[Host]:
    with booted(machine.machine.release, switch, 2) as found:
        host = Host(found)
        host.copy(package, package.name)
        host.run(f"apt-get -q install -y --no-install-recommends ./{package.name}")
        for name, text in readme.files():
            host.write(name, text)
        host.run("virsh -c qemu:///system version && libvirt-vepa enable && virsh iface-define lan.xml")
        yield host
        assert host.faults() == []


def introduce(host: Host, number: int, neighbour: Host) -> None:
    """Give a machine a name that stays and an address on the switch, and tell it its neighbour's."""
    # A manager of networks would go back to the image's name.
    host.run(f"hostnamectl set-hostname {host.machine.name}")
    host.run(f"ip address add 10.77.1.{number}/24 dev eth0 && ip link set eth0 up")
    host.run(f"echo 10.77.1.{3 - number} {neighbour.machine.name} >>/etc/hosts")


def devices(host: Host) -> str:
    return host.says("ip -br link show type macvtap").partition("@")[0]


def test_a_guest_moves_to_another_machine_and_back(machine: Host, other: Host) -> None:
    introduce(machine, 1, other)
    introduce(other, 2, machine)
    GUEST.ask("vepa")
    machine.write("guest.xml", GUEST.xml)
    machine.run(f"virsh define guest.xml && virsh start {GUEST.name}")
    try:
        for here, there in ((machine, other), (other, machine)):
            here.run(f"virsh migrate --live {GUEST.name} qemu+ssh://{there.machine.name}/system")
            assert (devices(here), devices(there)) == ("", GUEST.device)
            assert there.run("libvirt-vepa status | grep -c ok").stdout == "1\n"
    finally:
        machine.run(f"virsh destroy {GUEST.name}", check=False)
        machine.run(f"virsh undefine {GUEST.name}")
    assert devices(machine) == ""
