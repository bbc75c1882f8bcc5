# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package's later life: an upgrade while a guest runs, a removal, a purge."""

from __future__ import annotations

from pathlib import Path

from tests.host.hosts import Host
from tests.lab import readme
from tests.lab.guest import Guest

OURS = Guest(5)
# It has nothing to do with us but a word.
OTHER = Guest(7)
TITLE = "<title>copy of a physical server</title>"


def test_a_guest_and_its_undo_survive_an_upgrade(machine: Host, package: Path, older_package: Path) -> None:
    machine.install(older_package, "--allow-downgrades")
    machine.run(f"virsh start {OURS.name}")
    machine.install(package)
    assert machine.guests() == [OURS.name]
    assert machine.states() == ["ok"]
    machine.run(f"virsh destroy {OURS.name}")
    assert machine.devices() == []


def test_a_removal_leaves_virsh_and_guests_as_they_are(machine: Host) -> None:
    machine.write("other.xml", OTHER.xml.replace("<uuid>", f"{TITLE}<uuid>"))
    machine.run(f"virsh define other.xml && virsh start {OURS.name}")
    machine.apt("remove libvirt-vepa")
    machine.run(f"virsh start {OTHER.name}")
    for name in ("root", "alice"):
        user = machine.user(name)
        assert user.guests("-c qemu:///system") == user.guests() == [OURS.name, OTHER.name]
    machine.run(f"virsh destroy {OTHER.name}")


def test_a_guest_of_ours_is_refused_in_one_line_while_the_package_is_away(machine: Host) -> None:
    machine.run(f"virsh destroy {OURS.name}")
    done = machine.run(f"virsh start {OURS.name}", check=False)
    assert done.rc == 1 and "libvirt-vepa" in done.stderr and "Traceback" not in done.stderr


def test_what_a_guest_left_meanwhile_is_put_back_with_the_package(machine: Host, package: Path) -> None:
    assert machine.devices() == [OURS.device]
    machine.install(package)
    machine.run("libvirt-vepa reconcile")
    assert machine.devices() == []


def test_a_purge_leaves_what_a_person_wrote(machine: Host) -> None:
    machine.apt("purge libvirt-vepa")
    left = machine.run("find /etc /usr /var/lib /run -path /var/lib/apt -prune -o -name '*libvirt-vepa*' -print").stdout
    assert left == ""
    assert machine.run("ls /etc/libvirt/vepa").stdout == "lan.xml\n"
    assert machine.run("systemctl list-unit-files --no-legend 'libvirt-vepa*'", check=False).stdout == ""
    for user in (machine, machine.user("alice")):
        user.run("virsh list")


def test_the_readmes_words_on_uninstalling_name_the_package() -> None:
    assert "apt-get remove libvirt-vepa" in readme.text("Uninstalling")
