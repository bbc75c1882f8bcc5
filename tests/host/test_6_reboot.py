# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that start with the machine, on a NIC that is down, and on one that comes late."""

from __future__ import annotations

from tests.host.hosts import Host
from tests.lab.documents import definition
from tests.lab.guest import Guest

DOWN, LATE = Guest(5), Guest(6)


def test_guests_start_with_the_machine(machine: Host) -> None:
    DOWN.ask("vepa")
    LATE.ask("vepa")
    LATE.interfaces = LATE.interfaces.replace("<name>lan</name>", "<name>late</name>")
    machine.write("late.xml", definition("late", "eth1"))
    machine.run("virsh iface-define late.xml")
    for guest in (DOWN, LATE):
        machine.write(f"{guest.name}.xml", guest.xml)
        machine.run(f"virsh define {guest.name}.xml && virsh autostart {guest.name}")
    machine.reboot(settled=False)
    machine.until(f"pgrep -f 'libvirt-vepa-hook.* {LATE.name} prepare' >/dev/null")
    machine.machine.plug()
    for guest in (DOWN, LATE):
        machine.until(f"virsh domstate {guest.name} | grep -q running")
    assert machine.says("systemctl is-system-running --wait") == "running\n"
    assert machine.states() == ["ok", "ok"]


def test_what_they_had_is_put_back(machine: Host) -> None:
    for guest in (DOWN, LATE):
        machine.run(f"virsh autostart --disable {guest.name} && virsh destroy {guest.name}")
    assert machine.devices() == []
    machine.machine.unplug()
    machine.run(f"virsh undefine {LATE.name} && virsh iface-undefine late")
