# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""End to end: a real libvirtd starts a real guest on a VF, and what its boot ROM asks for is seen on the wire.

While it runs it is given another VF, which is taken away again. In this machine every start of Python takes seconds,
so there is one guest for all.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.daemon import daemon, virsh
from tests.lab.frames import address, inside
from tests.lab.guest import Guest
from tests.lab.hook import STATE, command, state_files
from tests.lab.network import Nic
from tests.lab.shell import BOUND_SECONDS, link, run
from tests.sriov.conftest import vf_netdev, with_vfs
from tests.support.guest_cycle import known
from tests.support.host_log import heard
from tests.support.hotplug_steps import change, shown, stored, unchanged
from tests.support.via_proxy import gone as ended
from tests.support.via_proxy import hands, through

DEFINITION = b"<interface type='physical' name='lan'><source dev='card0'/><type>sr-iov</type></interface>"
# Each guest's is this and its number.
VLAN = 40
DOMAIN = """\
<domain type='qemu'>
  <name>{guest.name}</name>
  <uuid>{guest.uuid}</uuid>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    {guest.interfaces}
    <memballoon model='none'/>
  </devices>
</domain>
"""
# linux/if_packet.h; struct tpacket_auxdata, whose last two are the VLAN's tag and the tag's kind.
SOL_PACKET, PACKET_AUXDATA, STATUS_VLAN_VALID = 263, 8, 16
AUXDATA = struct.Struct("=IIIHHHH")
ETH_P_ALL, ETH_P_8021Q, ETH_P_IP = 3, 0x8100, 0x0800
UDP, BOOTPS = 17, 67

# The embedded switch, the VFs, the filters.
State = tuple[str, list[dict[str, Any]], str]


@pytest.fixture(scope="module")
def card() -> Iterator[Nic]:
    """The first card, up, with two VFs."""
    with with_vfs("card0", 2) as found:
        yield found


@pytest.fixture(scope="module")
def wire(card: Nic) -> Iterator[socket.socket]:
    """What arrives at the switch outside; a tag is told beside the frame, where the kernel has put it."""
    with inside(card.namespace):
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with packets:
        packets.bind(("port", ETH_P_ALL))
        packets.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        yield packets


@pytest.fixture(scope="module")
def before(card: Nic) -> State:
    """What the card was before there was a guest."""
    return state(card)


@pytest.fixture(scope="module")
def guest(before: State, wire: socket.socket) -> Iterator[Guest]:
    """A guest that has started on the first VF, and listens to its boot ROM only."""
    run("make", "install")
    defined = command("iface-define", "-", stdin=DEFINITION)
    assert defined.returncode == 0, defined.stderr
    with daemon():
        found = asking(1, "pepa")
        through("define", "/dev/stdin", stdin=DOMAIN.format(guest=found))
        virsh("start", found.name)
        yield found


def asking(number: int, mode: str = "vepa") -> Guest:
    """Return a guest that asks for a VF in a VLAN of its own; of the others it is only the interface that is used."""
    found = Guest(number)
    found.ask(mode, extra=f"<vlan><tag id='{VLAN + number}'/></vlan><boot order='{number}'/>")
    return found


def test_a_guest_on_a_vf(card: Nic, wire: socket.socket, guest: Guest) -> None:
    assert_on_a_vf(card, 0, guest)
    (interface,) = re.findall("(?s)<interface.*?</interface>", virsh("dumpxml", guest.name).stdout)
    assert "<interface type='ethernet'>" in interface and f"<target dev='{guest.device}' managed='no'/>" in interface
    assert_given_to_qemu(guest)
    assert dhcp_request(wire, guest.mac) == (ETH_P_8021Q, VLAN + 1)


def test_one_more_vf_while_it_runs(card: Nic, guest: Guest) -> None:
    one, xml, files, more, third = state(card), stored(guest), kept(), asking(2), asking(3)
    run("ip", "link", "set", card.device, "vf", "0", "spoofchk", "off")
    with heard() as said_to_log:
        change("attach-device", guest, "--live", text=more.interfaces)
    remark = f"guest '{guest.name}': the spoof check of NIC card0 is off at VF 0: guest '{guest.name}': it can pass for"
    assert [line for line in said_to_log if f"libvirt-vepad: {remark}" in line]
    run("ip", "link", "set", card.device, "vf", "0", "spoofchk", "on")
    assert_on_a_vf(card, 0, guest)
    assert_on_a_vf(card, 1, more)
    request = f"<target mode='vepa'/><vlan><tag id='{VLAN + 2}'/></vlan><mac address='{more.mac}'/>"
    assert f"<name>lan</name><type>macvtap</type>{request}" in shown(guest)
    two, both = state(card), kept()
    said = unchanged(guest, "attach-device", "--live", text=third.interfaces)
    assert f"no VF of NIC card0 is free: VF 0: guest '{guest.name}', VF 1: guest '{guest.name}'; stop one" in said
    assert (state(card), kept()) == (two, both)
    change("detach-device", guest, "--live", text=more.interfaces)
    # Its firmware answers no such wish, and until then the VF is the guest's.
    assert_on_a_vf(card, 1, more)
    (hand,) = hands()
    virsh("reset", guest.name)
    ended(hand)
    assert link(more.device) is None
    assert_on_a_vf(card, 0, guest)
    is_put_back(card, 1, more, one)
    assert (stored(guest), kept()) == (xml, files)


