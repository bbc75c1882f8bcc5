"""The end of a definition: nobody uses it, and what it has made of its NIC is put back."""

from __future__ import annotations

from pathlib import Path

from libvirt_vepa import definitions, pci
from libvirt_vepa.addresses import PciAddress
from libvirt_vepa.cards import VFS, MakeVfs
from libvirt_vepa.errors import TakenError
from libvirt_vepa.host import Host
from libvirt_vepa.inventory import VF
from libvirt_vepa.netlink import Netlink
from libvirt_vepa.sharing import Sharing
from libvirt_vepa.state import Store


def undefine(name: str, store: Store, directory: Path | None = None) -> None:
    """Forget a definition, damaged or not, and remove the VFs that were made for it.

    Raises TakenError where a guest uses it or one of those VFs, and as `definitions.undefine` does; nothing is
    changed then.
    """
    store.must_be_unused(name)
    made = [sharing for sharing in store.shared.of(VFS) if name in sharing.users]
    for sharing in made:
        with store.lock_cards((sharing.card,), f"the removal of '{name}'"):
            _put_back(name, sharing, store)
    definitions.undefine(name, directory)


def _put_back(name: str, sharing: Sharing, store: Store) -> None:
    address = PciAddress.parse(sharing.card)
    for virtual in pci.vfs_of(address):
        holder = store.holder(VF, str(virtual.address))
        if holder:
            what = (
                f"VF {virtual.number} of {sharing.card}, which '{name}' has made, is in use by guest '{holder.guest}'"
            )
            raise TakenError(what, "stop that guest first; if it is gone, run 'libvirt-vepa reconcile'")
    nic = pci.device_of(address) or sharing.card
    with Netlink() as netlink:
        MakeVfs(nic, sharing.card, int(sharing.value), name).undo(Host(netlink, store))
