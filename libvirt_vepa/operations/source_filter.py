# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operations that keep reflected frames from a guest on a VF: its own, and those of other VFs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import nftables as frames
from libvirt_vepa.kernel import pci, sysfs
from libvirt_vepa.model.address import MacAddress, NicKey
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.operations.vf import NOBODY, ZEROS


@dataclass(frozen=True)
class DropReflectedFrames(Operation):
    """Keep from a guest its own frames that a switch reflects, and with `siblings` those of all other VFs.

    `card` is the PCI address of the NIC, which names its filters.
    """

    nic: str
    card: NicKey
    address: NicKey
    mac: str
    siblings: bool
    reapply_safe = True

    def describe(self) -> str:
        others = ", nor from other VFs" if self.siblings else ""
        return f"let VF {self.address} of {self.nic} hear nothing from {self.mac} itself{others}"

    def apply(self, host: Host) -> None:
        frames.install(self.card, host.get(self.address).name, MacAddress.parse(self.mac), self.siblings)

    def verify(self, host: Host) -> Iterator[str]:
        link, mac, read = host.find(self.address), MacAddress.parse(self.mac), host.netlink.filters
        if link and not frames.is_installed(self.card, link.name, mac, self.siblings, read):
            yield f"{link.name} is without its filter"

    def undo(self, host: Host) -> None:
        frames.remove(self.card, MacAddress.parse(self.mac))


@dataclass(frozen=True)
class UpdateVfMacSet(Operation):
    """Have the filters of a NIC know the MACs of all its VFs, whoever uses them, this guest's too.

    `mac` is that of a guest that comes or goes, "" where none of ours does. If no guest on this NIC needs source
    filtering, there are no filters, and this does nothing.
    """

    nic: str
    card: NicKey
    mac: str
    reapply_safe = True

    def describe(self) -> str:
        return f"have the filters of {self.nic} know {self.mac}, and the MACs of all other VFs"

    def apply(self, host: Host) -> None:
        self._write(self._found(host) | self._own)

    def verify(self, host: Host) -> Iterator[str]:
        known = frames.vf_macs(self.card, host.netlink.filters)
        if known is not None and not self._own <= known:
            yield f"the filters of {self.nic} do not know {self.mac}"

    def undo(self, host: Host) -> None:
        self._write(self._found(host) - self._own)

    @property
    def _own(self) -> set[MacAddress]:
        return {MacAddress.parse(self.mac)} if self.mac else set()

    def _found(self, host: Host) -> set[MacAddress]:
        """Return the MACs that the VFs have now, by their PF and by their netdevs here."""
        link = host.find_nic(self.nic, self.card)
        macs = {vf.mac for vf in host.netlink.vfs(link)} if link else set()
        vfs = pci.vfs_of(self.card.address) if self.card.address else ()
        # Some drivers say only what an administrator has set.
        netdevs = (sysfs.address(vf.device) for vf in vfs if vf.device)
        return macs | {MacAddress.parse(mac) for mac in netdevs if mac}

    def _write(self, macs: set[MacAddress]) -> None:
        frames.set_vf_macs(self.card, macs - {ZEROS, NOBODY})
