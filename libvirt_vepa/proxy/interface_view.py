# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host definitions as clients of libvirt's see them: interfaces that have a name, a MAC and a state."""

from __future__ import annotations

from dataclasses import dataclass

from libvirt_vepa.errors import printable
from libvirt_vepa.host import nic_names
from libvirt_vepa.model.interface import NicDefinition
from libvirt_vepa.rpc import procedures
from libvirt_vepa.store import definitions


@dataclass(frozen=True)
class Nic:
    """A definition, by its name, and what it names.

    The MAC is that of the device, empty where there is none. It is active where the device's operstate is
    up, which is how libvirt's own driver has it (interface_backend_udev.c), so that a definition and its device
    never differ. A damaged definition is inactive and has no MAC; who reads it is told what is wrong.
    """

    definition: str
    mac: bytes = b""
    active: bool = False

    @property
    def name(self) -> bytes:
        """What clients call it; a file that nobody may name like that can still be seen."""
        return printable(self.definition).encode()

    @property
    def encoded(self) -> bytes:
        """The interface as it goes over the wire."""
        return procedures.interface(self.name, self.mac)


def defined() -> tuple[Nic, ...]:
    """Return all of them. Raises HostError where the folder cannot be read, KernelError where /sys cannot."""
    return tuple(map(_nic, definitions.names()))


def find(name: bytes) -> Nic | None:
    """Return the one that clients call so; raises as `defined`."""
    return next((_nic(each) for each in definitions.names() if printable(each).encode() == name), None)


def shown(definition: NicDefinition) -> Nic:
    """Return a definition as clients see it. Raises KernelError where the kernel does not tell, and HostError."""
    mac, running = nic_names.state(definition)
    return Nic(definition.name, mac.encode(), running)


def _nic(definition: str) -> Nic:
    found = definitions.load_or_error(definition)
    return shown(found) if isinstance(found, NicDefinition) else Nic(definition)
