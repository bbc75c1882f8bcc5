# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a definition: nobody uses it, and what it has made of its NIC is put back."""

from __future__ import annotations

from pathlib import Path

from libvirt_vepa import definitions, inventory, pci
from libvirt_vepa.addresses import PciAddress
from libvirt_vepa.cards import VFS, MakeVfs
from libvirt_vepa.errors import TakenError
from libvirt_vepa.host import Host
from libvirt_vepa.inventory import Function
from libvirt_vepa.model import HostType
from libvirt_vepa.netlink import Netlink
from libvirt_vepa.sharing import Sharing
from libvirt_vepa.state import Store


def undefine(name: str, store: Store, directory: Path | None = None) -> None:
    """Forget a definition, damaged or not, and remove the VFs that were made for it.

    Raises TakenError where a guest uses it or one of those VFs, or the host itself one of those, and as
    `definitions.undefine` does; nothing is changed then.
    """
    store.must_be_unused(name)
    made = [sharing for sharing in store.shared.of(VFS) if name in sharing.users]
    if made:
        with (
            store.lock_cards((sharing.card for sharing in made), f"the removal of '{name}'"),
            Netlink() as netlink,
        ):
            host = Host(netlink, store)
            for sharing in made:
                _must_be_free(name, sharing, host)
            for sharing in made:
                nic = pci.device_of(PciAddress.parse(sharing.card)) or sharing.card
                MakeVfs(nic, sharing.card, int(sharing.value), name).undo(host)
    definitions.undefine(name, directory)


def _must_be_free(name: str, sharing: Sharing, host: Host) -> None:
    """Raise TakenError where somebody has one of the VFs, or where that cannot be told."""
    address = PciAddress.parse(sharing.card)
    if not pci.vfs_of(address):
        return
    link = host.find(sharing.card)
    if link is None:
        what = f"the VFs of {sharing.card}, which '{name}' has made, may be in use, for it has no network device here"
        raise TakenError(what, "see that its driver is bound, and that it is in no other network namespace")
    for function in inventory.look(link, (HostType.SRIOV,), "", host.netlink, host.store).functions:
        user, remedy = _user(function)
        if user:
            what = f"VF {function.number} of {link.name} ({sharing.card}), which '{name}' has made, is in use"
            raise TakenError(f"{what} {user}", remedy)


def _user(function: Function) -> tuple[str, str]:
    """Return who has a VF, and what helps; nothing where nobody has it. One without a driver can be nobody's."""
    if function.holder:
        remedy = "stop that guest first; if it is gone, run 'libvirt-vepa reconcile'"
        return f"by guest '{function.holder.guest}'", remedy
    if function.obstacle and pci.driver_of(function.address):
        return f"by the host: {function.obstacle}", "take the VF out of use first"
    return "", ""
