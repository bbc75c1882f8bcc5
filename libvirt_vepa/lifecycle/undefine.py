# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a definition: nobody uses it, and what it has made of its NIC is put back."""

from __future__ import annotations

from pathlib import Path

from libvirt_vepa.errors import InUseError
from libvirt_vepa.host import sriov_inventory
from libvirt_vepa.host.context import Host
from libvirt_vepa.host.sriov_inventory import VfInfo
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.rtnetlink import Netlink
from libvirt_vepa.lifecycle import executor
from libvirt_vepa.model.interface import HostType
from libvirt_vepa.operations.nic import VFS, RemoveVfs
from libvirt_vepa.store import definitions
from libvirt_vepa.store.shared_settings import SharedSetting
from libvirt_vepa.store.store import Store


def undefine(name: str, store: Store, directory: Path | None = None) -> None:
    """Forget a definition, damaged or not, and remove the VFs that were made for it.

    Raises InUseError where a guest uses it or one of those VFs, or the host itself one of those, and as
    `definitions.undefine` does; nothing is changed then.
    """
    store.require_unused(name)
    made = [sharing for sharing in store.shared.list(VFS) if name in sharing.users]
    if made:
        with (
            store.lock_nics((sharing.card for sharing in made), f"the removal of '{name}'"),
            Netlink() as netlink,
        ):
            host = Host(netlink, store)
            for sharing in made:
                _must_be_free(name, sharing, host)
            for sharing in made:
                executor.perform(RemoveVfs.recorded(sharing, name), host)
    definitions.undefine(name, directory)


def _must_be_free(name: str, sharing: SharedSetting, host: Host) -> None:
    """Raise InUseError where somebody has one of the VFs, or where that cannot be told."""
    if not (sharing.card.address and pci.vfs_of(sharing.card.address)):
        return
    link = host.find(sharing.card)
    if link is None:
        what = f"the VFs of {sharing.card}, which '{name}' has made, may be in use, for it has no network device here"
        raise InUseError(what, "see that its driver is bound, and that it is in no other network namespace")
    for function in sriov_inventory.inspect(link, (HostType.SRIOV,), "", host.netlink, host.store).functions:
        user, remedy = _user(function)
        if user:
            what = f"VF {function.number} of {link.name} ({sharing.card}), which '{name}' has made, is in use"
            raise InUseError(f"{what} {user}", remedy)


def _user(function: VfInfo) -> tuple[str, str]:
    """Return who has a VF, and what helps; nothing where nobody has it. One without a driver can be nobody's."""
    if function.holder:
        remedy = "stop that guest first; if it is gone, run 'libvirt-vepa reconcile'"
        return f"by guest '{function.holder.guest}'", remedy
    if function.unavailable_reason and pci.driver_of(function.address):
        return f"by the host: {function.unavailable_reason}", "take the VF out of use first"
    return "", ""
