# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel tells of a network device by rtnetlink, and what it says when it refuses."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel.netlink_socket import HEADER, NETLINK_ROUTE, dump, pack, unpack
from libvirt_vepa.model.address import MacAddress

# linux/if.h and linux/if_arp.h
IFF_UP = 0x1
IFF_ALLMULTI = 0x200
ARPHRD_ETHER = 1
# linux/rtnetlink.h and linux/if_link.h
RTM_NEWLINK, RTM_GETLINK, RTEXT_FILTER_VF, RTEXT_FILTER_SKIP_STATS = 16, 18, 1, 8
IFINFOMSG = struct.Struct("=BxHiII")
# linux/if_addr.h
RTM_GETADDR, RT_SCOPE_LINK = 22, 253
IFADDRMSG = struct.Struct("=BBBBi")
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
IFLA_EXT_MASK, IFLA_PERM_ADDRESS = 29, 54
# What `read` looks at, a few of the fifty attributes of a device.
READ = frozenset({IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO})

# What guests have on the host, by rtnetlink's kind; a tun is a tap where it is Ethernet.
GUEST_KINDS = {"macvtap": "macvtap", "macvlan": "macvlan", "tun": "tap"}


@dataclass(frozen=True)
class Link:
    """A network device as the kernel tells of it.

    `kind` is rtnetlink's (veth, macvtap, tun, …; empty for hardware), `master` the index of
    the bridge, bond or switch that it is a port of and `port_of` that one's kind, `lower` the
    index of the device it stands on; 0 and "" where there is none. `mode` is a macvtap's, in
    the kernel's words. `mtu` counts bytes.
    """

    name: str
    index: int
    kind: str
    mac: MacAddress | None
    up: bool
    ethernet: bool
    mtu: int
    master: int = 0
    port_of: str = ""
    lower: int = 0
    mode: str = ""
    all_multicast: bool = False
    multi_queue: bool = False

    @property
    def guest_kind(self) -> str:
        """What the device is called if it is of a kind that guests have, "" where it is none."""
        return GUEST_KINDS.get(self.kind, "") if self.ethernet else ""


@contextmanager
def netlink_errors(action: str) -> Iterator[None]:
    """Turn what pyroute2 and the kernel raise into one line that says what was being done."""
    try:
        yield
    except NetlinkError as error:
        raise kernel_error(action, error.code) from error
    except OSError as error:
        raise kernel_error(action, error.errno or errno.EIO, error.strerror or "") from error


def kernel_error(action: str, code: int, said: str = "") -> KernelError:
    """Return the error for what could not be done, with what the kernel said of it and what helps."""
    remedies = {
        errno.EPERM: "run as root with CAP_NET_ADMIN",
        errno.ENODEV: "the device has gone; see that nothing else manages it, then try again",
        errno.EBUSY: "another device already uses it in a way that excludes this one",
        errno.EADDRINUSE: "the address is already used on that NIC; give the guest another MAC",
        errno.EEXIST: "a device of that name exists",
        errno.EINVAL: "the driver does not take this value now; see the kernel's log for what it says of it",
        errno.EPROTONOSUPPORT: "the driver has no such VLAN protocol; ask for 802.1Q",
        errno.EOPNOTSUPP: "the kernel or the driver cannot do this; see the kernel's configuration",
    }
    return KernelError(f"cannot {action}: {said or os.strerror(code)}", remedies.get(code, "see the kernel's log"))


def gone(name: str) -> KernelError:
    """Return the error for a device that is needed, and is not there."""
    return kernel_error(f"use {name}", errno.ENODEV)


