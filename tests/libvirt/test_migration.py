# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Live migration between two hosts, through the connection at both ends or at one, led by the client or by libvirtd."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from lxml import etree

from tests.lab.daemon import virsh
from tests.lab.guest import Guest
from tests.lab.network import HOST_ADDRESS, Nic
from tests.lab.shell import link
from tests.libvirt.conftest import nothing_left
from tests.support import second_host as second
from tests.support.second_host import Second
from tests.support.via_proxy import URI, squeezed, through

PLAIN = "qemu:///system"
# Where the client asks, and where the guest is to go.
ENDS = {
    "both": (URI, second.CONNECTION),
    "source": (URI, second.PLAIN),
    "destination": (PLAIN, second.CONNECTION),
}
WAYS = {"client": (), "peer to peer": ("--p2p",), "tunnelled": ("--p2p", "--tunnelled")}
each_end = pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
each_source = pytest.mark.parametrize("ends", [ENDS["both"], ENDS["source"]], ids=["both", "source"])
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
each_lead = pytest.mark.parametrize("way", [WAYS["client"], WAYS["peer to peer"]], ids=["client", "peer to peer"])
FILES = Path("/run/live.xml"), Path("/run/persistent.xml")
LIVE = libvirt.VIR_MIGRATE_LIVE
P2P = LIVE | libvirt.VIR_MIGRATE_PEER2PEER


def request(mode: str) -> str:
    return f"<name>lan</name><type>macvtap</type><target mode='{mode}'/>"


@pytest.fixture(scope="module")
def host(libvirtd: object) -> Iterator[Second]:
    with second.second() as found:
        yield found


@pytest.fixture
def there(host: Second, wire: Nic) -> Iterator[Second]:
    """The second host, its NIC on the switch that the first one's is on too."""
    with host.nic(wire):
        yield host
        for name in virsh("-c", second.PLAIN, "list", "--all", "--name").stdout.split():
            virsh("-c", second.PLAIN, "destroy", name, check=False)
            virsh("-c", second.PLAIN, "undefine", name, check=False)


@pytest.fixture
def guest(asked: Guest, there: Second) -> Guest:
    """A guest that runs here, defined as its user would."""
    asked.start()
    return asked


