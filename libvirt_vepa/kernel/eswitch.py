# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The switch inside a NIC: whether it reflects, what it lets in by itself, and who decides about it."""

from __future__ import annotations

import errno
import socket
import struct
from shlex import quote

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel.link import IFINFOMSG, RTEXT_FILTER_VF, RTM_GETLINK, Link, header, mask, netlink_errors
from libvirt_vepa.kernel.netlink_socket import NETLINK_ROUTE, RefusedError, dump, generic, pack, request, unpack
from libvirt_vepa.kernel.vf import patiently
from libvirt_vepa.model.address import MacAddress, PciAddress

# linux/rtnetlink.h, linux/if_bridge.h and linux/neighbour.h
RTM_SETLINK, RTM_GETNEIGH = 19, 30
IFLA_AF_SPEC = 26
IFLA_BRIDGE_FLAGS, IFLA_BRIDGE_MODE, BRIDGE_FLAGS_SELF = 0, 1, 2
MODES = ("veb", "vepa")
NDMSG, NDA_LLADDR, NTF_SELF = struct.Struct("=BxxxiHBB"), 2, 0x02
ETHERNET_BYTES = 6
SHORT = struct.Struct("=H")
# linux/devlink.h
DEVLINK_CMD_ESWITCH_GET, DEVLINK_ATTR_BUS_NAME, DEVLINK_ATTR_DEV_NAME, DEVLINK_ATTR_ESWITCH_MODE = 29, 1, 2, 25
ESWITCH_MODES = ("legacy", "switchdev", "switchdev_inactive")
# No devlink in this kernel; no such device in it; a driver that has no such switch.
NO_ESWITCH = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)


def mode(link: Link) -> str | None:
    """Return 'veb' or 'vepa', None where the driver tells neither. Raises KernelError.

    The kernel lists the ports of bridges too and cannot be asked for one device (rtnl_bridge_getlink).
    """
    with netlink_errors(f"read the mode of the embedded switch of {link.name}"):
        answers = dump(NETLINK_ROUTE, RTM_GETLINK, header(0, socket.AF_BRIDGE), mask(RTEXT_FILTER_VF))
    for answer in answers:
        if IFINFOMSG.unpack_from(answer)[2] == link.index:
            specific = dict(unpack(dict(unpack(answer[IFINFOMSG.size :])).get(IFLA_AF_SPEC, b"")))
            if IFLA_BRIDGE_MODE in specific:
                (number,) = SHORT.unpack(specific[IFLA_BRIDGE_MODE])
                return MODES[number] if number < len(MODES) else None
    return None


def set_mode(link: Link, wanted: str) -> None:
    """Put the switch into 'veb' or 'vepa'. Raises KernelError, also where the driver keeps the other one."""
    specific = pack(
        IFLA_AF_SPEC,
        pack(IFLA_BRIDGE_FLAGS, SHORT.pack(BRIDGE_FLAGS_SELF)),
        pack(IFLA_BRIDGE_MODE, SHORT.pack(MODES.index(wanted))),
    )
    device = header(link.index, socket.AF_BRIDGE)
    action = f"put the embedded switch of {link.name} into {wanted}"
    patiently(action, lambda: request(NETLINK_ROUTE, RTM_SETLINK, device, specific))
    kept = mode(link)
    if kept != wanted:
        what = f"the embedded switch of {link.name} was put into {wanted}, but the driver says {kept or 'nothing'}"
        raise KernelError(
            what, f"see the kernel's log, and try 'bridge link set dev {quote(link.name)} hwmode {wanted}'"
        )


def unicast(link: Link) -> frozenset[MacAddress]:
    """Return the MACs that a NIC lets in beside its own address, as `bridge fdb show` has them: `self`.

    Raises KernelError. The kernel takes the device from a header that is a link's (valid_fdb_dump_legacy).
    """
    with netlink_errors(f"read the unicast addresses of {link.name}"):
        answers = dump(NETLINK_ROUTE, RTM_GETNEIGH, header(link.index, socket.AF_BRIDGE))
    found = (_station(answer) for answer in answers if _is_own(answer, link))
    return frozenset(mac for mac in found if mac is not None and not mac.is_multicast)


def _is_own(answer: bytes, link: Link) -> bool:
    _, index, _, flags, _ = NDMSG.unpack_from(answer)
    return bool(index == link.index and flags & NTF_SELF)


def _station(answer: bytes) -> MacAddress | None:
    address = dict(unpack(answer[NDMSG.size :])).get(NDA_LLADDR, b"")
    if len(address) != ETHERNET_BYTES:
        return None
    one, two, three, four, five, six = address
    return MacAddress((one, two, three, four, five, six))


def eswitch(address: PciAddress) -> str:
    """Return devlink's word for who rules the switch of a card: 'legacy', where there is no devlink too.

    Raises KernelError.
    """
    names = pack(DEVLINK_ATTR_BUS_NAME, b"pci\0"), pack(DEVLINK_ATTR_DEV_NAME, f"{address}".encode() + b"\0")
    with netlink_errors(f"read devlink's eswitch mode of {address}"):
        try:
            (answer,) = generic("devlink", DEVLINK_CMD_ESWITCH_GET, *names)
        except RefusedError as error:
            if error.errno in NO_ESWITCH:
                return ESWITCH_MODES[0]
            raise
    value = dict(unpack(answer)).get(DEVLINK_ATTR_ESWITCH_MODE)
    if value is None:
        return ESWITCH_MODES[0]
    (number,) = SHORT.unpack(value)
    return ESWITCH_MODES[number] if number < len(ESWITCH_MODES) else f"mode {number}"
