# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operations on a NIC with SR-IOV or VMDq: its VFs, its embedded switch, its VMDq pools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from libvirt_vepa.errors import InUseError, KernelError
from libvirt_vepa.host import sriov_inventory
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.rtnetlink import Link
from libvirt_vepa.model.address import MacAddress, NicKey, PciAddress
from libvirt_vepa.operations.base import NeededSetting, Operation
from libvirt_vepa.store.shared_settings import OFFLOAD, SWITCH, SharedSetting

# A record of VFs that a definition has made.
VFS = "vfs"
ON, OFF = "on", "off"
# Drivers that reset the whole NIC, and with it all VFs, when its switch gets another mode (i40e_ndo_bridge_setlink).
RESETTING = frozenset({"i40e"})


@dataclass(frozen=True)
class CreateVfs(Operation):
    """Make VFs where there are none; they stay until the definition that wants them is removed (`RemoveVfs`)."""

    nic: str
    address: NicKey
    count: int
    name: str
    makes_vfs = True

    def describe(self) -> str:
        return f"make {self.count} VFs of {self.nic}"

    def apply(self, host: Host) -> None:
        address = PciAddress.parse(self.address)
        # Whoever is killed in here leaves a record, and the definition's end puts back what there is.
        host.store.shared.save(SharedSetting(VFS, self.address, "0", str(self.count), {self.name: self.name}))
        # Some drivers make none while the NIC is down (bnxt_sriov_configure).
        host.netlink.set_up(host.get_nic(self.nic, self.address))
        pci.set_count(address, self.count)
        pci.await_devices(tuple(vf.address for vf in pci.vfs_of(address)), pci.SECONDS)

    def verify(self, host: Host) -> Iterator[str]:
        now = pci.counts(PciAddress.parse(self.address))[1]
        if now != self.count:
            yield f"{self.nic} has {now} VFs instead of {self.count}"

    def undo(self, host: Host) -> None:
        # VFs that are there stay the definition's. Those that others make later are not.
        if not pci.counts(PciAddress.parse(self.address))[1]:
            host.store.shared.delete(VFS, self.address)

    undo_failed = undo


@dataclass(frozen=True)
class RemoveVfs(Operation):
    """Remove the VFs that were made for a definition, whose end this is; others than those stay."""

    nic: str
    address: NicKey
    count: int
    name: str

    @classmethod
    def recorded(cls, sharing: SharedSetting, name: str) -> RemoveVfs:
        """Return what removes the VFs that a record tells of, for the definition of that name."""
        nic = (sharing.card.address and pci.device_of(sharing.card.address)) or sharing.card
        return cls(nic, sharing.card, int(sharing.value), name)

    def describe(self) -> str:
        return f"remove the {self.count} VFs of {self.nic}"

    def apply(self, host: Host) -> None:
        sharing = host.store.shared.find(VFS, self.address)
        if sharing is None or self.name not in sharing.users:
            return
        address = PciAddress.parse(self.address)
        if pci.counts(address)[1] == self.count:
            pci.set_count(address, 0)
        host.store.shared.delete(VFS, self.address)

    def verify(self, host: Host) -> Iterator[str]:
        sharing = host.store.shared.find(VFS, self.address)
        if sharing and self.name in sharing.users:
            yield f"{self.nic} has the VFs that were made for '{self.name}'"


