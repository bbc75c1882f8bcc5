# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Network devices, by rtnetlink: the one place that uses pyroute2's sockets.

Devices are looked up by name and changed by index, so that a rename in between
cannot hit another device. Everything the kernel refuses becomes a KernelError.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from shlex import quote
from typing import Any, Self, TypeVar, TypeVarTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel import eswitch, ethtool, nftables, pci, vf
from libvirt_vepa.kernel import link as links
from libvirt_vepa.kernel.ethtool import Feature
from libvirt_vepa.kernel.link import IFF_ALLMULTI, IFF_UP, Link, gone, netlink_errors
from libvirt_vepa.kernel.vf import Vf
from libvirt_vepa.model.address import MacAddress, NicKey
from libvirt_vepa.model.interface import DEVICE_NAME_BYTES

__all__ = ["Feature", "Link", "Netlink", "Vf"]

What = TypeVarTuple("What")
Told = TypeVar("Told")


class Netlink:
    """A netlink socket; use it in a `with`."""

    def __enter__(self) -> Self:
        with netlink_errors("open a netlink socket"):
            self._route = IPRoute()
        return self

    def __exit__(self, *_: object) -> None:
        self._route.close()

    def find(self, name: str) -> Link | None:
        """Return the device that has that name, or that alternative name (`ip link property add`), or None.

        The kernel takes an alternative name where it takes a name, but for its length.
        """
        short = len(name.encode()) <= DEVICE_NAME_BYTES
        return self._get(ifname=name) if short else self._get(IFLA_ALT_IFNAME=name)

    def at(self, index: int) -> Link | None:
        """Return the device with that index, or None; None too for 0, which stands for no device."""
        return self._get(index=index) if index else None

    def get(self, name: str) -> Link:
        """Return the device of that name; KernelError where it has gone."""
        link = self.find(name)
        if link is None:
            raise gone(name)
        return link

    def with_mac(self, mac: MacAddress) -> tuple[Link, ...]:
        """Return the NICs that have this address from their maker, or have it now where they do not tell of one.

        A VF is none of them, nor is what stands on another device or joins several.
        """
        with netlink_errors(f"look up the NIC with the address {mac}"):
            indexes = links.with_permanent(mac)
        found = (self.at(index) for index in indexes)
        return tuple(link for link in found if link and links.is_nic(link) and not pci.is_vf_device(link.name))

    def with_addresses(self) -> frozenset[int]:
        """Return the indexes of devices at which the host has an IP address; that of IPv6 on every link is none."""
        with netlink_errors("read the addresses of this host"):
            return links.with_addresses()

    def set_up(self, link: Link) -> None:
        """Put a device up. A VLAN device can be up only while the NIC below it is."""
        with netlink_errors(f"put {link.name} up"):
            try:
                self._route.link("set", index=link.index, flags=IFF_UP, change=IFF_UP)
            except NetlinkError as error:
                below = self.at(link.lower) if error.code == errno.ENETDOWN else None
                if below is None:
                    raise
                what = f"cannot put {link.name} up: {below.name} below it is down"
                raise KernelError(what, f"put {below.name} up: ip link set {quote(below.name)} up") from error

    def set_all_multicast(self, link: Link) -> None:
        """Let a device receive all multicast."""
        with netlink_errors(f"switch all-multicast on at {link.name}"):
            self._route.link("set", index=link.index, flags=IFF_ALLMULTI, change=IFF_ALLMULTI)

    def set_master(self, link: Link, master: Link) -> None:
        """Make a device a port of a bridge."""
        with netlink_errors(f"make {link.name} a port of {master.name}"):
            self._route.link("set", index=link.index, master=master.index)

    def create_macvtap(self, name: str, below: Link, mac: MacAddress, mode: str, mtu: int | None) -> None:
        """Create a macvtap, down, with its name, address and mode in the one request that makes it."""
        extra = {} if mtu is None else {"mtu": mtu}
        with netlink_errors(f"create macvtap {name} on {below.name}"):
            self._route.link(
                "add", ifname=name, kind="macvtap", link=below.index, address=str(mac), macvtap_mode=mode, **extra
            )

    def set_address(self, link: Link, mac: MacAddress, mtu: int) -> None:
        """Give a device its address and MTU."""
        with netlink_errors(f"set MAC {mac} and MTU {mtu} of {link.name}"):
            self._route.link("set", index=link.index, address=str(mac), mtu=mtu)

    def set_mtu(self, link: Link, mtu: int) -> None:
        """Give a device its MTU."""
        with netlink_errors(f"set MTU {mtu} of {link.name}"):
            self._route.link("set", index=link.index, mtu=mtu)

    def delete(self, link: Link) -> None:
        """Delete a device; one that has gone meanwhile is fine."""
        with netlink_errors(f"delete {link.name}"):
            try:
                self._route.link("del", index=link.index)
            except NetlinkError as error:
                if error.code != errno.ENODEV:
                    raise

    # What does not go by pyroute2 (`netlink_socket` says why); each raises KernelError.
    set_vf_mac = staticmethod(vf.set_mac)
    set_vf = staticmethod(vf.set_all)
    set_switch_mode = staticmethod(eswitch.set_mode)
    eswitch = staticmethod(eswitch.eswitch)
    set_feature = staticmethod(ethtool.write)

    def key_of(self, device: str) -> NicKey:
        """Return what names a netdev's hardware, as /sys shows it."""
        return self._ask(pci.key_of, device)

    def vfs(self, link: Link) -> tuple[Vf, ...]:
        """Return the VFs of a NIC in order of number; none where it has none, or is none that could."""
        return self._ask(vf.read, link)

    def switch_mode(self, link: Link) -> str | None:
        """Return the mode of a NIC's embedded switch, 'veb' or 'vepa'; None where the driver tells neither."""
        return self._ask(eswitch.mode, link)

    def unicast(self, link: Link) -> frozenset[MacAddress]:
        """Return the MACs that a NIC lets in beside its own address."""
        return self._ask(eswitch.unicast, link)

    def feature(self, link: Link, name: str) -> Feature | None:
        """Return a feature by the name that `ethtool -k` has for it, None where the kernel knows none of that name."""
        return self._ask(ethtool.read, link, name)

    def filters(self, nic: NicKey) -> nftables.Table:
        """Return the nftables that keep reflected frames from a NIC's VFs."""
        return self._ask(nftables.read, nic)

    def _ask(self, read: Callable[[*What], Told], *what: *What) -> Told:
        """Return what the kernel says now."""
        return read(*what)

    def _get(self, **key: Any) -> Link | None:
        with netlink_errors(f"look up device {next(iter(key.values()))}"):
            try:
                messages = list(self._route.link("get", **key))
            except NetlinkError as error:
                if error.code == errno.ENODEV:
                    return None
                raise
        return links.read(messages[0])