def test_a_vf_that_libvirt_itself_gives_away(card: Nic, guest: Guest) -> None:
    """The guest in pepa must not hear that one either; libvirt calls the hook for it once it has its MAC."""
    other, netdev, before = Guest(4), vf_netdev(card.device, 1), known(card.device)
    other.interfaces = (
        f"<interface type='direct'><mac address='{other.mac}'/><source dev='{netdev}' mode='passthrough'/></interface>"
    )
    virsh("create", "--paused", "/dev/stdin", stdin=DOMAIN.format(guest=other))
    assert known(card.device) >= {guest.mac, other.mac}
    virsh("destroy", other.name)
    assert guest.mac in known(card.device) and other.mac not in known(card.device) | before


def test_its_end(card: Nic, guest: Guest, before: State) -> None:
    virsh("destroy", guest.name)
    assert link(guest.device) is None
    is_put_back(card, 0, guest, before)
    assert kept() == {}
    virsh("undefine", guest.name)


def state(card: Nic) -> State:
    """Return what the kernel tells of the embedded switch, of the card's VFs, and of what is filtered."""
    switch = json.loads(run("bridge", "-j", "-d", "link", "show", "dev", card.device).stdout)[0]["hwmode"]
    return switch, (link(card.device) or {})["vfinfo_list"], run("nft", "list", "ruleset").stdout


def kept() -> dict[str, Any]:
    """Return what is in the files that libvirt-vepa keeps, but for when that was written."""
    found = {name: json.loads((STATE / name).read_text(encoding="utf-8") or "null") for name in state_files()}
    return {name: {**content, "written": 0} if content else content for name, content in found.items()}


def is_put_back(card: Nic, number: int, guest: Guest, before: State) -> None:
    """All is as before, but for the MACs of VFs: igbvf, bound anew, takes one by chance and tells the card."""
    after = state(card)
    assert guest.mac not in (after[1][number]["address"], address(vf_netdev(card.device, number)))
    assert without_macs(after) == without_macs(before)


def without_macs(found: State) -> State:
    known_macs = r"(?s)\n\t\telements = .*?\}"
    return found[0], [{**vf, "address": ""} for vf in found[1]], re.sub(known_macs, "", found[2])


def assert_on_a_vf(card: Nic, number: int, asked: Guest) -> None:
    """The macvtap is on that VF, which the card has set up, and hears nothing of itself."""
    switch, vfs, rules = state(card)
    macvtap, below = link(asked.device), vf_netdev(card.device, number)
    assert macvtap is not None
    assert (macvtap["link"], macvtap["linkinfo"]["info_data"]["mode"]) == (below, "passthru")
    vlan = vfs[number]["vlan_list"][0]["vlan"]
    assert (switch, vfs[number]["address"], vlan) == ("VEPA", asked.mac, VLAN + asked.number)
    assert re.search(f'device "{below}" .*\n.*ether saddr {asked.mac} ', rules), rules


def assert_given_to_qemu(guest: Guest) -> None:
    """QEMU has the macvtap's character device, by its file descriptor, as a plain tap."""
    pid = Path(f"/run/libvirt/qemu/{guest.name}.pid").read_text(encoding="ascii").strip()
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    netdev = json.loads(words[words.index("-netdev") + 1])
    assert netdev["type"] == "tap"
    macvtap = link(guest.device)
    assert macvtap is not None
    assert Path(f"/proc/{pid}/fd/{netdev['fd']}").readlink() == Path(f"/dev/tap{macvtap['ifindex']}")


def dhcp_request(wire: socket.socket, mac: str) -> tuple[int, int] | None:
    """Wait for a DHCP request of a MAC, and return the kind and the number of its VLAN, None where it has none."""
    deadline = time.monotonic() + BOUND_SECONDS
    while True:
        left = max(0.0, deadline - time.monotonic())
        assert select.select([wire], [], [], left)[0], f"no DHCP request of {mac} in {BOUND_SECONDS} seconds"
        frame, beside, _, _ = wire.recvmsg(2048, 256)
        kind = int.from_bytes(frame[12:14], "big")
        # An IPv4 header without options, and then the ports.
        if (
            frame[6:12].hex(":") != mac
            or kind != ETH_P_IP
            or frame[23] != UDP
            or frame[36:38] != BOOTPS.to_bytes(2, "big")
        ):
            continue
        (auxdata,) = [
            AUXDATA.unpack(data) for level, what, data in beside if (level, what) == (SOL_PACKET, PACKET_AUXDATA)
        ]
        status, *_, tag, tag_kind = auxdata
        return (tag_kind, tag & 0xFFF) if status & STATUS_VLAN_VALID else None
