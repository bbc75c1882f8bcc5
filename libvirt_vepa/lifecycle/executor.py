# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run a plan, the journal first, and undo it in reverse.

The journal of a guest holds its whole plan before the first step is taken, so whatever ends
this process, everything that was done can be found and undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace

from libvirt_vepa.errors import KernelError, StateError, VepaError, error_context
from libvirt_vepa.host.context import Host
from libvirt_vepa.model.interface import Guest
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.operations.registry import from_record
from libvirt_vepa.planning.planner import Plan
from libvirt_vepa.store.journal import INTERFACES, Journal, identity_key


def execute(guest: Guest, plan: Plan, host: Host, before: Journal | None = None) -> None:
    """Apply a plan and read back that it holds. The caller has locked the guest and its NICs.

    `before` is the journal of a guest that runs and is given more. Raises what the failing step
    raised, after everything was undone that the guest had not before.
    """
    made = Journal(guest.uuid, guest.name, plan.uses, plan.records())
    host.store.save(before.merge(made) if before else made)
    # What its other interfaces need too, as a card's embedded switch, is not undone.
    needed = set(map(identity_key, before.operations)) if before else set()
    places = _places(guest, plan)
    done: list[Operation] = []
    try:
        for operation, where in places.items():
            _apply(operation, where, host, None if identity_key(operation.to_record()) in needed else done)
        verify_all(places, host)
    except VepaError:
        # Errors of the rollback are in the journal; the original one is raised.
        _undo(made, tuple(done), host, before)
        raise


def prepare(guest: Guest, plan: Plan, host: Host, before: Journal | None = None) -> None:
    """Execute what must be there before the rest of a plan can be made; it stays, for no guest alone needs it.

    The guest's journal holds it meanwhile, and afterwards the NIC's own record. Raises as `execute` does.
    """
    execute(guest, replace(plan, operations=plan.made_first), host, before)
    _leave(guest.uuid, before, host)


def perform(operation: Operation, host: Host) -> None:
    """Apply a step that belongs to no guest. The caller has locked its NIC."""
    _apply(operation, "", host, [])


def _apply(operation: Operation, where: str, host: Host, done: list[Operation] | None) -> None:
    """Apply one step and put it into `done`, also one that fails and could not be put back.

    Without `done` another interface of the guest needs the step, and nothing of it is put back.
    """
    try:
        with error_context(where) if where else nullcontext():
            operation.apply(host)
    except VepaError:
        if done is not None and _stays(operation, host):
            done.append(operation)
        raise
    if done is not None:
        done.append(operation)


def _stays(operation: Operation, host: Host) -> bool:
    """Put back what a failed step has done; tell whether it may hold nevertheless, because that failed too."""
    try:
        operation.undo_failed(host)
    except VepaError:
        # The error of the step itself is the one to raise.
        with suppress(VepaError):
            return not any(operation.verify(host))
        return True
    return False


def _places(guest: Guest, plan: Plan) -> dict[Operation, str]:
    """Name for each step of a plan the interface that needs it."""
    return {operation: _where(guest, plan.interfaces.get(operation, ())) for operation in plan.operations}


def _where(guest: Guest, aliases: Iterable[str]) -> str:
    """Name the first of a guest's interfaces that need a step; "" for what the whole guest needs."""
    return next((request.where for request in guest.requests if request.alias in aliases), "")


def repair(operations: Iterable[Operation], host: Host) -> tuple[str, ...]:
    """Apply steps again that have drifted, those that a running guest does not notice.

    Returns what had drifted, once, and whether it was repaired. One that fails does not keep the others from it.
    """
    return tuple(dict.fromkeys(line for operation in operations for line in _repaired(operation, host)))


def _repaired(operation: Operation, host: Host) -> Iterator[str]:
    drifts = tuple(operation.verify(host))
    if drifts and operation.reapply_safe:
        try:
            operation.apply(host)
        except VepaError as error:
            yield str(error)
        left = set(operation.verify(host))
        yield from (drift if drift in left else f"{drift}: repaired" for drift in drifts)
    else:
        yield from drifts


def operations_of(journal: Journal) -> tuple[Operation, ...]:
    """Return the operations that a journal holds; StateError where one is not known."""
    return tuple(from_record(record) for record in journal.operations)


def undo(journal: Journal, host: Host, rest: Journal | None = None) -> tuple[VepaError, ...]:
    """Undo everything that a journal holds and leave `rest` in its place, or nothing.

    The caller has locked the guest and its NICs. One failure does not keep the rest from being
    undone, nor does a journal that cannot be written: it holds more than is left then, and undoing that once more does
    no harm. Returns what failed; that stays in the journal too, for `reconcile`.
    """
    return _undo(journal, operations_of(journal), host, rest)


def _undo(
    journal: Journal, operations: tuple[Operation, ...], host: Host, rest: Journal | None
) -> tuple[VepaError, ...]:
    """Undo these; of the journal only what fails is kept, or what never was done could be undone later."""
    failed = _undo_all(operations, host)
    stuck = {identity_key(operation.to_record()) for operation, _ in failed}
    records = tuple(record for record in journal.operations if identity_key(record) in stuck)
    left = replace(journal, operations=records) if records else None
    errors: list[VepaError] = [error for _, error in failed]
    try:
        _leave(journal.uuid, rest.merge(left) if rest and left else rest or left, host)
    except StateError as error:
        errors.append(error)
    return tuple(errors)


def _leave(uuid: str, journal: Journal | None, host: Host) -> None:
    """Have this be a guest's journal from now on, or none."""
    if journal:
        host.store.save(journal)
    else:
        host.store.forget(uuid)


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
    return tuple(dict.fromkeys(drift for operation in operations for drift in operation.verify(host)))


def check(guest: Guest, journal: Journal, host: Host) -> None:
    """Raise KernelError where something is not as the journal's operations leave it."""
    aliases = (record.get(INTERFACES, ()) for record in journal.operations)
    verify_all(
        {step: _where(guest, needing) for step, needing in zip(operations_of(journal), aliases, strict=True)}, host
    )


def verify_all(operations: Mapping[Operation, str], host: Host) -> None:
    """Raise KernelError where something is not as these operations leave it; the error is the difference.

    What an operation is mapped to names the interface that needs it, "" where that is the whole guest.
    """
    found: dict[str, list[str]] = {}
    for operation, where in operations.items():
        found.setdefault(where, []).extend(operation.verify(host))
    texts = [
        f"{where}: {said}" if where else said
        for where, drifts in found.items()
        if (said := ", ".join(dict.fromkeys(drifts)))
    ]
    if texts:
        raise KernelError(
            ", and ".join(texts), "see that nothing else manages these devices, then start the guest again"
        )
