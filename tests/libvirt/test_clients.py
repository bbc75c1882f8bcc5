# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""virt-install, virt-clone and virt-xml, with the connection as their URI."""

from __future__ import annotations

import re

import pytest

from tests.lab.daemon import virsh
from tests.lab.guest import TOP, Guest
from tests.lab.shell import link, run
from tests.libvirt.conftest import REQUEST, Make
from tests.support.hotplug_steps import shown
from tests.support.via_proxy import PLAIN, URI, through

# How virt-install and virt-xml are told what they have no words for.
NETWORK = "type=physical,model=virtio,xpath1.set=./name=lan,xpath2.set=./type=macvtap,xpath3.set=./target/@mode=vepa"
INTERFACE = f"<interface type='physical'>{REQUEST}"
BOOT = f"kernel={TOP}/build/guest/vmlinuz,initrd={TOP}/build/guest/initrd,kernel_args=console=ttyS0"
SMALL = ("--virt-type", "qemu", "--memory", "64", "--graphics", "none", "--controller", "usb,model=none")
IMPORT = ("--osinfo", "require=no", "--disk", "none", "--import", "--noautoconsole", "--boot", BOOT)


def install(guest: Guest, network: str, *options: str, uri: str = URI) -> str:
    command = ("virt-install", "--connect", uri, "--name", guest.name, "--uuid", guest.uuid, *SMALL, *IMPORT)
    return run(*command, "--network", network, *options).stdout


def change(guest: Guest, *options: str) -> str:
    return run("virt-xml", "--connect", URI, guest.name, *options).stdout


def test_install_a_foreign_guest(guest_of: Make) -> None:
    guest = guest_of(1)
    install(guest, "none")
    assert through("domstate", guest.name).stdout.strip() == "running"
    assert through("dumpxml", guest.name).stdout == virsh("dumpxml", guest.name).stdout


@pytest.mark.parametrize("network", ["none", "user", "bridge=br0,target.dev=physical0"])
def test_virt_install_of_a_foreign_guest_is_unchanged(guest_of: Make, network: str) -> None:
    guest = guest_of(1)
    network += "" if network == "none" else f",mac={guest.mac}"
    made = [install(guest, network, "--print-xml", uri=uri) for uri in (PLAIN, URI)]
    assert made[0] == made[1]


def test_install_a_guest_with_a_physical_interface(guest_of: Make) -> None:
    guest = guest_of(1)
    install(guest, f"{NETWORK},mac={guest.mac}")
    found = link(guest.device)
    assert found and found["linkinfo"]["info_data"]["mode"] == "vepa"
    assert INTERFACE in shown(guest) and INTERFACE in shown(guest, "--inactive")


def test_print_and_define(guest_of: Make) -> None:
    guest = guest_of(1)
    printed = install(guest, NETWORK, "--print-xml")
    through("define", "/dev/stdin", stdin=printed)
    assert INTERFACE in shown(guest)


def test_what_install_asks_wrongly_is_refused_with_the_line(guest_of: Make) -> None:
    guest = guest_of(1)
    command = ("virt-install", "--connect", URI, "--name", guest.name, *SMALL, *IMPORT)
    done = run(*command, "--network", f"{NETWORK}x", check=False)
    assert done.returncode == 1
    assert re.search(r"XML error: the document, line \d+: guest 'lab1': unknown mode 'vepax'; use vepa", done.stderr)
    assert guest.name not in virsh("list", "--all", "--name").stdout


def test_a_clone_has_a_device_of_its_own(guest_of: Make, asked: Guest) -> None:
    clone = guest_of(2)
    run("virt-clone", "--connect", URI, "--original", asked.name, "--name", clone.name, "--auto-clone")
    assert INTERFACE in shown(clone)
    mac = re.findall("<mac address='(.*?)'", shown(clone))[0]
    assert mac != asked.mac
    # The serial port is a socket of the first guest's, and both shall run.
    through("define", "/dev/stdin", stdin=shown(clone).replace(f"/{asked.name}.", f"/{clone.name}."))
    for guest in (asked, clone):
        virsh("start", guest.name)
    assert link(asked.device) and link(f"vp{mac.replace(':', '')}")


def test_a_clone_with_a_mac_of_ones_choice(guest_of: Make, asked: Guest) -> None:
    clone = guest_of(2)
    command = ("virt-clone", "--connect", URI, "--original", asked.name, "--name", clone.name, "--auto-clone")
    run(*command, "--mac", clone.mac)
    virsh("start", clone.name)
    assert link(clone.device) and not link(asked.device)


@pytest.mark.parametrize(
    "options",
    [
        ("--edit", "--memory", "72"),
        ("--edit", "--metadata", "title=mine"),
        ("--edit", "--metadata", "description=physical"),
        ("--add-device", "--rng", "/dev/urandom"),
        ("--remove-device", "--serial", "1"),
        ("--add-device", "--network", "user"),
    ],
    ids=" ".join,
)
def test_a_change_of_something_else_keeps_the_interface(asked: Guest, options: tuple[str, ...]) -> None:
    before = shown(asked)
    change(asked, *options)
    after = shown(asked)
    assert after != before
    assert _interface(after) == _interface(before)


def _interface(xml: str) -> str:
    return xml[xml.index("<interface type='physical'") : xml.index("</interface>")]


def test_a_change_of_the_interface(asked: Guest) -> None:
    change(asked, "--edit", "--network", "mac=52:54:00:00:00:77,model=e1000")
    assert f"{INTERFACE}<mac address='52:54:00:00:00:77'/><model type='e1000'/>" in shown(asked)
    virsh("start", asked.name)
    assert link("vp525400000077") and not link(asked.device)


def test_another_mode(asked: Guest) -> None:
    change(asked, "--edit", "--network", "xpath1.set=./target/@mode=bridge")
    virsh("start", asked.name)
    found = link(asked.device)
    assert found and found["linkinfo"]["info_data"]["mode"] == "bridge"


def test_a_foreign_interface_becomes_a_physical_one(guest_of: Make) -> None:
    guest = guest_of(1)
    through("define", "/dev/stdin", stdin=install(guest, f"user,mac={guest.mac}", "--print-xml"))
    change(guest, "--edit", "--network", NETWORK)
    virsh("start", guest.name)
    assert link(guest.device)


def test_another_interface_is_added_and_taken_away(asked: Guest) -> None:
    change(asked, "--add-device", "--network", f"{NETWORK},mac=52:54:00:00:00:77")
    virsh("start", asked.name)
    assert link(asked.device) and link("vp525400000077")
    change(asked, "--remove-device", "--network", "mac=52:54:00:00:00:77")
    xml = shown(asked, "--inactive")
    assert xml.count("<interface") == 1 and INTERFACE in xml
    assert shown(asked).count(INTERFACE) == 2


def test_what_is_changed_while_the_guest_runs(asked: Guest) -> None:
    virsh("start", asked.name)
    change(asked, "--update", "--edit", "--network", "link.state=down")
    for options in ((), ("--inactive",)):
        assert "<link state='down'/>" in _interface(shown(asked, *options))
    change(asked, "--update", "--add-device", "--rng", "/dev/urandom")
    assert "<rng" in shown(asked)
    assert link(asked.device)


def test_print_diff_says_only_what_changes(asked: Guest) -> None:
    diff = change(asked, "--print-diff", "--edit", "--network", "model=e1000")
    lines = [line for line in diff.splitlines() if re.match(r"[+-][^+-]", line)]
    assert [line.split() for line in lines] == [["-", "<model", 'type="virtio"/>'], ["+", "<model", 'type="e1000"/>']]
