# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The beginning of a definition: its NIC and its bridge are no guest's device, as far as that can be seen now."""

from __future__ import annotations

from pathlib import Path

from libvirt_vepa.errors import InUseError
from libvirt_vepa.kernel import sysfs
from libvirt_vepa.model.interface import NicDefinition
from libvirt_vepa.store import definitions
from libvirt_vepa.store.store import Store
from libvirt_vepa.xml import definition

OTHER_NIC = "name a NIC or a bridge of the host"


def define(data: bytes, origin: str, store: Store, directory: Path | None = None) -> NicDefinition:
    """Read a definition and keep it, in the place of an earlier one of that name.

    Raises XmlError where it cannot be read, InUseError where it names a guest's device, HostError where it cannot be
    kept; the earlier one stays then.
    """
    found = definition.read(data, origin)
    for name in filter(None, (found.device, found.bridge)):
        _reject_guest_device(found, name, store)
    definitions.keep(found, directory)
    return found


def _reject_guest_device(found: NicDefinition, name: str, store: Store) -> None:
    what, holder = f"'{found.name}' names {name}", store.readable_holder("device", name)
    if holder:
        whose = f"which is the device of guest '{holder.guest}' ({holder.uuid})"
        raise InUseError(f"{what}, {whose}", f"{OTHER_NIC}, or stop that guest")
    kind = sysfs.guest_kind(name)
    if kind:
        raise InUseError(f"{what}, which is a {kind}, as guests have it", OTHER_NIC)
