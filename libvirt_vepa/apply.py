"""Run a plan, the journal first, and undo it in reverse.

The journal of a guest holds its whole plan before the first step is taken, so whatever ends
this process, everything that was done can be found and undone.
"""

from __future__ import annotations

from contextlib import suppress

from libvirt_vepa.errors import KernelError, StateError, VepaError
from libvirt_vepa.model import Guest
from libvirt_vepa.operations import Host, Operation, from_record
from libvirt_vepa.plan import Plan
from libvirt_vepa.state import Journal


def run(guest: Guest, plan: Plan, host: Host) -> None:
    """Apply a plan and read back that it holds. The caller has locked the guest and its NICs.

    Raises what the failing step raised, after everything was undone.
    """
    records = tuple(operation.record() for operation in plan.operations)
    journal = host.store.save(Journal(guest.uuid, guest.name, plan.uses, records))
    done: list[Operation] = []
    try:
        for operation in plan.operations:
            operation.apply(host)
            done.append(operation)
        must_hold(plan.operations, host)
    except VepaError:
        # A step that failed has done nothing: what is in its way may be another's. Nor does what
        # cannot be undone, or written down, hide why it had to be; the journal still tells of it.
        with suppress(StateError):
            _undo(journal, tuple(done), host)
        raise


def steps(journal: Journal) -> tuple[Operation, ...]:
    """Return the operations that a journal holds; StateError where one is not known."""
    return tuple(from_record(record) for record in journal.operations)


def undo(journal: Journal, host: Host) -> tuple[VepaError, ...]:
    """Undo everything that a journal holds and remove it. The caller has locked the guest and its NICs.

    One failure does not keep the rest from being undone. Returns what failed; then the journal
    stays, with only that, for `reconcile`.
    """
    return _undo(journal, steps(journal), host)


def _undo(journal: Journal, operations: tuple[Operation, ...], host: Host) -> tuple[VepaError, ...]:
    """Undo these; what fails is all that the journal keeps, or what never was done could be undone later."""
    failed = _undo_all(operations, host)
    if failed:
        left = tuple(operation.record() for operation, _ in reversed(failed))
        host.store.save(Journal(journal.uuid, journal.guest, journal.uses, left))
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


def must_hold(operations: tuple[Operation, ...], host: Host) -> None:
    """Raise KernelError where something is not as these operations leave it; the error is the difference."""
    drifts = verify(operations, host)
    if drifts:
        raise KernelError(", ".join(drifts), "see that nothing else manages these devices, then start the guest again")
