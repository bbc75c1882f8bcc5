"""Put back what guests left behind that are gone: killed hooks, killed QEMUs, a daemon that was away.

The daemon is asked before any lock is taken, because a hook may hold one while libvirt waits
for that hook. What has changed since then is left alone: its guest has started meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from libvirt_vepa import apply
from libvirt_vepa.errors import NewerStateError, StateError, VepaError
from libvirt_vepa.operations import Host, Operation
from libvirt_vepa.state import Journal

HOLDER = "'libvirt-vepa reconcile'"


@dataclass(frozen=True)
class Leftover:
    """What one guest left: its journal, or None where that is damaged or was only begun; `error` says which."""

    uuid: str
    journal: Journal | None
    error: StateError | None = None

    def describe(self) -> Iterator[str]:
        """Yield what would be undone, one line a step."""
        name = self.journal.guest if self.journal else "unknown"
        for operation in self._steps():
            yield f"guest '{name}' ({self.uuid}): undo: {operation.describe()}"
        if not self.journal:
            yield f"guest {self.uuid}: remove {'a damaged' if self.error else 'the beginning of a'} journal"

    def _steps(self) -> tuple[Operation, ...]:
        return apply.steps(self.journal) if self.journal else ()


def find(host: Host, running: Callable[[], frozenset[str]]) -> tuple[Leftover, ...]:
    """Return what belongs to guests that do not run; `running` asks the daemon, after the journals were read."""
    found = {uuid: _read(uuid, host) for uuid in host.store.guests()}
    alive = running() if found else frozenset()
    return tuple(leftover for uuid, leftover in found.items() if uuid not in alive)


def _read(uuid: str, host: Host) -> Leftover:
    try:
        return Leftover(uuid, host.store.load(uuid))
    except StateError as error:
        return Leftover(uuid, None, error)


def put_back(leftover: Leftover, host: Host) -> tuple[VepaError, ...]:
    """Undo what a guest left, unless its journal has changed since `find`; return what failed."""
    with host.store.lock_guest(leftover.uuid, HOLDER):
        if _read(leftover.uuid, host).journal != leftover.journal:
            return ()
        if leftover.journal is not None:
            with host.store.lock_nics(leftover.journal.nics, HOLDER):
                return apply.undo(leftover.journal, host)
        return _without_journal(leftover, host)


def _without_journal(leftover: Leftover, host: Host) -> tuple[VepaError, ...]:
    """Undo by the leases what a damaged journal no longer tells; then the journal goes too."""
    if isinstance(leftover.error, NewerStateError):
        return (leftover.error,)
    for lease in host.store.leases():
        if lease.uuid == leftover.uuid:
            link = host.netlink.find(lease.key) if lease.kind == "device" else None
            if link is not None and link.kind in ("macvtap", "tun"):
                host.netlink.delete(link)
            host.store.drop(lease)
    host.store.forget(leftover.uuid)
    return ()
