# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was done for one guest, as values: the journal that `state` keeps on disk."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from libvirt_vepa.model.address import NicKey

INTERFACES = "interfaces"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Allocation:
    """Which NIC one interface of a guest stands on: the request's alias, its definition's name, its device.

    `nic` is what the NIC was called when it began, `card` what names it since.
    """

    alias: str
    name: str
    device: str
    nic: str
    card: NicKey
    mode: str


@dataclass(frozen=True)
class Journal:
    """What was done, or was about to be done, for one guest.

    `operations` are records of operations in the order they are applied; `interfaces` in a record
    are the aliases of those that need it, a record without it is the whole guest's. `written` (ns
    since the epoch) tells two journals of one guest apart.
    """

    uuid: str
    guest: str
    uses: tuple[Allocation, ...]
    operations: tuple[Record, ...]
    written: int = 0

    @property
    def nics(self) -> tuple[NicKey, ...]:
        """The NICs that the guest stands on, each once, in the order in which they are locked."""
        return tuple(sorted({use.card for use in self.uses}))

    def uses_without(self, aliases: Collection[str]) -> tuple[Allocation, ...]:
        """Return what is used by interfaces that have none of these aliases."""
        return tuple(use for use in self.uses if use.alias not in aliases)

    def merge(self, other: Journal) -> Journal:
        """Return a journal that holds what either holds; what both hold, once, for the interfaces of both."""
        records = {identity_key(record): record for record in self.operations}
        for record in other.operations:
            mine = records.setdefault(identity_key(record), record)
            if INTERFACES in mine:
                both = dict.fromkeys((*mine[INTERFACES], *record.get(INTERFACES, ())))
                records[identity_key(record)] = {**mine, INTERFACES: list(both)}
        uses = tuple(dict.fromkeys((*self.uses, *other.uses)))
        return Journal(self.uuid, self.guest, uses, tuple(records.values()))

    def split(self, alias: str) -> tuple[Journal | None, Journal]:
        """Return what is left without one interface, None where that is nothing, and what is that interface's alone."""
        rest, part = [], []
        for record in self.operations:
            others = [other for other in record.get(INTERFACES, ("",)) if other != alias]
            if others:
                rest.append({**record, INTERFACES: others} if INTERFACES in record else record)
            else:
                part.append(record)
        uses = tuple(use for use in self.uses if use.alias != alias)
        left = Journal(self.uuid, self.guest, uses, tuple(rest)) if uses or rest else None
        return left, Journal(self.uuid, self.guest, tuple(use for use in self.uses if use.alias == alias), tuple(part))


def identity_key(record: Record) -> str:
    """Return what a record says, apart from for whom, and from what a NIC that is known otherwise was called."""
    left_out = {INTERFACES, "nic"} if record.get("card") else {INTERFACES}
    return json.dumps({key: value for key, value in record.items() if key not in left_out}, sort_keys=True)