def migrate(ends: tuple[str, str], *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    source, destination = ends
    return virsh("-c", source, "migrate", *options, "lab1", destination, check=check)


def interface(uri: str, *options: str) -> str:
    """Return what virsh shows of the guest's interface."""
    document = etree.fromstring(virsh("-c", uri, "dumpxml", "lab1", *options).stdout.encode())
    return squeezed(etree.tostring(document.find("devices/interface"), with_tail=False).decode()).replace('"', "'")


def found_there(there: Second, device: str) -> dict[str, Any]:
    """Return what the second host's kernel tells of a device."""
    return link(device, *there.through) or {}


def journals(there: Second) -> list[str]:
    return [path.stem for path in (second.FOLDER / "run/libvirt/vepa/guests").glob("*.json")]


def arrived(guest: Guest, there: Second, mode: str = "vepa") -> None:
    """See that all of a guest is there, and nothing of it here."""
    assert virsh("-c", second.PLAIN, "domstate", guest.name).stdout.strip() == "running"
    device = found_there(there, guest.device)
    assert (device["link"], device["linkinfo"]["info_data"]["mode"]) == (second.NIC, mode)
    assert journals(there) == [guest.uuid]
    status = there.run("libvirt-vepa", "status").stdout
    assert re.search(rf"lab1 +lan +{second.NIC} +- +- +\w+ +{guest.device} +ok", status)
    assert nothing_left(guest)


def stayed(guest: Guest, there: Second) -> None:
    """See that all of a guest is here still, and nothing of it there."""
    assert virsh("domstate", guest.name).stdout.strip() == "running"
    assert link(guest.device) and not found_there(there, guest.device)
    assert journals(there) == []


def changed(*modes: str) -> None:
    """Write what the user sees of the guest to FILES, with other modes."""
    document = through("dumpxml", "lab1", "--migratable").stdout
    assert request("vepa") in squeezed(document)
    for file, mode in zip(FILES, modes, strict=False):
        file.write_text(document.replace("mode='vepa'", f"mode='{mode}'"), encoding="utf-8")


@each_way
@each_end
def test_a_guest_moves(guest: Guest, there: Second, ends: tuple[str, str], way: tuple[str, ...]) -> None:
    before = interface(URI, "--inactive")
    migrate(ends, "--live", "--persistent", "--undefinesource", *way)
    arrived(guest, there)
    assert interface(second.CONNECTION, "--inactive") == before
    assert request("vepa") in interface(second.CONNECTION)
    assert virsh("list", "--all", "--name").stdout.split() == []


@each_way
def test_xml_of_the_users_own(guest: Guest, there: Second, way: tuple[str, ...]) -> None:
    changed("bridge")
    migrate(ENDS["both"], "--live", "--xml", str(FILES[0]), *way)
    arrived(guest, there, "bridge")
    assert request("bridge") in interface(second.CONNECTION)
    # It was not told to forget the guest.
    assert request("vepa") in interface(URI)


@each_lead
@each_source
def test_xml_for_now_and_for_later(guest: Guest, there: Second, ends: tuple[str, str], way: tuple[str, ...]) -> None:
    changed("bridge", "pepa")
    migrate(ends, "--live", "--persistent", "--xml", str(FILES[0]), "--persistent-xml", str(FILES[1]), *way)
    arrived(guest, there, "bridge")
    assert request("bridge") in interface(second.CONNECTION)
    assert request("pepa") in interface(second.CONNECTION, "--inactive")


@each_lead
@each_end
def test_offline(guest: Guest, there: Second, ends: tuple[str, str], way: tuple[str, ...]) -> None:
    guest.destroy()
    before = interface(URI)
    migrate(ends, "--offline", "--persistent", *way)
    assert interface(second.CONNECTION) == before
    assert virsh("-c", second.CONNECTION, "start", guest.name)
    arrived(guest, there)


@each_source
def test_offline_with_xml(guest: Guest, there: Second, ends: tuple[str, str]) -> None:
    guest.destroy()
    changed("pepa")
    migrate(ends, "--offline", "--persistent", "--xml", str(FILES[0]))
    assert request("pepa") in interface(second.CONNECTION)


def test_the_network_goes_along(booting: Guest, there: Second) -> None:
    booting.start()
    booting.wait()
    booting.hang_up()
    migrate(ENDS["both"], "--live")
    moved = second.Arrived(booting.number)
    try:
        assert moved.reaches(HOST_ADDRESS)
    finally:
        moved.hang_up()


@each_way
def test_what_cannot_be_meant_is_refused(guest: Guest, there: Second, way: tuple[str, ...]) -> None:
    changed("all")
    done = migrate(ENDS["both"], "--live", "--xml", str(FILES[0]), *way, check=False)
    assert done.returncode == 1
    assert re.search(r"XML error: the document, line \d+: guest 'lab1': unknown mode 'all'; use vepa", done.stderr)
    stayed(guest, there)


@each_way
def test_a_host_that_cannot_have_the_guest_says_why(guest: Guest, there: Second, way: tuple[str, ...]) -> None:
    there.run("libvirt-vepa", "iface-undefine", "lan")
    done = migrate(ENDS["both"], "--live", *way, check=False)
    assert done.returncode == 1
    assert "libvirt-vepa: guest 'lab1': no physical interface 'lan' is defined on this host" in done.stderr
    stayed(guest, there)


def test_a_source_past_the_connection_takes_the_stored_form_only(guest: Guest, there: Second) -> None:
    changed("bridge")
    done = migrate(ENDS["destination"], "--live", "--xml", str(FILES[0]), check=False)
    assert done.returncode == 1 and "'physical'" in done.stderr
    stayed(guest, there)


# -- libvirt-python: as virsh does it, and by the older calls, which have no parameters


def in_python(destination: str, call: Callable[[libvirt.virDomain, libvirt.virConnect, str], object]) -> None:
    changed("bridge")
    with libvirt.open(URI) as source, libvirt.open(destination) as target:
        call(source.lookupByName("lab1"), target, FILES[0].read_text(encoding="utf-8"))


CALLS: dict[str, Callable[[libvirt.virDomain, libvirt.virConnect, str], object]] = {
    "migrate2": lambda guest, target, xml: guest.migrate2(target, xml, LIVE, None, None, 0),
    "migrate3": lambda guest, target, xml: guest.migrate3(target, {"destination_xml": xml}, LIVE),
    "migrateToURI2": lambda guest, target, xml: guest.migrateToURI2(target.getURI(), None, xml, P2P, None, 0),
    "migrateToURI3": lambda guest, target, xml: guest.migrateToURI3(target.getURI(), {"destination_xml": xml}, P2P),
}


@pytest.mark.parametrize("destination", [second.CONNECTION, second.PLAIN], ids=["both", "source"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_python(guest: Guest, there: Second, call: Any, destination: str) -> None:
    in_python(destination, call)
    arrived(guest, there, "bridge")
    assert request("bridge") in interface(second.CONNECTION)
