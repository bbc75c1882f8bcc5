# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plan while it is made: what the interfaces of a guest have asked for so far, and that it goes together. Pure."""

from __future__ import annotations

from libvirt_vepa.errors import HostError
from libvirt_vepa.host.facts import Facts
from libvirt_vepa.model.interface import Guest
from libvirt_vepa.operations.base import NeededSetting, Operation
from libvirt_vepa.operations.nic import CreateVfs
from libvirt_vepa.store.journal import Allocation


class PlanBuilder:
    """The steps, each with the aliases of the interfaces that need it, and what else a plan says.

    `shared` are all settings that were asked for of a NIC, also what is no step yet. By the NIC's key: `made` is what
    makes VFs first, `reserved` are the numbers of those that interfaces will get. `leased` are the addresses of the
    VFs that interfaces get now.
    """

    def __init__(self, guest: Guest, facts: Facts) -> None:
        self.guest, self.facts = guest, facts
        self.steps: dict[Operation, tuple[str, ...]] = {}
        self.uses: list[Allocation] = []
        self.shared: list[NeededSetting] = []
        self.made: dict[str, CreateVfs] = {}
        self.leased: set[str] = set()
        self.reserved: dict[str, list[int]] = {}
        self.remarks: list[str] = []

    def add(self, operation: Operation, alias: str) -> None:
        """Take a step once, whoever needs it; raises HostError where two interfaces of the guest need it otherwise."""
        before = self.steps.get(operation, ())
        if operation.shared_setting:
            self.agree(operation.shared_setting)
            last = next(reversed(self.steps), None)
            if last and last.starts_switch:
                # What was set of a switch before there was one is set now.
                self.steps.pop(operation, None)
        self.steps[operation] = tuple(dict.fromkeys((*before, alias)))

    def agree(self, wanted: NeededSetting) -> None:
        """Raise HostError where another interface of the guest needs otherwise what this one will share of a NIC."""
        for other in self.shared:
            if (other.kind, other.nic) == (wanted.kind, wanted.nic) and other.value != wanted.value:
                what = f"another interface of this guest needs {other.kind} {other.value} of NIC {other.nic}"
                raise HostError(f"{what}, and this one {wanted.value}", "ask for modes that fit")
        self.shared.append(wanted)
