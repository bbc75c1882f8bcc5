# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest's device may not be called, and what may not pass for a NIC. Pure."""

from __future__ import annotations

from libvirt_vepa.errors import HostError, InUseError
from libvirt_vepa.host.facts import Facts, Nic
from libvirt_vepa.model.interface import NicDefinition, Request
from libvirt_vepa.store.store import taken

OTHER_NAME = "choose another name in <target dev=…/>"


def check_free(request: Request, facts: Facts) -> None:
    """Raise InUseError where the MAC or the device of a request is another's.

    The MAC comes first, from which the device's name may follow; a guest is named before its
    device, which must not be removed.
    """
    for holder in (facts.macs.get(str(request.mac)), facts.leases.get(request.device)):
        if holder is not None:
            raise taken(holder)
    if request.device in facts.claims:
        raise InUseError(f"device {request.device} would have the name of {facts.claims[request.device]}", OTHER_NAME)
    existing = facts.devices.get(request.device)
    if existing is not None:
        remove = f", or remove it if nothing uses it ('ip link delete {request.device}')"
        remedy = OTHER_NAME + remove if existing.guest_kind else OTHER_NAME
        raise InUseError(f"device {request.device} exists and is not this guest's", remedy)


def reject_guest_device(definition: NicDefinition, nic: Nic) -> None:
    """Raise InUseError or HostError where a definition's NIC is what guests have.

    Such a device may have taken the name of a NIC that is not there yet.
    """
    what, remedy = f"'{definition.name}' is {nic.link.name}", f"define '{definition.name}' with the name of a NIC"
    if nic.holder:
        whose = f"which is the device of guest '{nic.holder.guest}' ({nic.holder.uuid})"
        raise InUseError(f"{what}, {whose}", f"{remedy}, or stop that guest")
    if nic.link.guest_kind:
        raise HostError(f"{what}, which is a {nic.link.guest_kind}, as guests have it, and no NIC", remedy)
