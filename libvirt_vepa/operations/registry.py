# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of operation by its name, so that a journal can be read again. To import a kind is to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from libvirt_vepa.errors import NewerStateError
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.operations import device, nic, source_filter, vf
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.store.journal import INTERFACES

MODULES = (device, nic, vf, source_filter)
KNOWN: Mapping[str, type[Operation]] = dict(Operation.kinds)
# What journals of earlier versions call them.
FORMER = {
    "TakeLease": "AcquireLease",
    "SetUp": "SetLinkUp",
    "AwaitNode": "WaitForTapNode",
    "MakeVfs": "CreateVfs",
    "Share": "HoldSharedSetting",
    "AwaitStation": "VerifyOffload",
    "HearNoSiblings": "DropReflectedFrames",
    "KnowSiblings": "UpdateVfMacSet",
}


@dataclass(frozen=True)
class _Fields:
    """The names of what an operation holds: all, those without a default, and those that name a NIC."""

    all: frozenset[str]
    needed: frozenset[str]
    keys: frozenset[str]

    @classmethod
    def of(cls, kind: type[Operation]) -> _Fields:
        found = fields(kind)
        return cls(
            all=frozenset(field.name for field in found),
            needed=frozenset(field.name for field in found if field.default is MISSING),
            keys=frozenset(field.name for field in found if field.type == NicKey.__name__),
        )


# Looked up once: `status` reads thousands of records.
FIELDS = {name: _Fields.of(kind) for name, kind in KNOWN.items()}


def from_record(record: Mapping[str, Any]) -> Operation:
    """Return the operation that `record` made; NewerStateError where this version does not know it.

    An older version may have written less, where that has a default.
    """
    values = dict(record) if isinstance(record, dict) else {}
    values.pop(INTERFACES, None)
    name = str(values.pop("operation", ""))
    name = FORMER.get(name, name)
    if name not in KNOWN or not FIELDS[name].needed <= values.keys() <= FIELDS[name].all:
        raise NewerStateError(
            f"the journal holds an operation that is not known here: {record}",
            "install the libvirt-vepa that wrote it again",
        )
    keys = FIELDS[name].keys
    return KNOWN[name](**{key: NicKey(value) if key in keys else value for key, value in values.items()})