@dataclass(frozen=True)
class HoldSharedSetting(Operation):
    """Have a setting of a NIC as a guest needs it, together with all guests that need it so; the last puts it back.

    `kind` is `hwmode` (the embedded switch: `veb` or `vepa`) or `l2-fwd-offload` (`on`). A NIC without VFs and VMDq
    guests
    has no switch in use, whatever its driver says, and none is set: its record has no `original` until a later user
    finds one.
    """

    kind: str
    nic: str
    card: NicKey
    value: str
    uuid: str
    guest: str

    @property
    def shared_setting(self) -> NeededSetting:
        return NeededSetting(self.kind, self.nic, self.value)

    def describe(self) -> str:
        if self.kind == SWITCH:
            return f"have the embedded switch of {self.nic}, if in use, in {self.value} while a guest needs it"
        return f"have {self.kind} of {self.nic} {self.value} while a guest needs it"

    def apply(self, host: Host) -> None:
        link = host.get_nic(self.nic, self.card)
        sharing = host.store.shared.find(self.kind, self.card)
        if sharing and sharing.value != self.value and sharing.other_user(self.uuid):
            raise disagree(link.name, sharing, self.uuid)
        found = self._must_read(host, link)
        sharing = sharing or SharedSetting(self.kind, self.card, found, self.value, {})
        sharing = replace(sharing, original=sharing.original or found, value=self.value)
        host.store.shared.save(sharing.with_user(self.uuid, self.guest))
        if found not in ("", self.value):
            self._set(host, link, self.value)

    def verify(self, host: Host) -> Iterator[str]:
        link = host.find_nic(self.nic, self.card)
        if link and self._is_idle(host):
            return
        found = self._read(host, link) if link else None
        if found != self.value:
            yield f"{self.nic} has {self.kind} {found or 'none'} instead of {self.value}"

    def undo(self, host: Host) -> None:
        sharing = host.store.shared.find(self.kind, self.card)
        if sharing is None or self.uuid not in sharing.users:
            return
        left = sharing.without_user(self.uuid)
        if left.users:
            host.store.shared.save(left)
            return
        link = host.find_nic(self.nic, self.card)
        # What has no such setting now, a NIC that is gone or one without any VMDq guest, has nothing to be put back.
        if link and sharing.original and self._read(host, link) not in (None, sharing.original):
            if self._must_stay(host, link):
                host.store.shared.save(left)
                return
            self._set(host, link, sharing.original)
        host.store.shared.delete(self.kind, self.card)

    undo_failed = undo

    def _must_stay(self, host: Host, link: Link) -> bool:
        """Tell whether to put it back is for a later last user, because others would lose the network meanwhile."""
        address = pci.function_of(link.name) if self.kind == SWITCH else None
        if address is None or pci.driver_of(address) not in RESETTING:
            return False
        return bool(sriov_inventory.inspect(link, (), self.uuid, host.netlink, host.store).users)

    def _is_idle(self, host: Host) -> bool:
        """Tell whether there is no embedded switch now: neither VFs nor offloaded macvtaps, this guest's own too."""
        if self.kind != SWITCH or (self.card.address and pci.counts(self.card.address)[1]):
            return False
        offloads = host.store.shared.find(OFFLOAD, self.card)
        return not (offloads and offloads.users)

    def _must_read(self, host: Host, link: Link) -> str:
        if self._is_idle(host):
            return ""
        found = self._read(host, link)
        if found is None:
            raise KernelError(
                f"{self.nic} has no {self.kind} that could be set",
                "ask for mode bridge, or use a NIC whose driver has it",
            )
        return found

    def _read(self, host: Host, link: Link) -> str | None:
        if self.kind == SWITCH:
            return host.netlink.switch_mode(link)
        feature = host.netlink.feature(link, self.kind)
        if feature is None:
            return None
        return ON if feature.on else OFF

    def _set(self, host: Host, link: Link, value: str) -> None:
        if self.kind == SWITCH:
            host.netlink.set_switch_mode(link, value)
        else:
            host.netlink.set_feature(link, self.kind, value == ON)


def disagree(nic: str, sharing: SharedSetting, uuid: str) -> InUseError:
    """Return the error for a guest that needs a shared setting otherwise than another one does."""
    what = "embedded switch" if sharing.kind == SWITCH else sharing.kind
    # One that runs may need it for an interface that it has already.
    holder = sharing.other_user(uuid) or sharing.other_user("")
    mode = f"in {sharing.value}" if sharing.original else f"to be in {sharing.value}, once there is one,"
    return InUseError(
        f"the {what} of {nic} is {mode} for guest '{holder}'",
        "ask for the mode that fits, or stop that guest",
    )


@dataclass(frozen=True)
class VerifyOffload(Operation):
    """See that the NIC forwards to a macvtap by itself; the kernel falls back to software without a word.

    The MAC of an offloaded macvtap is not in the NIC's unicast list (macvlan_open in drivers/net/macvlan.c).
    """

    device: str
    nic: str
    mac: str
    starts_switch = True

    def describe(self) -> str:
        return f"see that {self.nic} forwards to {self.device} in hardware"

    def apply(self, host: Host) -> None:
        for drift in self.verify(host):
            raise KernelError(
                drift, "its pools are used up, or the NIC has XDP or DCB on; stop a guest, or use another NIC"
            )

    def verify(self, host: Host) -> Iterator[str]:
        link = host.netlink.find(self.nic)
        if link and MacAddress.parse(self.mac) in host.netlink.unicast(link):
            yield f"{self.nic} forwards to {self.device} in software"
