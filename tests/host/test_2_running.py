# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""While guests run: who reaches whom, devices that come and go, and a daemon that ends."""

from __future__ import annotations

import pytest

from tests.host.hosts import Host
from tests.lab.booted import TOP, Switch
from tests.lab.guest import Guest

GUESTS = "/srv/checkout"
PAIR = f"cd {GUESTS} && python3 -m tests.host.pair"
BOTH = (Guest(1), Guest(2))
MORE = "vp525400aabbdd"


def reaches(machine: Host, where: str) -> bool:
    return machine.run(f"{PAIR} reaches {where}").stdout == "True\n"


@pytest.fixture(scope="module", autouse=True)
def pair(machine: Host) -> None:
    """Two guests that run a kernel; there are no others, for they take long."""
    machine.machine.copy_checkout(GUESTS)
    machine.run(f"mkdir -p {GUESTS}/build/guest")
    for name in ("vmlinuz", "initrd"):
        machine.copy(TOP / "build/guest" / name, f"{GUESTS}/build/guest/{name}")
    machine.run(f"{PAIR} up", seconds=3600)


def test_neighbours_reach_each_other_where_the_switch_reflects(machine: Host, switch: Switch) -> None:
    assert reaches(machine, switch.ADDRESS)
    assert not reaches(machine, BOTH[1].name)
    switch.reflect(True)
    try:
        assert reaches(machine, BOTH[1].name)
    finally:
        switch.reflect(False)


@pytest.mark.parametrize("name", ["root", "alice"])
def test_a_device_comes_and_goes_while_a_guest_runs(machine: Host, name: str) -> None:
    user = machine.user(name)
    user.run("virsh attach-device lab1 more.xml --live")
    assert machine.states() == ["ok", "ok", "ok"]
    user.run("virsh detach-device lab1 more.xml --live")
    machine.until(f"! ip link show {MORE} 2>/dev/null")
    machine.until("test $(libvirt-vepa status | grep -c vp) = 2")


def test_who_may_not_use_libvirt_gets_nothing_and_breaks_nothing(machine: Host) -> None:
    bob = machine.user("bob")
    for socket in ("", "?socket=/run/libvirt/libvirt-vepa-sock"):
        done = bob.run(f"virsh -c 'qemu:///system{socket}' list", check=False)
        assert done.rc == 1 and done.stderr.startswith("error: failed to connect to the hypervisor")
    done = bob.run("libvirt-vepa reconcile", check=False)
    said = "error: what guests left behind is root's to put back; run the command as root\n"
    assert (done.rc, done.stderr) == (1, said)
    assert machine.failed() == []


# The last is what an upgrade of libvirt does to its daemon.
ENDS = (
    "systemctl restart libvirtd",
    "kill -KILL $(pidof libvirtd)",
    "dpkg-reconfigure -f noninteractive libvirt-daemon-system",
)


@pytest.mark.parametrize("command", ENDS)
def test_guests_survive_the_end_of_the_daemon(machine: Host, command: str) -> None:
    machine.run(command)
    machine.until("virsh list >/dev/null")
    assert machine.guests() == ["lab1", "lab2"]
    assert machine.states() == ["ok", "ok"]


def test_a_guest_is_saved_and_goes_on(machine: Host, switch: Switch) -> None:
    machine.run("virsh managedsave lab1")
    assert machine.says(f"ip link show {BOTH[0].device}") == f'Device "{BOTH[0].device}" does not exist.\n'
    machine.run("virsh start lab1")
    assert machine.states() == ["ok", "ok"]
    assert reaches(machine, switch.ADDRESS)


def test_what_guests_had_is_put_back(machine: Host) -> None:
    for guest in BOTH:
        machine.run(f"virsh destroy {guest.name} && virsh undefine {guest.name}")
    assert machine.says("find /run/libvirt/vepa -name '*.json'") == ""
    assert machine.devices() == [] and machine.states() == []
