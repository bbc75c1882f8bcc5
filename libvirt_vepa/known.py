# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of operation by its name, so that a journal can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from libvirt_vepa.cards import AwaitStation, MakeVfs, Share
from libvirt_vepa.errors import NewerStateError
from libvirt_vepa.journal import INTERFACES
from libvirt_vepa.operations import (
    AwaitNode,
    CreateMacvtap,
    CreateTap,
    DisableIpv6,
    JoinBridge,
    Operation,
    ReceiveAllMulticast,
    SetUp,
    TakeLease,
)
from libvirt_vepa.siblings import HearNoSiblings, KnowSiblings
from libvirt_vepa.virtual import SetVf, SetVfMac, SetVfMtu, SetVfVlan

DEVICES = (TakeLease, SetUp, CreateMacvtap, CreateTap, DisableIpv6, ReceiveAllMulticast, JoinBridge, AwaitNode)
CARDS = (MakeVfs, Share, SetVfMac, SetVfMtu, SetVfVlan, SetVf, AwaitStation, KnowSiblings, HearNoSiblings)
KNOWN: dict[str, type[Operation]] = {kind.__name__: kind for kind in (*DEVICES, *CARDS)}


def from_record(record: Mapping[str, Any]) -> Operation:
    """Return the operation that `record` made; NewerStateError where this version does not know it.

    An older version may have written less, where that has a default.
    """
    values = dict(record) if isinstance(record, dict) else {}
    values.pop(INTERFACES, None)
    kind = KNOWN.get(str(values.pop("operation", "")))
    if kind is None or not _fit(kind, set(values)):
        raise NewerStateError(
            f"the journal holds an operation that is not known here: {record}",
            "install the libvirt-vepa that wrote it again",
        )
    return kind(**values)


def _fit(kind: type[Operation], names: set[str]) -> bool:
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    return needed <= names <= {field.name for field in fields(kind)}
