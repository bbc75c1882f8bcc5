# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done for a guest: start, check, release, repair.

The hook calls these, and nothing else changes the host on a guest's behalf.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.errors import StateError, VepaError, error_context
from libvirt_vepa.host import facts
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.rtnetlink import Netlink
from libvirt_vepa.lifecycle import boot, executor
from libvirt_vepa.model.address import NicKey, PciAddress
from libvirt_vepa.model.interface import Guest
from libvirt_vepa.operations.source_filter import UpdateVfMacSet
from libvirt_vepa.planning import planner
from libvirt_vepa.store import definitions
from libvirt_vepa.store.journal import Journal
from libvirt_vepa.store.store import VF, Store


@contextmanager
def open_host(store: Store) -> Iterator[Host]:
    """Give the kernel and the state on disk to work on."""
    with Netlink() as netlink:
        yield Host(netlink, store)


def dry_run(guest: Guest, host: Host, directory: Path = definitions.DIRECTORY) -> planner.Plan:
    """Return what `start_guest` would do for a guest now; changes nothing. Raises as `start_guest` does."""
    with error_context(guest.where):
        return _plan(guest, facts.load_definitions(guest, directory, host.netlink), host)


def start_guest(guest: Guest, host: Host, directory: Path = definitions.DIRECTORY) -> tuple[str, ...]:
    """Make a guest's devices, all or none; return what an administrator should know of them.

    Raises VepaError, with the guest named, where that is refused or fails; what the guest left
    behind at an earlier start is cleaned away first. While the host boots, a NIC that is not there yet is
    waited for.
    """
    holder = f"the start of {guest.where}"
    with error_context(guest.where):
        # Nothing is locked meanwhile, and nothing observed yet.
        boot.await_nics(guest, directory, host.netlink)
        known = facts.load_definitions(guest, directory, host.netlink)
        nics = [pci.key_of(definition.device) for definition in known.named.values()]
        with host.store.lock_guest(guest.uuid, holder):
            # What cannot be cleaned away is known only to the old journal, which a new one would replace.
            for failure in _release_locked(guest.uuid, host, holder):
                raise failure
            with host.store.lock_nics(nics, holder):
                return _execute(guest, known, host)


def _plan(guest: Guest, known: facts.Definitions, host: Host, *, running: bool = False) -> planner.Plan:
    return planner.make(guest, facts.gather(guest, known, host.netlink, host.store, running=running))


def _execute(guest: Guest, known: facts.Definitions, host: Host, *, running: bool = False) -> tuple[str, ...]:
    """Plan and execute, once VFs are there that a definition wants made; return the plan's remarks."""
    before = host.store.load(guest.uuid) if running else None
    made = _plan(guest, known, host, running=running)
    if made.made_first:
        executor.prepare(guest, made, host, before)
        made = _plan(guest, known, host, running=running)
    executor.execute(guest, made, host, before)
    return made.remarks


def attach(more: Guest, host: Host, directory: Path = definitions.DIRECTORY) -> tuple[str, ...]:
    """Make the devices of a guest that runs for `more`, those of its requests that are new; all or none.

    Returns what an administrator should know of them. Raises VepaError, with the guest named.
    """
    holder = f"the attaching to {more.where}"
    with error_context(more.where):
        known = facts.load_definitions(more, directory, host.netlink)
        nics = [pci.key_of(definition.device) for definition in known.named.values()]
        with host.store.lock_guest(more.uuid, holder), host.store.lock_nics(nics, holder):
            return _execute(more, known, host, running=True)


def detach(uuid: str, alias: str, host: Host) -> tuple[VepaError, ...]:
    """Put back what was done for one interface of a guest, if anything; returns what could not be."""
    holder = f"the detaching from guest {uuid}"
    with host.store.lock_guest(uuid, holder):
        journal = host.store.load(uuid)
        if journal is None:
            return ()
        rest, part = journal.split(alias)
        with host.store.lock_nics(part.nics, holder):
            return executor.undo(part, host, rest) if part.uses else ()


def check(guest: Guest, host: Host) -> tuple[str, ...]:
    """See that a guest's devices are as `start_guest` left them, after what others have changed since was repaired.

    Returns what was repaired. Raises KernelError for what cannot be, and StateError.
    """
    with error_context(guest.where), host.store.lock_guest(guest.uuid, f"a look at {guest.where}"):
        journal = _journal(guest, host)
        found = executor.repair((step for step in executor.operations_of(journal) if step.reapply_safe), host)
        executor.check(guest, journal, host)
    return found


def repair_guest(guest: Guest, host: Host) -> tuple[str, ...]:
    """Look at a running guest's devices again, repair what it does not notice.

    Returns all that had drifted, and what could not be repaired. Raises StateError.
    """
    with error_context(guest.where), host.store.lock_guest(guest.uuid, f"a look at {guest.where}"):
        return executor.repair(executor.operations_of(_journal(guest, host)), host)


def refresh_filters(host: Host) -> None:
    """Update the filters' MACs of all VFs that are beside guests, also of VFs that other tools have assigned.

    Raises VepaError.
    """
    found = {pci.physical_of(PciAddress.parse(lease.key)) for lease in host.store.leases() if lease.kind == VF}
    for key in sorted(NicKey(address) for address in found if address):
        with host.store.lock_nics((key,), "a look at its VFs"):
            link = host.find(key)
            executor.perform(UpdateVfMacSet(link.name if link else key, key, ""), host)


def release_guest(uuid: str, host: Host, holder: str) -> tuple[VepaError, ...]:
    """Put back what was done for a guest, if anything; returns what could not be."""
    with host.store.lock_guest(uuid, holder):
        return _release_locked(uuid, host, holder)


def _release_locked(uuid: str, host: Host, holder: str) -> tuple[VepaError, ...]:
    journal = host.store.load(uuid)
    if journal is None:
        return ()
    with host.store.lock_nics(journal.nics, holder):
        return executor.undo(journal, host)


def _journal(guest: Guest, host: Host) -> Journal:
    journal = host.store.load(guest.uuid)
    if journal is None:
        raise StateError(
            "nothing is known of its devices", "see that the hook is installed, then stop and start the guest"
        )
    return journal
