# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host as operations work on it, and how they find a device that has got another name."""

from __future__ import annotations

from dataclasses import dataclass

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.rtnetlink import Link, Netlink
from libvirt_vepa.model.address import PciAddress
from libvirt_vepa.store.store import Store


@dataclass(frozen=True)
class Host:
    """What operations work on: the kernel's devices and the state on disk."""

    netlink: Netlink
    store: Store

    def find(self, device: str) -> Link | None:
        """Return a device by its name, or a function's by its PCI address, which no name can be; None where it is gone.

        A function's device may get another name whenever its driver is rebound.
        """
        if ":" not in device:
            return self.netlink.find(device)
        name = pci.device_of(PciAddress.parse(device))
        return self.netlink.find(name) if name else None

    def find_nic(self, nic: str, card: str) -> Link | None:
        """Return the NIC that was called `nic` and is `card` (`pci.card_of`); its name may be another one by now.

        A function with several ports has several NICs, so the name comes first where it still fits; it is all there is
        where `card` is "".
        """
        return self.find(_now(nic, card))

    def need_nic(self, nic: str, card: str) -> Link:
        """Return what `find_nic` does; KernelError where it is gone."""
        return self.need(_now(nic, card))

    def need(self, device: str) -> Link:
        """Return what `find` does; KernelError where it is gone."""
        if ":" not in device:
            return self.netlink.need(device)
        link = self.find(device)
        if link is None:
            remedy = "see that its driver is bound, and that it is in no other network namespace"
            raise KernelError(f"PCI function {device} has no network device", remedy)
        return link


def _now(nic: str, card: str) -> str:
    """Return by what to look for a NIC: the name that it had, unless that is no longer this card's."""
    return card if card and pci.card_of(nic) != card else nic