def read(message: Any) -> Link:
    """Read an RTM_NEWLINK message (linux/if_link.h)."""
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info and info.get_attr("IFLA_INFO_KIND")) or ""
    data = info and info.get_attr("IFLA_INFO_DATA")
    address = message.get_attr("IFLA_ADDRESS")
    ethernet = message["ifi_type"] == ARPHRD_ETHER
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=kind,
        mac=MacAddress.parse(address) if ethernet and address else None,
        up=bool(message["flags"] & IFF_UP),
        ethernet=ethernet,
        mtu=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        port_of=(info and info.get_attr("IFLA_INFO_SLAVE_KIND")) or "",
        lower=message.get_attr("IFLA_LINK") or 0,
        mode=_macvlan_mode(kind, data),
        all_multicast=bool(message["flags"] & IFF_ALLMULTI),
        multi_queue=bool(kind == "tun" and data and data.get_attr("IFLA_TUN_MULTI_QUEUE")),
    )


def read_all() -> dict[str | int, bytes]:
    """Return what the kernel says of each device, for `decode`, by its index and by its name. Raises OSError."""
    found: dict[str | int, bytes] = {}
    for answer in dump(NETLINK_ROUTE, RTM_GETLINK, header(0), mask(RTEXT_FILTER_SKIP_STATS)):
        name = next(value for kind, value in unpack(answer[IFINFOMSG.size :]) if kind == IFLA_IFNAME)
        found[IFINFOMSG.unpack_from(answer)[2]] = found[os.fsdecode(name.rstrip(b"\0"))] = answer
    return found


def decode(answer: bytes) -> Link:
    """Read what `read_all` has found of a device.

    pyroute2 takes every attribute apart that it is given, so it is given those that `read` looks at.
    """
    wanted = (pack(kind, value) for kind, value in unpack(answer[IFINFOMSG.size :]) if kind in READ)
    body = answer[: IFINFOMSG.size] + b"".join(wanted)
    message = ifinfmsg(HEADER.pack(HEADER.size + len(body), RTM_NEWLINK, 0, 0, 0) + body)
    message.decode()
    return read(message)


def header(index: int, family: int = socket.AF_UNSPEC) -> bytes:
    """Return how a message about the device with that index begins; 0 stands for all of them."""
    return IFINFOMSG.pack(family, 0, index, 0, 0)


def mask(bits: int) -> bytes:
    """Return the attribute that says how much is to be told (RTEXT_FILTER_*)."""
    return pack(IFLA_EXT_MASK, struct.pack("=I", bits))


def with_permanent(mac: MacAddress) -> tuple[int, ...]:
    """Return the indexes of the devices that have this address from their maker, or have it now if they do not tell.

    All devices must be asked; only those that mention the address are taken apart, as there is one for each guest.
    Raises OSError.
    """
    wanted = bytes(mac.octets)
    answers = dump(NETLINK_ROUTE, RTM_GETLINK, header(0), mask(RTEXT_FILTER_SKIP_STATS))
    return tuple(IFINFOMSG.unpack_from(each)[2] for each in answers if wanted in each and _permanent(each) == wanted)


def with_addresses() -> frozenset[int]:
    """Return the indexes of the devices that have an IP address other than IPv6's on every link. Raises OSError."""
    answers = dump(NETLINK_ROUTE, RTM_GETADDR, IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    found = (IFADDRMSG.unpack_from(answer) for answer in answers)
    return frozenset(
        index for family, _, _, scope, index in found if family != socket.AF_INET6 or scope != RT_SCOPE_LINK
    )


def _permanent(answer: bytes) -> bytes | None:
    """Return the address by which a card is known (IFLA_PERM_ADDRESS is there since Linux 5.6)."""
    attributes = dict(unpack(answer[IFINFOMSG.size :]))
    return attributes.get(IFLA_PERM_ADDRESS, attributes.get(IFLA_ADDRESS))


def is_nic(link: Link) -> bool:
    """Tell whether a device is an Ethernet card, or a veth, which stands for one: its IFLA_LINK is its far end."""
    return link.ethernet and (link.kind == "veth" or not (link.kind or link.lower))


def _macvlan_mode(kind: str, data: Any) -> str:
    if kind not in ("macvtap", "macvlan") or not data:
        return ""
    return data.get_attr(f"IFLA_{kind.upper()}_MODE") or ""
