# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Put back what guests left behind that are gone: killed hooks, killed QEMUs, a daemon that was away.

Also interfaces that a running guest has lost, if the process that detached them was killed before it was done.

The daemon is asked before any lock is taken, because a hook may hold one while libvirt waits
for that hook. What has changed since then is left alone: its guest has started meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from libvirt_vepa.errors import NewerStateError, StateError, VepaError
from libvirt_vepa.host.context import Host
from libvirt_vepa.lifecycle import executor
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.operations.device import lease_records
from libvirt_vepa.store.journal import Journal
from libvirt_vepa.store.store import Lease
from libvirt_vepa.xml import metadata

# What gives a guest's XML by its UUID, None where it does not run.
Look: TypeAlias = "Callable[[str], bytes | None]"

HOLDER = "'libvirt-vepa reconcile'"


@dataclass(frozen=True)
class Leftover:
    """What one guest left.

    `journal` is None where that is damaged, was only begun or has gone; `error` says what is wrong
    with it. `steps` are what is to be undone, without a journal those that the leases tell of.
    """

    uuid: str
    guest: str
    journal: Journal | None
    steps: tuple[Operation, ...]
    error: StateError | None = None
    # Which interface of a guest that runs; None for all of one that does not.
    alias: str | None = None
    # Why it is not known what a guest that runs has lost: nothing of it is undone.
    unread: tuple[VepaError, ...] = ()

    @property
    def where(self) -> str:
        """How messages name this guest."""
        return f"guest '{self.guest}' ({self.uuid})"

    def describe(self) -> Iterator[str]:
        """Yield what would be undone, one line a step, in the order in which it is undone."""
        if self.unread:
            yield f"{self.where}: keep all, for it runs and its XML cannot be read"
            return
        for operation in reversed(self.steps):
            yield f"{self.where}: undo: {operation.describe()}"
        if isinstance(self.error, NewerStateError):
            yield f"{self.where}: keep the journal of a newer libvirt-vepa"
        elif not self.journal:
            yield f"{self.where}: remove {'a damaged' if self.error else 'what is left of a'} journal"


def find(host: Host, running: Callable[[], Collection[str]], look: Look) -> tuple[Leftover, ...]:
    """Return what belongs to guests that do not run, or to interfaces that those that do have no more.

    `running` asks the daemon for the UUIDs of all guests, after the journals were read, and `look` for one guest's XML.
    Where that fails, it is that guest's alone (`unread`).
    """
    leases = host.store.leases()
    uuids = {*host.store.guests(), *(lease.uuid for lease in leases)}
    found = {uuid: _read(uuid, host, leases) for uuid in sorted(uuids)}
    alive = running() if found else {}
    gone = (leftover for uuid, leftover in found.items() if uuid not in alive)
    detached = (part for uuid, leftover in found.items() if uuid in alive for part in _detached(leftover, look))
    return (*gone, *detached)


def _detached(found: Leftover, look: Look) -> Iterator[Leftover]:
    """Yield what is left of interfaces that a guest's XML does not have."""
    if not (found.journal and found.journal.uses):
        return
    try:
        xml = look(found.uuid)
        # What a guest that has ended meanwhile had is its hook's to put back.
        lost = () if xml is None else found.journal.uses_without(metadata.aliases_of(xml))
    except VepaError as error:
        yield Leftover(found.uuid, found.guest, None, (), unread=(error.within(found.where),))
        return
    for use in lost:
        part = found.journal.split(use.alias)[1]
        yield Leftover(found.uuid, found.guest, part, executor.operations_of(part), alias=use.alias)


def _read(uuid: str, host: Host, leases: tuple[Lease, ...] | None = None) -> Leftover:
    """Return what there is of a guest; `leases` are all that are held, read again where they are not given."""
    error = None
    try:
        journal = host.store.load(uuid)
        if journal is not None:
            return Leftover(uuid, journal.guest, journal, executor.operations_of(journal))
    except NewerStateError as newer:
        return Leftover(uuid, "unknown", None, (), newer)
    except StateError as damaged:
        error = damaged
    return _leased(uuid, host.store.leases() if leases is None else leases, error)


def _leased(uuid: str, leases: tuple[Lease, ...], error: StateError | None) -> Leftover:
    """Return what the leases of a guest without a journal tell of."""
    own = tuple(lease for lease in leases if lease.uuid == uuid)
    guest = own[0].guest if own else "unknown"
    lost = Journal(uuid, guest, (), lease_records(own))
    try:
        return Leftover(uuid, guest, None, executor.operations_of(lost), error)
    except NewerStateError as newer:
        return Leftover(uuid, guest, None, (), newer)


def put_back(leftover: Leftover, host: Host, look: Look) -> tuple[VepaError, ...]:
    """Undo what a guest left, unless that has changed since `find`; return what failed."""
    if leftover.unread:
        return leftover.unread
    try:
        if leftover.alias is not None:
            failed = _put_interface_back(leftover.uuid, leftover.alias, host, look)
        else:
            with host.store.lock_guest(leftover.uuid, HOLDER):
                failed = _put_back(leftover, host)
    except VepaError as error:
        failed = (error,)
    return tuple(error.within(leftover.where) for error in failed)


def _put_interface_back(uuid: str, alias: str, host: Host, look: Look) -> tuple[VepaError, ...]:
    # Who attaches one holds this from before the device is made until the guest has it.
    with host.store.lock_hotplug(uuid, HOLDER):
        xml = look(uuid)
        if xml is None or alias in metadata.aliases_of(xml):
            return ()
        return guests.detach(uuid, alias, host)


def _put_back(leftover: Leftover, host: Host) -> tuple[VepaError, ...]:
    now = _read(leftover.uuid, host)
    if now.journal != leftover.journal:
        return ()
    if isinstance(now.error, NewerStateError):
        return (now.error,)
    # Without a journal of its own, what cannot be undone goes into one, as with any other.
    journal = now.journal or Journal(now.uuid, now.guest, (), tuple(step.to_record() for step in now.steps))
    with host.store.lock_nics(journal.nics, HOLDER):
        return executor.undo(journal, host)
