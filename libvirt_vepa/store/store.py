# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libvirt-vepa must not forget while guests run: /run/libvirt/vepa.

    guests/UUID.json   the journal: what was done for one guest, written before it is done
    leases/KIND-KEY    what only one guest may have at a time (a MAC address, a device name, a VF)
    shared/KIND-CARD   what guests share of a NIC, or a definition has made of it: what it was before, and whose it is
    locks/NAME         held while something is decided and done

All of it is gone at reboot, as the devices are. Files appear whole or not at all. Folders and files are root's alone to
read, too: who can open a lock can hold it, and then no guest starts or ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libvirt_vepa.errors import HostError, InUseError, NewerStateError, StateError
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.store import atomic_file, locks
from libvirt_vepa.store.journal import Allocation, Journal, Record
from libvirt_vepa.store.shared_settings import SharedSettingStore

ROOT = Path("/run/libvirt/vepa")
VERSION = 1
LOCK_SECONDS = 30.0
# The kinds of the leases of a VF and of a device's name.
VF, DEVICE = "vf", "device"
ATTEMPTS = 100
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Lease:
    """Something that belongs to one guest at a time, and to which.

    `records` are of operations: what is to be undone with it where the guest's journal is lost.
    """

    kind: str
    key: str
    uuid: str
    guest: str
    records: tuple[Record, ...] = field(default=(), compare=False)

    @property
    def file(self) -> str:
        """The name of its file; the key comes from a MAC or a device name, neither of which has a '/'."""
        return f"{self.kind}-{self.key}"


def taken(holder: Lease) -> InUseError:
    """Return the error that names which guest holds a MAC, a device's name or a VF."""
    return InUseError(
        f"{holder.kind} {holder.key} is in use by guest '{holder.guest}' ({holder.uuid})",
        f"choose another {holder.kind}, or stop that guest",
    )


