# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Managers of networks that take what they find, beside guests whose devices are nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.host.hosts import Host

NIC, BRIDGE = "eth1", "br-own"
# One name of the user's own, one that is derived from the MAC.
MACVTAP, TAP = "own", "vp525400e07702"
DEVICES = (MACVTAP, TAP)
DEFINITIONS = {"managed": "eth0", "bridged": NIC}
GUEST = f"""\
<domain type='qemu'>
  <name>managed</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <interface type='physical'>
      <name>managed</name><target dev='{MACVTAP}' mode='vepa'/><mac address='52:54:00:e0:77:01'/>
    </interface>
    <interface type='physical'>
      <name>bridged</name><type>tap</type><mac address='52:54:00:e0:77:02'/>
    </interface>
  </devices>
</domain>
"""
# Debian's own example (80-ethernet.network.example), and before it what the host's administrator needs for the host.
NETWORKD = {
    "20-host": f"[Match]\nName=eth0 {NIC} {BRIDGE}\n[Link]\nUnmanaged=yes\n",
    "80-ethernet": "[Match]\nType=ether\n[Network]\nDHCP=yes\n",
}


# What the managers say of a device.
BY_NETWORKD = "networkctl list {} --no-legend"
BY_NETWORK_MANAGER = "nmcli -g GENERAL.STATE device show {}"


@pytest.fixture(scope="module")
def host(machine: Host) -> Iterator[Host]:
    """A machine with a bridge of a second NIC, and a guest on both that has not started."""
    machine.machine.plug()
    machine.until(f"test -e /sys/class/net/{NIC}")
    machine.run(f"ip link add {BRIDGE} type bridge forward_delay 0")
    enslave(machine)
    for name, device in DEFINITIONS.items():
        machine.define(name, device)
    machine.write("managed.xml", GUEST)
    machine.run("libvirt-vepa translate managed.xml | virsh -c qemu:///system define /dev/stdin")
    yield machine
    machine.run("virsh -c qemu:///system undefine managed")
    for name in DEFINITIONS:
        machine.run(f"libvirt-vepa iface-undefine {name}")
    machine.run(f"ip link delete {BRIDGE}")
    machine.machine.unplug()
    machine.until(f"! test -e /sys/class/net/{NIC}")


def enslave(machine: Host) -> None:
    """Have the second NIC where the administrator had put it."""
    machine.run(f"ip link set {NIC} master {BRIDGE} && ip link set {NIC} up && ip link set {BRIDGE} up")


@pytest.fixture
def networkd(host: Host) -> Iterator[Host]:
    """systemd-networkd, which is to have DHCP on everything that looks like Ethernet."""
    for name, text in NETWORKD.items():
        host.write(f"/etc/systemd/network/{name}.network", text)
    host.run("systemctl restart systemd-networkd")
    yield host
    for name in NETWORKD:
        host.run(f"rm /etc/systemd/network/{name}.network")
    host.run("systemctl restart systemd-networkd")


@pytest.fixture(scope="module")
def network_manager(host: Host) -> Iterator[Host]:
    host.run("mkdir -p /etc/NetworkManager/conf.d")
    host.write("/etc/NetworkManager/conf.d/admin.conf", "[keyfile]\nunmanaged-devices=interface-name:admin0\n")
    host.apt("install network-manager")
    try:
        manages(host)
        yield host
    finally:
        host.run("systemctl disable --now NetworkManager")
        enslave(host)


def manages(host: Host) -> None:
    """Return when it has taken the NIC out of its bridge, to have an address on it, or has decided to leave it there.

    Debian 12's does the one, Debian 13's the other.
    """
    host.until(f"{BY_NETWORK_MANAGER.format(NIC)} | grep -qE 'IP configuration|externally'")


@pytest.fixture
def running(host: Host) -> Iterator[None]:
    start(host)
    yield
    host.run("virsh -c qemu:///system destroy managed")


def start(host: Host) -> None:
    enslave(host)
    host.run("virsh -c qemu:///system start managed")


