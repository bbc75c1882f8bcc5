# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host as operations work on it, and how they find a device that has got another name."""

from __future__ import annotations

from dataclasses import dataclass

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.link import gone
from libvirt_vepa.kernel.rtnetlink import Link, Netlink
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.store.store import Store


@dataclass(frozen=True)
class Host:
    """What operations work on: the kernel's devices and the state on disk."""

    netlink: Netlink
    store: Store

    def find(self, key: NicKey) -> Link | None:
        """Return the device of that key, None where it is gone.

        A function's device may get another name whenever its driver is rebound.
        """
        name = pci.device_of(key.address) if key.address else key
        return self.netlink.find(name) if name else None

    def get(self, key: NicKey) -> Link:
        """Return what `find` does; KernelError where it is gone."""
        link = self.find(key)
        if link:
            return link
        if not key.address:
            raise gone(key)
        remedy = "see that its driver is bound, and that it is in no other network namespace"
        raise KernelError(f"PCI function {key} has no network device", remedy)

    def find_nic(self, name: str, key: NicKey) -> Link | None:
        """Return the NIC that had this name and has this key; its name may be another one by now.

        A function with several ports has several NICs, so the name comes first where it still fits; it is all there is
        where the key is "".
        """
        return self.find(self._now(name, key))

    def get_nic(self, name: str, key: NicKey) -> Link:
        """Return what `find_nic` does; KernelError where it is gone."""
        return self.get(self._now(name, key))

    def _now(self, name: str, key: NicKey) -> NicKey:
        """Return by what to look for a NIC: the name that it had, unless that is no longer this card's."""
        return key if key and self.netlink.key_of(name) != key else NicKey(name)
