# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done for a guest at the stations of its life: begin, check, end, look again.

The hook calls these, and nothing else changes the host on a guest's behalf.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa import apply, boot, definitions, facts, pci, plan
from libvirt_vepa.addresses import PciAddress
from libvirt_vepa.errors import StateError, VepaError, said_of
from libvirt_vepa.host import Host
from libvirt_vepa.inventory import VF
from libvirt_vepa.journal import Journal
from libvirt_vepa.model import Guest, HostInterface
from libvirt_vepa.netlink import Netlink
from libvirt_vepa.operations import Operation
from libvirt_vepa.siblings import know_siblings
from libvirt_vepa.state import Store


@contextmanager
def open_host(store: Store) -> Iterator[Host]:
    """Give the kernel and the state on disk to work on."""
    with Netlink() as netlink:
        yield Host(netlink, store)


def look(guest: Guest, host: Host, directory: Path = definitions.DIRECTORY) -> plan.Plan:
    """Return what `begin` would do for a guest now; changes nothing. Raises as `begin` does."""
    with said_of(guest.where):
        return _plan(guest, facts.load_definitions(guest, directory, host.netlink), host)


def begin(guest: Guest, host: Host, directory: Path = definitions.DIRECTORY) -> tuple[str, ...]:
    """Make a guest's devices, all or none; return what an administrator should know of them.

    Raises VepaError, with the guest named, where that is refused or fails; what the guest left
    behind at an earlier start is cleaned away first. While the host boots, a NIC that is not there yet is
    waited for.
    """
    holder = f"the start of {guest.where}"
    with said_of(guest.where):
        # Nothing is locked meanwhile, and nothing observed yet.
        boot.await_nics(guest, directory, host.netlink)
        named = facts.load_definitions(guest, directory, host.netlink)
        cards = [pci.card_of(definition.device) for definition in named.values()]
        with host.store.lock_guest(guest.uuid, holder):
            # What cannot be cleaned away is known only to the old journal, which a new one would replace.
            for failure in _clean(guest.uuid, host, holder):
                raise failure
            with host.store.lock_cards(cards, holder):
                made = _whole(guest, named, host)
                apply.run(guest, made, host)
    return made.remarks


def _plan(guest: Guest, named: dict[str, HostInterface], host: Host, *, running: bool = False) -> plan.Plan:
    return plan.make(guest, facts.observe(guest, named, host.netlink, host.store, running=running))


def _whole(guest: Guest, named: dict[str, HostInterface], host: Host, *, running: bool = False) -> plan.Plan:
    """Return the plan, once what it stands on and what is no guest's has been made: VFs that a definition wants."""
    made = _plan(guest, named, host, running=running)
    if not made.made_first:
        return made
    for operation in made.made_first:
        apply.perform(operation, guest, made, host)
    return _plan(guest, named, host, running=running)


def attach(more: Guest, host: Host, directory: Path = definitions.DIRECTORY) -> tuple[str, ...]:
    """Make the devices of a guest that runs for `more`, those of its requests that are new; all or none.

    Returns what an administrator should know of them. Raises VepaError, with the guest named.
    """
    holder = f"the attaching to {more.where}"
    with said_of(more.where):
        named = facts.load_definitions(more, directory, host.netlink)
        cards = [pci.card_of(definition.device) for definition in named.values()]
        with host.store.lock_guest(more.uuid, holder), host.store.lock_cards(cards, holder):
            made = _whole(more, named, host, running=True)
            apply.run(more, made, host, host.store.load(more.uuid))
    return made.remarks


def detach(uuid: str, alias: str, host: Host) -> tuple[VepaError, ...]:
    """Put back what was done for one interface of a guest, if anything; returns what could not be."""
    holder = f"the detaching from guest {uuid}"
    with host.store.lock_guest(uuid, holder):
        journal = host.store.load(uuid)
        if journal is None:
            return ()
        rest, part = journal.parted(alias)
        with host.store.lock_cards(part.cards, holder):
            return apply.undo(part, host, rest) if part.uses else ()


def check(guest: Guest, host: Host) -> tuple[str, ...]:
    """See that a guest's devices are as `begin` left them, after what others have changed since was repaired.

    Returns what was repaired. Raises KernelError for what cannot be, and StateError.
    """
    with said_of(guest.where), host.store.lock_guest(guest.uuid, f"a look at {guest.where}"):
        journal = _journal(guest, host)
        found = _repair((step for step in apply.steps(journal) if step.mendable), host)
        apply.check(guest, journal, host)
    return found


def mend(guest: Guest, host: Host) -> tuple[str, ...]:
    """Look at a running guest's devices again, repair what it does not notice.

    Returns all that had drifted, and what could not be repaired.
    """
    with host.store.lock_guest(guest.uuid, f"a look at {guest.where}"):
        return _repair(apply.steps(_journal(guest, host)), host)


def _repair(steps: Iterable[Operation], host: Host) -> tuple[str, ...]:
    """Apply again, of these steps, those that have drifted and that a running guest does not notice.

    Returns what had drifted, once, and whether it was repaired.
    """
    return tuple(dict.fromkeys(line for step in steps for line in _repaired(step, host)))


def _repaired(step: Operation, host: Host) -> Iterator[str]:
    drifts = tuple(step.drifts(host))
    if drifts and step.mendable:
        try:
            step.apply(host)
        except VepaError as error:
            # It must not keep the others from being repaired.
            yield str(error)
        left = set(step.drifts(host))
        yield from (drift if drift in left else f"{drift}: repaired" for drift in drifts)
    else:
        yield from drifts


def renew(host: Host) -> None:
    """Tell the filters which MACs the VFs beside their guests have now, whoever has given them these.

    Raises VepaError.
    """
    physical = {pci.physical_of(PciAddress.parse(lease.key)) for lease in host.store.leases() if lease.kind == VF}
    for card in sorted(str(address) for address in physical if address):
        with host.store.lock_cards((card,), "a look at its VFs"):
            know_siblings(host, host.find(card), card)


def end(uuid: str, host: Host, holder: str) -> tuple[VepaError, ...]:
    """Put back what was done for a guest, if anything; returns what could not be."""
    with host.store.lock_guest(uuid, holder):
        return _clean(uuid, host, holder)


def _clean(uuid: str, host: Host, holder: str) -> tuple[VepaError, ...]:
    journal = host.store.load(uuid)
    if journal is None:
        return ()
    with host.store.lock_cards(journal.cards, holder):
        return apply.undo(journal, host)


def _journal(guest: Guest, host: Host) -> Journal:
    journal = host.store.load(guest.uuid)
    if journal is None:
        raise StateError(
            "nothing is known of its devices", "see that the hook is installed, then stop and start the guest"
        )
    return journal
