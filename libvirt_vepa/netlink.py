"""Network devices, by rtnetlink: the one place that knows pyroute2.

Devices are looked up by name and changed by index, so that a rename in between
cannot hit another device. Everything the kernel refuses becomes a KernelError.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
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
def _told(doing: str) -> Iterator[None]:
    """Turn what pyroute2 and the kernel raise into one line that says what was being done."""
    try:
        yield
    except NetlinkError as error:
        raise _refused(doing, error.code) from error
    except OSError as error:
        raise _refused(doing, error.errno or errno.EIO) from error


def _refused(doing: str, code: int) -> KernelError:
    remedies = {
        errno.EPERM: "run as root with CAP_NET_ADMIN",
        errno.ENODEV: "the device has gone; see that nothing else manages it, then try again",
        errno.EBUSY: "another device already uses it in a way that excludes this one",
        errno.EADDRINUSE: "the address is already used on that NIC; give the guest another MAC",
        errno.EEXIST: "a device of that name exists",
        errno.EOPNOTSUPP: "the kernel or the driver cannot do this; see the kernel's configuration",
    }
    return KernelError(f"cannot {doing}: {os.strerror(code)}", remedies.get(code, "see the kernel's log"))


class Netlink:
    """A conversation with the kernel; use it in a `with`."""

    def __enter__(self) -> Netlink:
        with _told("open a netlink socket"):
            self._route = IPRoute()
        return self

    def __exit__(self, *_: object) -> None:
        self._route.close()

    def find(self, name: str) -> Link | None:
        """Return the device of that name, or None."""
        return self._get(ifname=name)

    def at(self, index: int) -> Link | None:
        """Return the device with that index, or None; None too for 0, which stands for no device."""
        return self._get(index=index) if index else None

    def need(self, name: str) -> Link:
        """Return the device of that name; KernelError where it has gone."""
        link = self.find(name)
        if link is None:
            raise _refused(f"use {name}", errno.ENODEV)
        return link

    def set_up(self, link: Link) -> None:
        """Put a device up."""
        with _told(f"put {link.name} up"):
            self._route.link("set", index=link.index, flags=IFF_UP, change=IFF_UP)

    def set_all_multicast(self, link: Link) -> None:
        """Let a device receive all multicast."""
        with _told(f"switch all-multicast on at {link.name}"):
            self._route.link("set", index=link.index, flags=IFF_ALLMULTI, change=IFF_ALLMULTI)

    def set_master(self, link: Link, master: Link) -> None:
        """Make a device a port of a bridge."""
        with _told(f"make {link.name} a port of {master.name}"):
            self._route.link("set", index=link.index, master=master.index)

    def create_macvtap(self, name: str, below: Link, mac: MacAddress, mode: str, mtu: int | None) -> None:
        """Create a macvtap, down, with its name, address and mode in the one request that makes it."""
        extra = {} if mtu is None else {"mtu": mtu}
        with _told(f"create macvtap {name} on {below.name}"):
            self._route.link(
                "add", ifname=name, kind="macvtap", link=below.index, address=str(mac), macvtap_mode=mode, **extra
            )

    def set_address(self, link: Link, mac: MacAddress, mtu: int) -> None:
        """Give a device its address and MTU."""
        with _told(f"set MAC {mac} and MTU {mtu} of {link.name}"):
            self._route.link("set", index=link.index, address=str(mac), mtu=mtu)

    def delete(self, link: Link) -> None:
        """Delete a device; one that has gone meanwhile is fine."""
        with _told(f"delete {link.name}"):
            try:
                self._route.link("del", index=link.index)
            except NetlinkError as error:
                if error.code != errno.ENODEV:
                    raise

    def _get(self, **key: Any) -> Link | None:
        with _told(f"look up device {key.get('ifname', key.get('index'))}"):
            try:
                messages = list(self._route.link("get", **key))
            except NetlinkError as error:
                if error.code == errno.ENODEV:
                    return None
                raise
        return _link(messages[0])


def _link(message: Any) -> Link:
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


def _macvlan_mode(kind: str, data: Any) -> str:
    if kind not in ("macvtap", "macvlan") or not data:
        return ""
    return data.get_attr(f"IFLA_{kind.upper()}_MODE") or ""
