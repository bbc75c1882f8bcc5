# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the NIC of a definition is called now. Clients that list definitions load this, and seldom need pyroute2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from libvirt_vepa.errors import not_installed
from libvirt_vepa.kernel import pci, sysfs
from libvirt_vepa.model.interface import NicDefinition

if TYPE_CHECKING:
    from libvirt_vepa.kernel.rtnetlink import Netlink


def find(definition: NicDefinition, netlink: Netlink) -> tuple[str, ...]:
    """Return what the NICs that a definition means are called now: one, but for a MAC that two have or nobody."""
    if definition.address:
        name = pci.device_of(definition.address)
        return (name,) if name else ()
    found = netlink.with_mac(definition.mac) if definition.mac else (netlink.find(definition.device),)
    return tuple(link.name for link in found if link)


def state(definition: NicDefinition) -> tuple[str, bool]:
    """Return the MAC of a definition's NIC and whether it is up; "" and False where there is none, or more than one.

    Raises KernelError where the kernel does not tell, and HostError where pyroute2 is needed and missing.
    """
    device = _device(definition)
    return (sysfs.address(device), sysfs.is_running(device)) if device else ("", False)


def _device(definition: NicDefinition) -> str:
    """Return the name, found as a guest's start does; "" where there is none, or more than one."""
    if definition.address:
        return pci.device_of(definition.address) or ""
    if definition.device and sysfs.address(definition.device):
        return definition.device
    try:
        # It takes long to load, and most definitions can do without: there is a device of the name they give.
        from libvirt_vepa.kernel.rtnetlink import Netlink
    except ImportError as error:
        raise not_installed(error) from error
    with Netlink() as netlink:
        names = find(definition, netlink)
    return names[0] if len(names) == 1 else ""
