# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of operation by its name, so that a journal can be read again. To import a kind is to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
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


def from_record(record: Mapping[str, Any]) -> Operation:
    """Return the operation that `record` made; NewerStateError where this version does not know it.

    An older version may have written less, where that has a default.
    """
    values = dict(record) if isinstance(record, dict) else {}
    values.pop(INTERFACES, None)
    name = str(values.pop("operation", ""))
    kind = KNOWN.get(FORMER.get(name, name))
    if kind is None or not _fit(kind, set(values)):
        raise NewerStateError(
            f"the journal holds an operation that is not known here: {record}",
            "install the libvirt-vepa that wrote it again",
        )
    keys = {each.name for each in fields(kind) if each.type == NicKey.__name__}
    return kind(**{name: NicKey(value) if name in keys else value for name, value in values.items()})


def _fit(kind: type[Operation], names: set[str]) -> bool:
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    return needed <= names <= {field.name for field in fields(kind)}
