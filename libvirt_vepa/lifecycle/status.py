# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What guests have of this host's NICs now: the journals beside the kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from libvirt_vepa.errors import VepaError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel.snapshot import Snapshot
from libvirt_vepa.lifecycle import executor
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.operations.base import VfPlace
from libvirt_vepa.store.journal import Allocation


@dataclass(frozen=True)
class InterfaceStatus:
    """One interface of a guest: where it stands, and what is no longer as it was made.

    `nic` is the NIC's name as it is now, `switch` the mode of its embedded switch ('veb' or 'vepa'), None where it has
    none that tells; `vf` is the guest's VF, if it is on one.
    """

    guest: str
    uuid: str
    use: Allocation
    nic: str
    switch: str | None
    vf: VfPlace | None
    drifts: tuple[str, ...]

    @property
    def state(self) -> str:
        """`ok`, or everything that has drifted."""
        return ", ".join(self.drifts) or "ok"

    def row(self) -> tuple[str, ...]:
        """Return it for a table."""
        vf = "-" if self.vf is None else str(self.vf.number)
        return self.guest, self.use.name, self.nic, self.switch or "-", vf, self.use.mode, self.use.device, self.state

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        vf = self.vf and vars(self.vf)
        here = {"nic": self.nic, "switch": self.switch, "vf": vf, "drifts": list(self.drifts)}
        return {"guest": self.guest, "uuid": self.uuid, **vars(self.use), **here}


# What `row` returns.
HEADS = ("Guest", "Name", "NIC", "Switch", "VF", "Mode", "Device", "State")


def interfaces(host: Host) -> tuple[InterfaceStatus, ...]:
    """Return every interface that a journal knows of; a journal that cannot be read is a row of its own.

    The kernel is asked once for all of them.
    """
    with Snapshot() as netlink:
        seen = replace(host, netlink=netlink)
        return tuple(row for uuid in host.store.guests() for row in _rows(uuid, seen))


def _rows(uuid: str, host: Host) -> list[InterfaceStatus]:
    try:
        return _guest(uuid, host)
    except VepaError as error:
        unknown = Allocation("-", "-", "-", "-", NicKey("-"), "-")
        return [InterfaceStatus("-", uuid, unknown, unknown.nic, None, None, (str(error),))]


def _guest(uuid: str, host: Host) -> list[InterfaceStatus]:
    journal = host.store.load(uuid)
    if journal is None:
        return []
    rows = []
    for use in journal.uses:
        # A journal's parts leave out what its interfaces share, such as a NIC that is put up.
        steps = executor.operations_of(journal.split(use.alias)[1])
        vf = next((step.vf for step in steps if step.vf), None)
        rows.append(InterfaceStatus(journal.guest, uuid, use, *_nic(use, host), vf, executor.verify(steps, host)))
    return rows


def _nic(use: Allocation, host: Host) -> tuple[str, str | None]:
    """Return a NIC's name as it is now, and the mode of its embedded switch."""
    link = host.find_nic(use.nic, use.card)
    return (link.name, host.netlink.switch_mode(link)) if link else (use.nic, None)
