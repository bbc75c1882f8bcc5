# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Put back what guests left behind that are gone: killed hooks, killed QEMUs, a daemon that was away.

And what a guest that runs has given back, where whoever detached it was killed before that was done.

The daemon is asked before any lock is taken, because a hook may hold one while libvirt waits
for that hook. What has changed since then is left alone: its guest has started meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from libvirt_vepa import apply, guests, metadata, pci, placement
from libvirt_vepa.addresses import MacAddress, PciAddress
from libvirt_vepa.cards import Share
from libvirt_vepa.errors import NewerStateError, StateError, VepaError
from libvirt_vepa.host import Host
from libvirt_vepa.inventory import VF
from libvirt_vepa.journal import Journal
from libvirt_vepa.operations import CreateMacvtap, CreateTap, Operation, TakeLease
from libvirt_vepa.settings import LinkState, VfSettings, VlanProtocol
from libvirt_vepa.sharing import OFFLOAD, SWITCH
from libvirt_vepa.siblings import HearNoSiblings, KnowSiblings
from libvirt_vepa.state import Lease
from libvirt_vepa.virtual import ZEROS, SetVfMac

HOLDER = "'libvirt-vepa reconcile'"
# A VF as drivers make it.
NEW = VfSettings(0, 0, VlanProtocol.DOT1Q, True, False, LinkState.AUTO, 0, 0)


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

    @property
    def where(self) -> str:
        """How messages name this guest."""
        return f"guest '{self.guest}' ({self.uuid})"

    def describe(self) -> Iterator[str]:
        """Yield what would be undone, one line a step."""
        for operation in self.steps:
            yield f"{self.where}: undo: {operation.describe()}"
        if isinstance(self.error, NewerStateError):
            yield f"{self.where}: keep the journal of a newer libvirt-vepa"
        elif not self.journal:
            yield f"{self.where}: remove {'a damaged' if self.error else 'what is left of a'} journal"


def find(host: Host, running: Callable[[], Mapping[str, bytes]]) -> tuple[Leftover, ...]:
    """Return what belongs to guests that do not run, or to interfaces that those that do have no more.

    `running` asks the daemon, after the journals were read: the XML of each guest by its UUID.
    """
    uuids = {*host.store.guests(), *(lease.uuid for lease in host.store.leases())}
    found = {uuid: _read(uuid, host) for uuid in sorted(uuids)}
    alive = running() if found else {}
    gone = (leftover for uuid, leftover in found.items() if uuid not in alive)
    detached = (part for uuid, leftover in found.items() if uuid in alive for part in _detached(leftover, alive[uuid]))
    return (*gone, *detached)


def _detached(found: Leftover, xml: bytes) -> Iterator[Leftover]:
    """Yield what is left of interfaces that a guest's XML does not have."""
    aliases = metadata.aliases_of(xml)
    for use in found.journal.uses if found.journal else ():
        if found.journal and use.alias not in aliases:
            part = found.journal.parted(use.alias)[1]
            yield Leftover(found.uuid, found.guest, part, apply.steps(part), alias=use.alias)


def _read(uuid: str, host: Host) -> Leftover:
    error = None
    try:
        journal = host.store.load(uuid)
        if journal is not None:
            return Leftover(uuid, journal.guest, journal, apply.steps(journal))
    except NewerStateError as newer:
        return Leftover(uuid, "unknown", None, (), newer)
    except StateError as damaged:
        error = damaged
    leases = tuple(lease for lease in host.store.leases() if lease.uuid == uuid)
    guest = leases[0].guest if leases else "unknown"
    return Leftover(uuid, guest, None, tuple(_leased(leases, host)), error)


def _leased(leases: tuple[Lease, ...], host: Host) -> Iterator[Operation]:
    """Yield the steps that a guest's leases tell of: themselves, its VFs, the devices with its name and its MAC."""
    macs = {MacAddress.parse(lease.key) for lease in leases if lease.kind == "mac"}
    for lease in leases:
        yield TakeLease(lease.kind, lease.key, lease.uuid, lease.guest)
        yield from _shared(lease, host)
    for lease in leases:
        if lease.kind == VF:
            yield from _virtual(PciAddress.parse(lease.key), macs, host)
    for lease in leases:
        link = host.netlink.find(lease.key) if lease.kind == "device" else None
        if link and link.kind == "macvtap" and link.mac in macs:
            below = host.netlink.at(link.lower)
            yield CreateMacvtap(link.name, below.name if below else "?", str(link.mac), link.mode, None)
        elif link and link.kind == "tun" and link.mac in {mac.for_tap for mac in macs}:
            yield CreateTap(link.name, str(link.mac), link.multi_queue, link.mtu)


def _shared(lease: Lease, host: Host) -> Iterator[Operation]:
    """Yield what a guest shares of NICs."""
    for sharing in (*host.store.shared.of(SWITCH), *host.store.shared.of(OFFLOAD)):
        if lease.uuid in sharing.users:
            link = host.find(sharing.card)
            nic = link.name if link else sharing.card
            yield Share(sharing.kind, nic, sharing.card, sharing.value, lease.uuid, lease.guest)


def _virtual(address: PciAddress, macs: set[MacAddress], host: Host) -> Iterator[Operation]:
    """Yield what was done to a VF, as far as it still has one of the guest's MACs.

    What it was before is lost, so what a driver gives a new one stands for that.
    """
    physical = pci.physical_of(address)
    nic = pci.device_of(physical) if physical else None
    link = host.find(nic) if nic else None
    if physical is None or link is None:
        return
    numbers = {virtual.number for virtual in pci.vfs_of(physical) if virtual.address == address}
    for said in host.netlink.vfs(link):
        if said.number in numbers and said.mac in macs:
            which = link.name, said.number, str(address)
            yield SetVfMac(*which, str(said.mac), str(ZEROS), 0)
            yield from placement.settings(which, said.settings, NEW)
            yield HearNoSiblings(link.name, str(physical), str(address), str(said.mac), True)
            yield KnowSiblings(link.name, str(physical), str(said.mac))


def put_back(leftover: Leftover, host: Host, running: Callable[[], Mapping[str, bytes]]) -> tuple[VepaError, ...]:
    """Undo what a guest left, unless that has changed since `find`; return what failed."""
    try:
        if leftover.alias is not None:
            failed = _put_interface_back(leftover.uuid, leftover.alias, host, running)
        else:
            with host.store.lock_guest(leftover.uuid, HOLDER):
                failed = _put_back(leftover, host)
    except VepaError as error:
        failed = (error,)
    return tuple(error.within(leftover.where) for error in failed)


def _put_interface_back(
    uuid: str, alias: str, host: Host, running: Callable[[], Mapping[str, bytes]]
) -> tuple[VepaError, ...]:
    # Who attaches one holds this from before the device is made until the guest has it.
    with host.store.lock_hotplug(uuid, HOLDER):
        xml = running().get(uuid)
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
    journal = now.journal or Journal(now.uuid, now.guest, (), tuple(step.record() for step in now.steps))
    with host.store.lock_cards(journal.cards, HOLDER):
        return apply.undo(journal, host)