class Store:
    """The state on disk. Every method raises StateError where the files cannot be read or written."""

    def __init__(self, root: Path = ROOT) -> None:
        self._guests = root / "guests"
        self._leases = root / "leases"
        self.shared = SharedSettingStore(root / "shared")
        self._locks = root / "locks"

    # -- locks

    def lock_guest(self, uuid: str, holder: str) -> AbstractContextManager[None]:
        """Hold a guest: one hook or command at a time works on it."""
        return locks.held(self._locks, (f"guest-{_checked(uuid)}",), holder, LOCK_SECONDS)

    def lock_hotplug(self, uuid: str, holder: str) -> AbstractContextManager[None]:
        """Hold what interfaces a guest has while it runs; always before the guest, which is held for less long."""
        return locks.held(self._locks, (f"hotplug-{_checked(uuid)}",), holder, LOCK_SECONDS)

    def lock_nics(self, keys: Iterable[NicKey], holder: str) -> AbstractContextManager[None]:
        """Hold NICs; always after the guest, and in alphabetical order."""
        return locks.held(self._locks, tuple(f"nic-{key}" for key in sorted(set(keys))), holder, LOCK_SECONDS)

    def sweep_locks(self) -> None:
        """Remove the locks that nobody holds."""
        locks.sweep(self._locks)

    # -- journals

    def save(self, journal: Journal) -> Journal:
        """Write a guest's journal, whole and durable, and return it as it was written."""
        written = Journal(journal.uuid, journal.guest, journal.uses, journal.operations, time.time_ns())
        record = {
            "version": VERSION,
            "uuid": written.uuid,
            "guest": written.guest,
            "written": written.written,
            "uses": [vars(use) for use in written.uses],
            "operations": [dict(operation) for operation in written.operations],
        }
        atomic_file.save(self._journal(written.uuid), json.dumps(record, indent=1) + "\n")
        return written

    def load(self, uuid: str) -> Journal | None:
        """Return a guest's journal, or None where there is none; StateError where it cannot be understood."""
        path = self._journal(uuid)
        with atomic_file.state_errors(f"read {path}"):
            try:
                text = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
            except UnicodeDecodeError as error:
                raise _damaged(path) from error
        return _journal(text, path)

    def forget(self, uuid: str) -> None:
        """Remove a guest's journal and what an interrupted `save` left of it."""
        atomic_file.remove(self._journal(uuid))

    def guests(self) -> tuple[str, ...]:
        """Return the UUIDs of all guests that have a journal, or the beginning of one."""
        found = {path.name.partition(".")[0] for path in atomic_file.entries(self._guests)}
        return tuple(sorted(uuid for uuid in found if UUID_PATTERN.fullmatch(uuid)))

    def require_unused(self, name: str) -> None:
        """Raise InUseError where a guest stands on the NIC of that name."""
        for uuid in self.guests():
            journal = self.load(uuid)
            if journal and any(use.name == name for use in journal.uses):
                raise InUseError(
                    f"'{name}' is in use by guest '{journal.guest}'",
                    "stop that guest first; if it is gone, run 'libvirt-vepa reconcile'",
                )

    # -- leases

    def holder(self, kind: str, key: str) -> Lease | None:
        """Return who holds something, or None where it is free."""
        path = self._leases / f"{kind}-{key}"
        with atomic_file.state_errors(f"read {path}"):
            try:
                return _lease(json.loads(path.read_text(encoding="utf-8")))
            except FileNotFoundError:
                return None
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                remedy = "see with 'libvirt-vepa status' that no guest has it, then remove the file"
                raise StateError(f"{path} is damaged", remedy) from error

    def readable_holder(self, kind: str, key: str) -> Lease | None:
        """Return what `holder` does, and None for a lease that cannot be read, which is for others to tell."""
        with suppress(StateError):
            return self.holder(kind, key)
        return None

    def acquire(self, lease: Lease) -> Lease:
        """Take a lease unless it is held, and return the one that is in force then: check its uuid.

        The file is linked into place whole, which fails where one is already there.
        """
        path = self._leases / lease.file
        temporary = self._unlinked(lease)
        atomic_file.create(temporary, json.dumps(vars(lease)) + "\n")
        try:
            # Who held it may give it back between the two looks.
            for _ in range(ATTEMPTS):
                holder = lease if self._link(temporary, path) else self.holder(lease.kind, lease.key)
                if holder is not None:
                    return holder
        finally:
            # Whether that succeeds or not, the lease is what was found; `drop` removes what stays.
            with suppress(OSError):
                temporary.unlink()
        raise StateError(f"cannot read {path}, which is there", "remove it, then try again")

    def _link(self, temporary: Path, path: Path) -> bool:
        """Give a file its place, unless that is taken."""
        with atomic_file.state_errors(f"write {path}"):
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        return True

    def release(self, lease: Lease) -> None:
        """Give a lease back; one that another guest holds by now is left alone."""
        holder = self.holder(lease.kind, lease.key)
        path = self._leases / lease.file
        with atomic_file.state_errors(f"remove {path}"):
            self._unlinked(lease).unlink(missing_ok=True)
            if holder is not None and holder.uuid == lease.uuid:
                path.unlink(missing_ok=True)

    @contextmanager
    def wait_alone(self, device: str) -> Iterator[bool]:
        """Tell whether nobody else waits until a guest gives this device back, and be the only one for as long.

        It is a lock of the device's lease, so that there is no file more, and none without the lease.
        """
        with ExitStack() as stack:
            with atomic_file.state_errors(f"read {self._leases}"):
                try:
                    lease = stack.enter_context((self._leases / f"{DEVICE}-{device}").open("rb"))
                    fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    alone = True
                except (FileNotFoundError, BlockingIOError):
                    alone = False
            yield alone

    def leases(self) -> tuple[Lease, ...]:
        """Return all leases that are held; one that is damaged tells of nobody."""
        names = sorted(
            path.name for path in atomic_file.entries(self._leases) if atomic_file.TEMPORARY not in path.name
        )
        found = (self.readable_holder(*name.split("-", 1)) for name in names if "-" in name)
        return tuple(lease for lease in found if lease and UUID_PATTERN.fullmatch(lease.uuid))

    # -- files

    def _journal(self, uuid: str) -> Path:
        return self._guests / f"{_checked(uuid)}.json"

    def _unlinked(self, lease: Lease) -> Path:
        """Where a lease is written before it is taken: a file for each guest that tries."""
        return self._leases / f"{lease.file}{atomic_file.TEMPORARY}-{lease.uuid}"


def _checked(uuid: str) -> str:
    """Return a UUID in libvirt's spelling; it becomes a file's name, so nothing else will do."""
    if not UUID_PATTERN.fullmatch(uuid):
        raise HostError(f"'{uuid}' is not the UUID of a guest", "give the domain's XML as libvirt writes it")
    return uuid


def _lease(values: dict[str, Any]) -> Lease:
    """Read a lease; an old one has no records."""
    return Lease(**{**values, "records": tuple(values.get("records", ()))})


def _journal(text: str, path: Path) -> Journal:
    try:
        record = json.loads(text)
        if record["version"] > VERSION:
            raise NewerStateError(
                f"{path} was written by a newer libvirt-vepa (version {record['version']}, known is {VERSION})",
                "install that one again, or stop the guest and remove the file and the guest's devices by hand",
            )
        uses = tuple(Allocation(**{**use, "card": NicKey(use["card"])}) for use in record["uses"])
        return Journal(record["uuid"], record["guest"], uses, tuple(record["operations"]), record["written"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> StateError:
    return StateError(f"{path} is damaged", "stop the guest, then run 'libvirt-vepa reconcile'")
