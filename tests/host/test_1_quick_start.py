# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""From a stock Debian to a running guest: the package, and the README's words, as root and as an ordinary user."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.host.hosts import Host
from tests.lab import readme

INSTALL = re.compile(r"^apt-get install \./(\S+\.deb)$", re.MULTILINE)
SOCKETS = ("libvirt-vepad.socket", "libvirt-vepa-connect.socket")
QUICK_START = "Quick start"
FOLDER = "/home/alice/.config/libvirt"
HERS = f"""\
{FOLDER}/libvirt.conf is new
{FOLDER}/libvirt.conf now has the default URI qemu+ext:///system?command={FOLDER}/libvirt-vepa-connect
{FOLDER}/libvirt-vepa-connect runs /usr/bin/libvirt-vepa-connect, or plain libvirt where that is gone"""


def test_the_machine_is_a_stock_debian_with_apparmor_enforcing(machine: Host) -> None:
    assert machine.says("systemctl is-system-running") == "running\n"
    assert "libvirtd (enforce)" in machine.run("cat /sys/kernel/security/apparmor/profiles").stdout
    assert machine.faults() == []


def test_the_package_is_installed_by_the_readmes_words(machine: Host, package: Path) -> None:
    found = INSTALL.search(readme.text(QUICK_START))
    assert found
    machine.run(f"mkdir -p {Path(found[1]).parent}")
    machine.copy(package, found[1])
    machine.run(f"DEBIAN_FRONTEND=noninteractive {found[0]} -y")
    assert machine.look.package("libvirt-vepa").is_installed
    assert machine.says("systemctl is-system-running") == "running\n"


@pytest.mark.parametrize("socket", SOCKETS)
def test_the_sockets_are_there_at_once(machine: Host, socket: str) -> None:
    assert machine.look.service(socket).is_enabled and machine.look.service(socket).is_running


def check_shown(command: str, expected: str, found: str) -> None:
    """Compare what a command printed with what the README shows; other NICs of the host make its columns wider."""
    expected, found = (re.sub(" +", " ", text) for text in (expected, found))
    assert readme.is_shown(expected, found), f"{readme.PROMPT}{command}\n{found}"


def test_the_quick_start_is_what_root_sees(machine: Host) -> None:
    """The sessions of the manual pages are typed in the lab, where a command takes less (tests/libvirt)."""
    for command, output in readme.session(QUICK_START):
        check_shown(command, output, machine.says(command))


def test_the_quick_start_is_what_a_user_of_group_libvirt_sees(machine: Host) -> None:
    alice = machine.user("alice")
    # As root found it.
    machine.run("virsh undefine web && ip link set eth0 down")
    for command, output in readme.session(QUICK_START):
        # Defining a NIC takes root's rights, and so does seeing what guests have.
        user = machine if re.search("iface-define| plan | status", command) else alice
        expected = output
        if command == "libvirt-vepa enable":
            # She has no file yet that could be kept, and hers goes on as plain libvirt where libvirt-vepa is gone.
            expected = HERS
        check_shown(command, expected, user.says(command))
    alice.run("virsh undefine web")
