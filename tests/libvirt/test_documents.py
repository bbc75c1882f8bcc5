# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libvirt and the tools around it do to a stored document, and what comes of it."""

from __future__ import annotations

import re
from pathlib import Path

from lxml import etree

from tests.lab.daemon import virsh
from tests.lab.guest import Guest, define, stored
from tests.lab.shell import link, run
from tests.libvirt.conftest import Make


def proposed(xml: str) -> str:
    return run("libvirt-vepa", "translate", "--to", "proposed", stdin=xml).stdout


def stored_text(xml: str) -> str:
    return run("libvirt-vepa", "translate", stdin=xml).stdout


def interface(xml: str) -> bytes:
    """Return the first interface in canonical XML, blanks and what libvirt assigned left out."""
    element = etree.fromstring(xml.encode(), etree.XMLParser(remove_blank_text=True)).find("devices/interface")
    for address in element.findall("address"):
        element.remove(address)
    element.tail = None
    found: bytes = etree.tostring(element, method="c14n")
    return found


def test_the_stored_form_is_valid_to_libvirt(guest: Guest) -> None:
    virsh("define", "/dev/stdin", "--validate", stdin=stored(guest))


def test_what_was_asked_comes_back(guest: Guest) -> None:
    asked = interface(guest.xml)
    assert interface(proposed(virsh("dumpxml", guest.name).stdout)) == asked
    guest.start()
    assert interface(proposed(virsh("dumpxml", "--inactive", guest.name).stdout)) == asked
    assert b"<name>lan</name><type>macvtap</type>" in interface(proposed(virsh("dumpxml", guest.name).stdout))


def test_a_snapshot_is_translated_as_well_and_starts(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.ask("vepa")
    guest.add_disk()
    define(guest)
    virsh("snapshot-create-as", guest.name, "first")
    try:
        kept = virsh("snapshot-dumpxml", guest.name, "first").stdout
        assert kept.startswith("<domainsnapshot>") and "type='physical'" not in kept
        asked = proposed(kept)
        assert asked.count("<interface type='physical'>") == kept.count("<physical:interface ") > 0
        assert stored_text(asked).count("managed='no'/>") == kept.count("managed='no'/>")
        virsh("snapshot-revert", guest.name, "first", "--running")
        assert link(guest.device)
    finally:
        virsh("destroy", guest.name, check=False)
        virsh("snapshot-delete", guest.name, "first")


def test_a_clone_is_refused_until_it_is_translated(guest: Guest, guest_of: Make) -> None:
    clone = guest_of(2)
    run("virt-clone", "--original", guest.name, "--name", clone.name, "--mac", clone.mac, "--auto-clone")
    try:
        done = virsh("start", clone.name, check=False)
        assert "has lost <target dev='…' managed='no'/>" in done.stderr
        assert "libvirt-vepa translate | virsh define /dev/stdin" in done.stderr
        again = stored_text(virsh("dumpxml", "--inactive", clone.name).stdout)
        virsh("define", "/dev/stdin", stdin=again)
        virsh("start", clone.name)
        assert link(clone.device)
        assert "<alias" not in proposed(again) and "vp" not in re.sub("vepa|qemu-system", "", proposed(again))
    finally:
        virsh("destroy", clone.name, check=False)


def test_virt_xml_changes_the_mac_and_the_request_stays(guest: Guest) -> None:
    run("virt-xml", guest.name, "--edit", "--network", "mac=52:54:00:00:00:77")
    guest.start()
    found = link(guest.device)
    assert found and found["address"] == "52:54:00:00:00:77"


def test_a_detached_interface_takes_its_request_along(guest: Guest) -> None:
    xml = virsh("dumpxml", guest.name).stdout
    element = etree.fromstring(xml.encode()).find("devices/interface")
    Path("/run/detach.xml").write_bytes(etree.tostring(element))
    virsh("detach-device", guest.name, "/run/detach.xml", "--config")
    left = virsh("dumpxml", guest.name).stdout
    assert "physical:interface " in left
    virsh("start", guest.name)
    assert link(guest.device) is None
    assert "physical" not in stored_text(left)


def test_define_as_stored_twice_changes_nothing(guest: Guest) -> None:
    before = virsh("dumpxml", guest.name).stdout
    define(guest)
    assert virsh("dumpxml", guest.name).stdout == before
