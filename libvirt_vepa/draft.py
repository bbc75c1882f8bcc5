# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plan while it is made: what the interfaces of a guest have asked for so far, and that it goes together. Pure."""

from __future__ import annotations

from libvirt_vepa.cards import AwaitStation, MakeVfs, Share
from libvirt_vepa.errors import HostError
from libvirt_vepa.facts import Facts, Nic
from libvirt_vepa.inventory import VF
from libvirt_vepa.journal import Use
from libvirt_vepa.model import Guest
from libvirt_vepa.operations import Operation, TakeLease


class Draft:
    """The steps, each with the aliases of the interfaces that need it, and what else a plan says.

    `shares` are all that was asked for of a NIC, also what is no step yet; `promised` are the numbers of VFs that are
    to be made first, by the NIC's key.
    """

    def __init__(self, guest: Guest, facts: Facts) -> None:
        self.guest, self.facts = guest, facts
        self.steps: dict[Operation, tuple[str, ...]] = {}
        self.uses: list[Use] = []
        self.shares: list[Share] = []
        self.promised: dict[str, list[int]] = {}
        self.remarks: list[str] = []

    @property
    def leased(self) -> set[str]:
        """The VFs that the interfaces before this one get."""
        return {step.key for step in self.steps if isinstance(step, TakeLease) and step.kind == VF}

    def add(self, operation: Operation, alias: str) -> None:
        """Take a step once, whoever needs it; raises HostError where two interfaces of the guest need it otherwise."""
        before = self.steps.get(operation, ())
        if isinstance(operation, Share):
            self.agree(operation)
            if isinstance(next(reversed(self.steps), None), AwaitStation):
                # What was set of a switch before there was one is set now.
                self.steps.pop(operation, None)
        self.steps[operation] = tuple(dict.fromkeys((*before, alias)))

    def agree(self, wanted: Share) -> None:
        """Raise HostError where another interface of the guest needs otherwise what this one will share of a NIC."""
        for other in self.shares:
            if (other.kind, other.nic) == (wanted.kind, wanted.nic) and other.value != wanted.value:
                what = f"another interface of this guest needs {other.kind} {other.value} of NIC {other.nic}"
                raise HostError(f"{what}, and this one {wanted.value}", "ask for modes that fit")
        self.shares.append(wanted)

    def made(self, nic: Nic) -> MakeVfs | None:
        """Return what makes VFs of that NIC already."""
        return next((step for step in self.steps if isinstance(step, MakeVfs) and step.address == nic.key), None)
