"""The end of a definition: nobody uses it, and what it has made of its NIC is put back."""

from __future__ import annotations

from pathlib import Path

from libvirt_vepa import definitions, pci
from libvirt_vepa.cards import VFS, MakeVfs
from libvirt_vepa.errors import TakenError
from libvirt_vepa.inventory import VF
from libvirt_vepa.netlink import Netlink
from libvirt_vepa.operations import Host
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
        with store.lock_nics((sharing.nic,), f"the removal of '{name}'"):
            _put_back(name, sharing, store)
    definitions.undefine(name, directory)


def _put_back(name: str, sharing: Sharing, store: Store) -> None:
    address = pci.function_of(sharing.nic)
    if address is None:
        store.shared.forget(VFS, sharing.nic)
        return
    for virtual in pci.vfs_of(address):
        holder = store.holder(VF, str(virtual.address))
        if holder:
            what = f"VF {virtual.number} of {sharing.nic}, which '{name}' has made, is in use by guest '{holder.guest}'"
            raise TakenError(what, "stop that guest first; if it is gone, run 'libvirt-vepa reconcile'")
    with Netlink() as netlink:
        MakeVfs(sharing.nic, str(address), int(sharing.value), name).undo(Host(netlink, store))