def left_alone(host: Host, manager: str) -> None:
    """Return when a manager says of both devices that they are none of its own."""
    for device in DEVICES:
        host.until(f"{manager.format(device)} | grep -q unmanaged")


def untouched(host: Host) -> None:
    """See that the devices are as they were made: nobody's, without an address, and as the journal has it."""
    host.run("udevadm settle")
    states = host.states()
    assert len(states) == len(DEVICES)
    assert not [state for state in states if any(device in state for device in DEVICES)]
    for device in DEVICES:
        assert host.run(f"ip -o address show dev {device}").stdout == ""
        properties = host.run(f"udevadm info --query=property /sys/class/net/{device}").stdout.split("\n")
        assert {"ID_LIBVIRT_VEPA=1", "NM_UNMANAGED=1", "ID_NET_MANAGED_BY=libvirt-vepa"} <= set(properties)
        assert any(line.endswith("/05-libvirt-vepa.link") for line in properties if "ID_NET_LINK_FILE=" in line)


def test_networkd_leaves_them_alone(networkd: Host, running: None) -> None:
    networkd.run("networkctl reload && networkctl reconfigure eth0")
    left_alone(networkd, BY_NETWORKD)
    for device in DEVICES:
        networkd.run(f"ip link set {device} down && ip link set {device} up")
    untouched(networkd)
    networkd.run("systemctl restart systemd-networkd")
    left_alone(networkd, BY_NETWORKD)
    untouched(networkd)
    assert networkd.states() == ["ok", "ok"]


def test_networkd_takes_another_device_of_that_kind(networkd: Host) -> None:
    """Or the test above would tell nothing."""
    networkd.run("ip link add link eth0 name other type macvtap && ip link set other up")
    try:
        networkd.until(f"{BY_NETWORKD.format('other')} | grep -q configuring")
    finally:
        networkd.run("ip link delete other")


def test_network_manager_leaves_them_alone_and_a_nic_that_it_takes_is_told_of(
    network_manager: Host, running: None
) -> None:
    left_alone(network_manager, BY_NETWORK_MANAGER)
    untouched(network_manager)
    network_manager.until(f"{BY_NETWORK_MANAGER.format(BRIDGE)} | grep -q externally")
    network_manager.run("nmcli networking off && nmcli networking on")
    manages(network_manager)
    left_alone(network_manager, BY_NETWORK_MANAGER)
    # Debian 12's takes every port out of a bridge that it puts down, also those that it does not manage.
    told = {
        TAP: f"{TAP} is not a port of bridge {BRIDGE}",
        NIC: f"{NIC} is no longer a port of bridge {BRIDGE} ('ip link set {NIC} master {BRIDGE}' puts it back)",
    }
    ports = network_manager.run(f"ls /sys/class/net/{BRIDGE}/brif").stdout.split()
    out = [text for device, text in told.items() if device not in ports]
    assert network_manager.states() == ["ok", ", ".join(out) or "ok"]
    # A daemon that starts again has its guests looked after.
    enslave(network_manager)
    network_manager.run("systemctl restart libvirtd")
    # It answers before its guests have been looked after.
    network_manager.until("virsh -c qemu:///system list >/dev/null && ! libvirt-vepa status | grep -q 'not a port'")
    assert network_manager.states() == ["ok", "ok"]
    untouched(network_manager)


def test_a_vlan_device_whose_nic_below_is_down_says_so(host: Host) -> None:
    host.run("ip link add name below0 type veth peer name below1 && ip link add link below0 name v42 type vlan id 42")
    host.define("v42", "v42")
    macvtap = re.sub(r"(?s)    <interface type='physical'>\s*<name>bridged.*?</interface>\n", "", GUEST)
    host.write("v42.xml", macvtap.replace("<name>managed</name>", "<name>v42</name>").replace(MACVTAP, "own42"))
    try:
        done = host.run("libvirt-vepa translate v42.xml | virsh -c qemu:///system create /dev/stdin", check=False)
        assert "cannot put v42 up: below0 below it is down; put below0 up: ip link set below0 up" in done.stderr
    finally:
        host.run("libvirt-vepa iface-undefine v42; ip link delete below0")
