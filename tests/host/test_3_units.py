# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units on a booted host: how much they may, that what they are for works, and what they leave in the journal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.host.hosts import Host, User
from tests.lab.documents import definition

SOCKET_URI = "'qemu:///system?socket=/run/libvirt/libvirt-vepa-sock'"
SERVICES = ("libvirt-vepad.service", "libvirt-vepa-connect.service")
# Where a line of the journal has the unit that it is from, or about.
UNITS, OURS = ("_SYSTEMD_UNIT", "UNIT"), {"libvirt-vepa"}
# What systemd-analyze calls "OK" ends at 5.
EXPOSURE = 4.0
MORE = """\
<interface type='physical'>
  <name>lan</name><target mode='bridge'/><mac address='52:54:00:e1:00:02'/>
</interface>
"""
GUEST = """\
<domain type='qemu'>
  <name>units</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <interface type='physical'><name>lan</name><mac address='52:54:00:e1:00:01'/></interface>
  </devices>
</domain>
"""


@pytest.fixture(scope="module")
def host(machine: Host) -> Iterator[Host]:
    machine.run("systemctl start libvirt-vepa-connect.socket")
    if machine.run("libvirt-vepa iface-dumpxml lan", check=False).rc:
        machine.define("lan", "eth0")
    yield machine
    assert machine.failed() == []


def log_of(host: Host, action: str, user: User, expected: str = "") -> list[str]:
    """Return what the journal has of the units of libvirt-vepa from what somebody does.

    The journal may be later than the client, so what is expected is waited for.
    """
    cursor = host.run("journalctl -n 0 --show-cursor").stdout.split("-- cursor: ")[1].strip()
    user.run(action, check=False)
    # With -u, Debian 12's leaves out the first line after a cursor of another unit's.
    journal = f"journalctl -q --after-cursor='{cursor}'"
    host.until(f"journalctl --sync; {journal} -o cat | grep -q '{expected}'" if expected else "journalctl --sync")
    entries = [json.loads(line) for line in host.run(f"{journal} -o json").stdout.splitlines()]
    return [str(entry["MESSAGE"]) for entry in entries if OURS & {entry.get(key, "")[:12] for key in UNITS}]


@pytest.mark.parametrize("service", SERVICES)
def test_what_they_may_is_little(host: Host, service: str) -> None:
    said = host.run(f"systemd-analyze --no-pager security {service}").stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found and float(found[1]) < EXPOSURE


@pytest.mark.parametrize("service", SERVICES)
def test_they_have_limits(host: Host, service: str) -> None:
    said = host.run(f"systemctl show -p MemoryMax -p TasksMax {service}").stdout
    assert set(said.split()) == {f"MemoryMax={2 << 30}", "TasksMax=1024"}


def test_the_helper_comes_with_the_socket_of_the_connection(host: Host) -> None:
    assert host.look.service("libvirt-vepad.socket").is_running


@pytest.mark.parametrize("name", ["root", "alice"])
def test_a_guest_is_started_and_given_more_through_them(host: Host, name: str) -> None:
    user = host.user(name)
    user.write("units.xml", GUEST)
    user.write("more.xml", MORE)
    virsh = f"virsh -q -c {SOCKET_URI}"
    try:
        user.run(f"{virsh} create units.xml")
        assert log_of(host, f"{virsh} attach-device units more.xml --live", user) == []
        assert host.run("libvirt-vepa status").stdout.count(" units ") == 2
        # The guest's firmware lets go of nothing: what was detached goes with the guest.
        user.run(f"{virsh} detach-device units more.xml --live")
    finally:
        user.run(f"{virsh} destroy units", check=False)
    assert " units " not in host.run("libvirt-vepa status").stdout
    assert not host.look.file("/sys/class/net/vp525400e10002").exists


def test_root_defines_and_undefines_through_them(host: Host) -> None:
    host.write("units-lan.xml", definition("units", "eth0"))
    host.run(f"virsh -c {SOCKET_URI} iface-define units-lan.xml")
    assert "units" in host.run("libvirt-vepa iface-list").stdout
    host.run(f"virsh -c {SOCKET_URI} iface-undefine units")
    assert "units" not in host.run("libvirt-vepa iface-list").stdout


def test_who_is_refused_is_one_line_in_the_journal(host: Host) -> None:
    said = "libvirt-vepa-connect: the daemon refuses this user; "
    (line,) = log_of(host, f"virsh -c {SOCKET_URI} list", host.user("bob"), said)
    assert line.startswith(said)


def test_a_users_own_daemon_is_used_and_not_started(host: Host) -> None:
    alice = host.user("alice")
    session = f"virsh -q -c {SOCKET_URI.replace('system', 'session', 1)}"
    assert "no daemon of your own runs" in alice.run(f"{session} list", check=False).stderr
    alice.run("virsh -q -c qemu:///session uri")
    alice.run(f"{session} list")
    # What runs in the service is the one that listens: the daemon is the user's own, and stays.
    host.until('test "$(cat /sys/fs/cgroup/system.slice/libvirt-vepa-connect.service/cgroup.procs | wc -l)" = 1')


@pytest.mark.parametrize("service", SERVICES)
def test_one_process_of_each_listens_for_all(host: Host, service: str) -> None:
    for user in (host, host.user("alice")):
        user.run(f"virsh -q -c {SOCKET_URI} list")
    socket = "libvirt-vepa-sock" if "connect" in service else "libvirt-vepad-sock"
    ask = f"python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect('/run/libvirt/{socket}')\""
    host.run(ask)
    first = host.run(f"systemctl show -p MainPID --value {service}").stdout
    host.run(ask)
    assert host.run(f"systemctl show -p MainPID --value {service}").stdout == first != "0\n"


def test_a_restart_leaves_who_is_connected_and_no_old_code(host: Host) -> None:
    """It is what an upgrade does."""
    service = "libvirt-vepa-connect.service"
    processes = f"/sys/fs/cgroup/system.slice/{service}/cgroup.procs"
    host.run(f"systemd-run -q --collect --unit=held virsh -q -c {SOCKET_URI} event --event lifecycle --loop")
    try:
        host.until(f"test $(wc -l <{processes}) = 2")
        before = set(host.run(f"cat {processes}").stdout.split())
        main = set(host.run(f"systemctl show -p MainPID --value {service}").stdout.split())
        host.run(f"systemctl try-restart {service}")
        assert before & set(host.run(f"cat {processes}").stdout.split()) == before - main
        host.run(f"virsh -q -c {SOCKET_URI} uri")
    finally:
        host.run("systemctl stop held.service")
