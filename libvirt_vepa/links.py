"""What the kernel tells of a network device by rtnetlink, and what it says when it refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from libvirt_vepa.addresses import MacAddress
from libvirt_vepa.errors import KernelError

# linux/if.h and linux/if_arp.h
IFF_UP = 0x1
IFF_ALLMULTI = 0x200
ARPHRD_ETHER = 1


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


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn what pyroute2 and the kernel raise into one line that says what was being done."""
    try:
        yield
    except NetlinkError as error:
        raise refused(doing, error.code) from error
    except OSError as error:
        raise refused(doing, error.errno or errno.EIO, error.strerror or "") from error


def refused(doing: str, code: int, said: str = "") -> KernelError:
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
    return KernelError(f"cannot {doing}: {said or os.strerror(code)}", remedies.get(code, "see the kernel's log"))


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


def permanent(message: Any) -> str:
    """Return the address that a device has from its maker, else its present one (IFLA_PERM_ADDRESS, Linux 5.6)."""
    return message.get_attr("IFLA_PERM_ADDRESS") or message.get_attr("IFLA_ADDRESS") or ""


def is_nic(link: Link) -> bool:
    """Tell whether a device is an Ethernet card, or a veth, which stands for one: its IFLA_LINK is its far end."""
    return link.ethernet and (link.kind == "veth" or not (link.kind or link.lower))


def _macvlan_mode(kind: str, data: Any) -> str:
    if kind not in ("macvtap", "macvlan") or not data:
        return ""
    return data.get_attr(f"IFLA_{kind.upper()}_MODE") or ""
