# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is sent for a VF or an embedded switch is what iproute2 sends: compared as bytes, which needs no such card.

The kernel refuses all of it on a veth, after it has been sent.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel.netlink_socket import unpack
from libvirt_vepa.kernel.rtnetlink import Link, Netlink
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from tests.lab.network import Nic
from tests.lab.shell import run

Ask = Callable[[Netlink, Link], None]
# linux/rtnetlink.h, and in linux/if_link.h what has attributes for a value.
RTM_NEWLINK, RTM_SETLINK = 16, 19
IFLA_VFINFO_LIST, IFLA_VF_INFO, IFLA_VF_VLAN_LIST, IFLA_VF_VLAN_INFO, IFLA_AF_SPEC = 22, 1, 12, 1, 26
NESTED = {
    (IFLA_VFINFO_LIST,),
    (IFLA_VFINFO_LIST, IFLA_VF_INFO),
    (IFLA_VFINFO_LIST, IFLA_VF_INFO, IFLA_VF_VLAN_LIST),
    (IFLA_AF_SPEC,),
}
VLAN_INFO = (IFLA_VFINFO_LIST, IFLA_VF_INFO, IFLA_VF_VLAN_LIST, IFLA_VF_VLAN_INFO)
VLAN_PADDING = 2
MESSAGE, DEVICE = struct.Struct("=IHHII"), struct.Struct("=BxHiII")


def to(**settings: Any) -> Ask:
    """Return what sets a VF."""
    return lambda netlink, link: netlink.set_vf(link, 3, VfSettings(**settings))


def mode(name: str) -> Ask:
    return lambda netlink, link: netlink.set_switch_mode(link, name)


def address(text: str) -> Ask:
    return lambda netlink, link: netlink.set_vf_mac(link, 3, MacAddress.parse(text))


CASES: dict[str, Ask] = {
    "mac 52:54:00:aa:bb:cc": address("52:54:00:aa:bb:cc"),
    "mac 00:00:00:00:00:00": address("00:00:00:00:00:00"),
    "vlan 42": to(vlan=42),
    "vlan 0": to(vlan=0),
    "vlan 42 qos 3": to(vlan=42, qos=3),
    "vlan 42 qos 3 proto 802.1Q": to(vlan=42, qos=3, proto=VlanProtocol.DOT1Q),
    "vlan 42 proto 802.1ad": to(vlan=42, proto=VlanProtocol.DOT1AD),
    "vlan 4094 qos 7 proto 802.1ad": to(vlan=4094, qos=7, proto=VlanProtocol.DOT1AD),
    "spoofchk on": to(spoofchk=True),
    "spoofchk off": to(spoofchk=False),
    "trust on": to(trust=True),
    "trust off": to(trust=False),
    "state auto": to(state=LinkState.AUTO),
    "state enable": to(state=LinkState.ENABLE),
    "state disable": to(state=LinkState.DISABLE),
    "min_tx_rate 100 max_tx_rate 2500": to(min_tx_rate=100, max_tx_rate=2500),
    "min_tx_rate 0 max_tx_rate 0": to(min_tx_rate=0, max_tx_rate=0),
    "hwmode vepa": mode("vepa"),
    "hwmode veb": mode("veb"),
}


def ask_all(device: str) -> None:
    """Send the requests of all cases, in their order."""
    with Netlink() as netlink:
        link = netlink.get(device)
        for ask in CASES.values():
            with suppress(KernelError):
                ask(netlink, link)


def sent(*command: str) -> list[bytes]:
    """Return what a command sends to change a device, message by message."""
    trace = ("strace", "-qq", "-xx", "-s", "0", "-e", "trace=sendmsg,sendto", "-e", "write=all")
    dump = run(*trace, *command, check=False).stderr
    return [message for message in messages(dump) if MESSAGE.unpack_from(message)[1] in (RTM_NEWLINK, RTM_SETLINK)]


def messages(dump: str) -> Iterator[bytes]:
    """Yield the buffers that strace has dumped; each begins at offset 0 and has no more than one message."""
    data = b""
    for line in dump.splitlines():
        if line.startswith(" | 00000 ") and data:
            yield data
            data = b""
        if line.startswith(" | "):
            # After the offset there are 16 places for a byte, in two columns.
            data += bytes.fromhex(line[9:59])
    yield data


def decoded(message: bytes) -> tuple[Any, ...]:
    """Return a message without what differs by itself: its length, number and sender."""
    _, kind, flags, _, _ = MESSAGE.unpack_from(message)
    body = message[MESSAGE.size :]
    return kind, flags, DEVICE.unpack_from(body), tree(body[DEVICE.size :])


def tree(data: bytes, *path: int) -> list[Any]:
    """Return attributes in order of their types, without empty ones, which say nothing, and without padding."""
    found = []
    for kind, value in unpack(data):
        here = (*path, kind)
        inner: object = tree(value, *here) if here in NESTED else value
        if here == VLAN_INFO:
            inner = (len(value), value[:-VLAN_PADDING])
        if inner:
            found.append((kind, inner))
    return sorted(found)


@pytest.fixture(scope="module")
def ours() -> Iterator[dict[str, Any]]:
    """What this project sends for each case; one process, because strace and Python are slow to start."""
    run("ip", "link", "add", "same1", "type", "veth", "peer", "name", "same2")
    code = "import sys; from tests.kernel.test_same_requests import ask_all; ask_all(sys.argv[1])"
    found = [decoded(message) for message in sent(sys.executable, "-c", code, "same1")]
    assert len(found) == len(CASES)
    yield dict(zip(CASES, found, strict=True))
    run("ip", "link", "delete", "same1")


@pytest.mark.parametrize("words", CASES)
def test_it_is_what_iproute2_sends(ours: dict[str, Any], words: str) -> None:
    before = "bridge link set dev same1" if "hwmode" in words else "ip link set dev same1 vf 3"
    theirs = [decoded(message) for message in sent(*f"{before} {words}".split())]
    # `ip` first asks, with device 0, what the kernel knows.
    assert [each for each in theirs if each[2][2]] == [ours[words]]


def test_the_comparison_sees_a_difference(lan: Nic) -> None:
    """Nothing but one number differs here."""
    one, other = (
        next(each for each in map(decoded, sent(*f"ip link set dev eth1 vf {vf} vlan 5".split())) if each[2][2])
        for vf in (3, 4)
    )
    assert one != other and one[:3] == other[:3]
