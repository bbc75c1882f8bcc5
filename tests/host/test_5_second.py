# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second machine of the same release on the same switch: a live migration to it and back, and its card with VFs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.hosts import Host
from tests.lab.booted import Switch
from tests.lab.booted import machine as booted
from tests.lab.guest import Guest

GUEST = Guest(8)
ON_VFS = Guest(9)
CARD = "for nic in /sys/class/net/*; do test ! -e $nic/device/sriov_numvfs || basename $nic; done"
DEFINITION = """\
<interface type='physical' name='fast'>
  <source dev='{nic}'/><type>sr-iov</type><mode>bridge</mode><vf count='2'/>
</interface>
"""
MORE = """\
<interface type='physical'>
  <name>fast</name><target mode='bridge'/><mac address='52:54:00:e1:00:09'/><model type='virtio'/>
</interface>
"""


@pytest.fixture(scope="module")
def other(machine: Host, switch: Switch, package: Path) -> Iterator[Host]:
    with booted(machine.machine.release, switch, 2, card=True) as found:
        host = Host(found)
        host.install(package, "--no-install-recommends")
        host.write_shown()
        host.run("virsh -c qemu:///system version && libvirt-vepa enable && virsh iface-define lan.xml")
        yield host
        assert host.faults() == []


def introduce(host: Host, number: int, neighbour: Host) -> None:
    """Give a machine a name that stays and an address on the switch, and tell it its neighbour's."""
    # A manager of networks would go back to the image's name.
    host.run(f"hostnamectl set-hostname {host.machine.name}")
    host.run(f"ip address add 10.77.1.{number}/24 dev eth0 && ip link set eth0 up")
    host.run(f"echo 10.77.1.{3 - number} {neighbour.machine.name} >>/etc/hosts")


def test_a_guest_moves_to_another_machine_and_back(machine: Host, other: Host) -> None:
    introduce(machine, 1, other)
    introduce(other, 2, machine)
    GUEST.ask("vepa")
    machine.write("guest.xml", GUEST.xml)
    machine.run(f"virsh define guest.xml && virsh start {GUEST.name}")
    try:
        for here, there in ((machine, other), (other, machine)):
            here.run(f"virsh migrate --live {GUEST.name} qemu+ssh://{there.machine.name}/system")
            assert (here.devices(), there.devices()) == ([], [GUEST.device])
            assert there.states() == ["ok"]
    finally:
        machine.run(f"virsh destroy {GUEST.name}", check=False)
        machine.run(f"virsh undefine {GUEST.name}")
    assert machine.devices() == []


def test_a_guest_has_a_vf_under_qemus_own_profile(other: Host) -> None:
    other.apt("install python3-nftables")
    other.run("modprobe igb")
    other.until(f'test -n "$({CARD})"')
    nic = other.run(CARD).stdout.strip()
    other.write("fast.xml", DEFINITION.format(nic=nic))
    ON_VFS.ask("bridge")
    other.write("vfs.xml", ON_VFS.xml.replace("<name>lan</name>", "<name>fast</name>"))
    other.write("more.xml", MORE)
    other.run("virsh iface-define fast.xml && virsh define vfs.xml")
    try:
        other.run(f"virsh start {ON_VFS.name} && virsh attach-device {ON_VFS.name} more.xml --live")
        assert other.states() == ["ok", "ok"]
        assert other.says(f"cat /sys/class/net/{nic}/device/sriov_numvfs") == "2\n"
        confined = other.run("cat /proc/$(pidof qemu-system-x86_64)/attr/current").stdout
        assert confined == f"libvirt-{ON_VFS.uuid} (enforce)\n"
    finally:
        other.run(f"virsh destroy {ON_VFS.name}", check=False)
    assert other.states() == [] and other.devices() == []
    other.run(f"virsh undefine {ON_VFS.name} && virsh iface-undefine fast")
    assert other.says(f"cat /sys/class/net/{nic}/device/sriov_numvfs") == "0\n"
