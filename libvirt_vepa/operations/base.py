# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an operation is: a small step of a plan that can describe, apply, verify and undo itself.

An operation is a frozen dataclass of plain values, so that the journal can hold it. Settings
may be applied again; what has gone need not be undone. Only the executor applies and undoes operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from libvirt_vepa.host.context import Host
from libvirt_vepa.store.journal import Record


@dataclass(frozen=True)
class NeededSetting:
    """What guests share of a NIC: the kind of the setting, the NIC's name, the value that one of them needs."""

    kind: str
    nic: str
    value: str


@dataclass(frozen=True)
class VfPlace:
    """Which VF an operation sets up: its number at its NIC, and its PCI address."""

    number: int
    address: str


@dataclass(frozen=True)
class Operation:
    """A step of a plan. Every kind of operation is in `kinds`, by its name.

    `reapply_safe` says that a running guest does not notice when the step is applied again, `makes_vfs` that the rest
    of a plan can be made only once this is done, `starts_switch` that the NIC has an embedded switch since then.
    """

    kinds: ClassVar[dict[str, type[Operation]]] = {}
    reapply_safe: ClassVar[bool] = False
    makes_vfs: ClassVar[bool] = False
    starts_switch: ClassVar[bool] = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        Operation.kinds[cls.__name__] = cls

    @property
    def shared_setting(self) -> NeededSetting | None:
        """What the operation has guests share of a NIC, None where that is nothing."""
        return None

    @property
    def vf(self) -> VfPlace | None:
        """The VF that the operation sets up, None where it sets up none."""
        return None

    def describe(self) -> str:
        """Return one line that says what `apply` does."""
        raise NotImplementedError

    def apply(self, host: Host) -> None:
        """Do it. Raises KernelError, InUseError or StateError, and has then changed nothing `undo_failed` misses."""
        raise NotImplementedError

    def verify(self, host: Host) -> Iterator[str]:
        """Yield what is not, or no longer, as `apply` left it: one short text each."""
        raise NotImplementedError

    def undo(self, host: Host) -> None:
        """Put back what `apply` did, all of it or nothing of it. The default is for what goes with its device."""

    def undo_failed(self, host: Host) -> None:
        """Put back what an `apply` that failed has done. The default is for one that has then done nothing.

        What was in its way may be another's.
        """

    def to_record(self) -> Record:
        """Return the operation as the journal and `plan --json` hold it."""
        return {"operation": type(self).__name__, **asdict(self)}
