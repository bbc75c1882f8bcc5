# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of operation by its name, so that a journal can be read again. To import a kind is to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from libvirt_vepa.errors import NewerStateError
from libvirt_vepa.operations import device, nic, source_filter, vf
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.store.journal import INTERFACES

MODULES = (device, nic, vf, source_filter)
KNOWN: Mapping[str, type[Operation]] = dict(Operation.kinds)


def from_record(record: Mapping[str, Any]) -> Operation:
    """Return the operation that `record` made; NewerStateError where this version does not know it."""
    values = dict(record) if isinstance(record, dict) else {}
    values.pop(INTERFACES, None)
    kind = KNOWN.get(str(values.pop("operation", "")))
    if kind is None or set(values) != {field.name for field in fields(kind)}:
        raise NewerStateError(
            f"the journal holds an operation that is not known here: {record}",
            "install the libvirt-vepa that wrote it again",
        )
    return kind(**values)
