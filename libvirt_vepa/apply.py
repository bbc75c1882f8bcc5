# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run a plan, the journal first, and undo it in reverse.

The journal of a guest holds its whole plan before the first step is taken, so whatever ends
this process, everything that was done can be found and undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace

from libvirt_vepa.errors import KernelError, StateError, VepaError, said_of
from libvirt_vepa.host import Host
from libvirt_vepa.journal import INTERFACES, Journal, bare
from libvirt_vepa.known import from_record
from libvirt_vepa.model import Guest
from libvirt_vepa.operations import Operation
from libvirt_vepa.plan import Plan


def run(guest: Guest, plan: Plan, host: Host, before: Journal | None = None) -> None:
    """Apply a plan and read back that it holds. The caller has locked the guest and its NICs.

    `before` is the journal of a guest that runs and is given more. Raises what the failing step
    raised, after everything was undone that the guest had not before.
    """
    made = Journal(guest.uuid, guest.name, plan.uses, plan.records())
    host.store.save(before.joined(made) if before else made)
    # What its other interfaces need too, as a card's embedded switch.
    needed = set(map(bare, before.operations)) if before else set()
    done: list[Operation] = []
    try:
        for operation in plan.operations:
            perform(operation, guest, plan, host)
            if bare(operation.record()) not in needed:
                done.append(operation)
        must_hold({operation: _where(guest, plan.interfaces.get(operation, ())) for operation in plan.operations}, host)
    except VepaError:
        # A step that failed has done nothing: what is in its way may be another's. Nor does what
        # cannot be undone, or written down, hide why it had to be; the journal still tells of it.
        with suppress(StateError):
            _undo(made, tuple(done), host, before)
        raise


def perform(operation: Operation, guest: Guest, plan: Plan, host: Host) -> None:
    """Apply one step of a plan. Raises what it raises, with the interface named that needs it."""
    where = _where(guest, plan.interfaces.get(operation, ()))
    with said_of(where) if where else nullcontext():
        operation.apply(host)


def _where(guest: Guest, aliases: Iterable[str]) -> str:
    """Name the first of a guest's interfaces that need a step; "" for what the whole guest needs."""
    return next((request.where for request in guest.requests if request.alias in aliases), "")


def steps(journal: Journal) -> tuple[Operation, ...]:
    """Return the operations that a journal holds; StateError where one is not known."""
    return tuple(from_record(record) for record in journal.operations)


def undo(journal: Journal, host: Host, rest: Journal | None = None) -> tuple[VepaError, ...]:
    """Undo everything that a journal holds and leave `rest` in its place, or nothing.

    The caller has locked the guest and its NICs. One failure does not keep the rest from being
    undone. Returns what failed; that stays in the journal too, for `reconcile`.
    """
    return _undo(journal, steps(journal), host, rest)


def _undo(
    journal: Journal, operations: tuple[Operation, ...], host: Host, rest: Journal | None
) -> tuple[VepaError, ...]:
    """Undo these; of the journal only what fails is kept, or what never was done could be undone later."""
    failed = _undo_all(operations, host)
    stuck = {bare(operation.record()) for operation, _ in failed}
    records = tuple(record for record in journal.operations if bare(record) in stuck)
    left = replace(journal, operations=records) if records else None
    kept = rest.joined(left) if rest and left else rest or left
    if kept:
        host.store.save(kept)
    else:
        host.store.forget(journal.uuid)
    return tuple(error for _, error in failed)


def _undo_all(operations: tuple[Operation, ...], host: Host) -> list[tuple[Operation, VepaError]]:
    """Undo in reverse, to the end; return what could not be undone, and why."""
    failed = []
    for operation in reversed(operations):
        try:
            operation.undo(host)
        except VepaError as error:
            failed.append((operation, error))
    return failed


def verify(operations: tuple[Operation, ...], host: Host) -> tuple[str, ...]:
    """Return everything that is not as these operations leave it."""
    return tuple(dict.fromkeys(drift for operation in operations for drift in operation.drifts(host)))


def check(guest: Guest, journal: Journal, host: Host) -> None:
    """Raise KernelError where something is not as the journal's operations leave it."""
    aliases = (record.get(INTERFACES, ()) for record in journal.operations)
    must_hold({step: _where(guest, needing) for step, needing in zip(steps(journal), aliases, strict=True)}, host)


def must_hold(operations: Mapping[Operation, str], host: Host) -> None:
    """Raise KernelError where something is not as these operations leave it; the error is the difference.

    What an operation is mapped to names the interface that needs it, "" where that is the whole guest.
    """
    found: dict[str, list[str]] = {}
    for operation, where in operations.items():
        found.setdefault(where, []).extend(operation.drifts(host))
    texts = [
        f"{where}: {said}" if where else said
        for where, drifts in found.items()
        if (said := ", ".join(dict.fromkeys(drifts)))
    ]
    if texts:
        raise KernelError(
            ", and ".join(texts), "see that nothing else manages these devices, then start the guest again"
        )
