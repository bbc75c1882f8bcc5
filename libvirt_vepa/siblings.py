# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The steps of a plan that concern which frames of other VFs, and of its own, a guest on a VF does not hear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from libvirt_vepa import filter as frames
from libvirt_vepa import pci, sysfs
from libvirt_vepa.addresses import MacAddress, PciAddress
from libvirt_vepa.host import Host
from libvirt_vepa.netlink import Link
from libvirt_vepa.operations import Operation
from libvirt_vepa.virtual import NOBODY, ZEROS


@dataclass(frozen=True)
class HearNoSiblings(Operation):
    """Keep from a guest its own frames that a switch reflects, and with `siblings` those of all other VFs.

    `card` is the PCI address of the NIC, which names its filters.
    """

    nic: str
    card: str
    address: str
    mac: str
    siblings: bool
    mendable = True

    def describe(self) -> str:
        others = ", nor from other VFs" if self.siblings else ""
        return f"let VF {self.address} of {self.nic} hear nothing from {self.mac} itself{others}"

    def apply(self, host: Host) -> None:
        frames.protect(self.card, host.need(self.address).name, MacAddress.parse(self.mac), self.siblings)

    def drifts(self, host: Host) -> Iterator[str]:
        link = host.find(self.address)
        if link and not frames.protected(self.card, link.name, MacAddress.parse(self.mac), self.siblings):
            yield f"{link.name} is without its filter"

    def undo(self, host: Host) -> None:
        frames.unprotect(self.card, MacAddress.parse(self.mac))


@dataclass(frozen=True)
class KnowSiblings(Operation):
    """Have the filters of a NIC know the MACs of all its VFs, whoever uses them, this guest's too.

    There are none to be told where no guest is to hear no siblings.
    """

    nic: str
    card: str
    mac: str
    mendable = True

    def describe(self) -> str:
        return f"have the filters of {self.nic} know {self.mac}, and the MACs of all other VFs"

    def apply(self, host: Host) -> None:
        know_siblings(host, host.find_nic(self.nic, self.card), self.card, also=MacAddress.parse(self.mac))

    def drifts(self, host: Host) -> Iterator[str]:
        known = frames.known(self.card)
        if known is not None and MacAddress.parse(self.mac) not in known:
            yield f"the filters of {self.nic} do not know {self.mac}"

    def undo(self, host: Host) -> None:
        know_siblings(host, host.find_nic(self.nic, self.card), self.card, but=MacAddress.parse(self.mac))


def know_siblings(
    host: Host, link: Link | None, card: str, *, also: MacAddress | None = None, but: MacAddress | None = None
) -> None:
    """Tell the filters of a card, if any, what MACs its VFs have now, by their PF and their netdevs here."""
    macs = {vf.mac for vf in host.netlink.vfs(link)} if link else set()
    # Some drivers say only what an administrator has set.
    netdevs = (sysfs.address(vf.device) for vf in pci.vfs_of(PciAddress.parse(card)) if vf.device)
    macs.update(MacAddress.parse(mac) for mac in netdevs if mac)
    frames.know(card, (macs | ({also} if also else set())) - {ZEROS, NOBODY, but})
