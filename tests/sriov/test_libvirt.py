"""End to end: a real libvirtd starts a real guest on a VF, and what its boot ROM asks for is seen on the wire.

In this machine every start of Python takes seconds, so there is one guest for all.
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
from tests.lab.hook import command, state_files
from tests.lab.network import Nic
from tests.lab.shell import link, run
from tests.lab.through import through
from tests.sriov.conftest import vf_netdev, with_vfs

DEFINITION = b"<interface type='physical' name='lan'><source dev='card0'/><type>sr-iov</type></interface>"
VLAN = 42
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
ROM_SECONDS = 90


@pytest.fixture
def card() -> Iterator[Nic]:
    """The first card, up, with two VFs."""
    with with_vfs("card0", 2) as found:
        yield found


@pytest.fixture
def wire(card: Nic) -> Iterator[socket.socket]:
    """What arrives at the switch outside; a tag is told beside the frame, where the kernel has put it."""
    with inside(card.namespace):
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with packets:
        packets.bind(("port", ETH_P_ALL))
        packets.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        yield packets


def test_a_guest_on_a_vf(card: Nic, wire: socket.socket) -> None:
    run("make", "install", timeout=120)
    defined = command("iface-define", "-", stdin=DEFINITION)
    assert defined.returncode == 0, defined.stderr
    guest = Guest(1)
    guest.ask("vepa", extra=f"<vlan><tag id='{VLAN}'/></vlan><boot order='1'/>")
    before = state(card)
    with daemon():
        through("define", "/dev/stdin", stdin=DOMAIN.format(guest=guest))
        virsh("start", guest.name)
        assert_on_the_vf(card, guest)
        assert_given_to_qemu(guest)
        assert dhcp_request(wire, guest.mac) == (ETH_P_8021Q, VLAN)
        virsh("destroy", guest.name)
        assert link(guest.device) is None
        is_put_back(card, guest, before)
        assert state_files() == []
        virsh("undefine", guest.name)


def state(card: Nic) -> tuple[Any, ...]:
    """Return what the kernel tells of the embedded switch, of the card's VFs, and of what is filtered."""
    switch = json.loads(run("bridge", "-j", "-d", "link", "show", "dev", card.device).stdout)[0]["hwmode"]
    return switch, (link(card.device) or {})["vfinfo_list"], run("nft", "list", "ruleset").stdout


def is_put_back(card: Nic, guest: Guest, before: tuple[Any, ...]) -> None:
    """All is as before, but for the first VF's MAC: igbvf, bound anew, takes one by chance and tells the card."""
    after = state(card)
    assert guest.mac not in (after[1][0]["address"], address(vf_netdev(card.device, 0)))
    before[1][0].pop("address")
    after[1][0].pop("address")
    assert after == before


def assert_on_the_vf(card: Nic, guest: Guest) -> None:
    """The macvtap is on the first VF, which the card has set up; libvirt keeps an interface of type ethernet."""
    switch, (vf, _), rules = state(card)
    macvtap = link(guest.device)
    assert macvtap is not None
    assert (macvtap["link"], macvtap["linkinfo"]["info_data"]["mode"]) == (vf_netdev(card.device, 0), "passthru")
    assert (switch, vf["address"], vf["vlan_list"][0]["vlan"]) == ("VEPA", guest.mac, VLAN)
    assert guest.mac in rules
    (interface,) = re.findall("(?s)<interface.*?</interface>", virsh("dumpxml", guest.name).stdout)
    assert "<interface type='ethernet'>" in interface and f"<target dev='{guest.device}' managed='no'/>" in interface


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
    deadline = time.monotonic() + ROM_SECONDS
    while True:
        left = max(0.0, deadline - time.monotonic())
        assert select.select([wire], [], [], left)[0], f"no DHCP request of {mac} in {ROM_SECONDS} seconds"
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
