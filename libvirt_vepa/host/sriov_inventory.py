# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A read-only look at a card: its VFs and who has them, its embedded switch, what guests share of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from libvirt_vepa.kernel import pci, sysfs
from libvirt_vepa.kernel.rtnetlink import Feature, Link, Netlink, Vf
from libvirt_vepa.model.address import NicKey, PciAddress
from libvirt_vepa.model.interface import HostType
from libvirt_vepa.store.shared_settings import OFFLOAD, SWITCH, SharedSetting
from libvirt_vepa.store.store import VF, Lease, Store


@dataclass(frozen=True)
class VfInfo:
    """A VF: what the PF says of it, its netdev in this namespace, the guest that holds it.

    `unavailable_reason` says why nobody may take it, "" where somebody may.
    """

    number: int
    address: PciAddress
    link: Link | None
    pf_view: Vf | None
    holder: Lease | None
    unavailable_reason: str

    @property
    def user(self) -> str:
        """Who or what has it, "" where it is free."""
        return f"guest '{self.holder.guest}'" if self.holder else self.unavailable_reason


@dataclass(frozen=True)
class NicHardware:
    """What a NIC is beside a network device.

    `address` is None for one that is no function of a PCI card, `driver` empty for one that has none. `eswitch` is
    devlink's word. `total` counts the VFs that can be made, `functions` are those that are. `switch_mode` and
    `offload` are None where the driver has no control of it, and most tell no mode of a switch that is not `in_use`;
    `shared` is what guests share now, by kind.
    """

    driver: str
    address: PciAddress | None = None
    eswitch: str = "legacy"
    total: int = 0
    functions: tuple[VfInfo, ...] = ()
    switch_mode: str | None = None
    offload: Feature | None = None
    shared: Mapping[str, SharedSetting] = field(default_factory=dict)

    @property
    def in_use(self) -> bool:
        """Whether there is an embedded switch now: it comes into being with VFs or with offloaded macvtaps."""
        return bool(self.functions or self._stations)

    @property
    def users(self) -> tuple[str, ...]:
        """Who is behind the embedded switch, a few words each: all VFs that are in use, and guests on VMDq pools."""
        virtual = (f"VF {each.number}: {each.user}" for each in self.functions if each.user)
        return (*virtual, *(f"VMDq: guest '{guest}'" for guest in self._stations))

    @property
    def _stations(self) -> tuple[str, ...]:
        return tuple(self.shared[OFFLOAD].users.values()) if OFFLOAD in self.shared else ()


def inspect(
    link: Link, kinds: Collection[HostType], ignoring_guest: str, netlink: Netlink, store: Store
) -> NicHardware:
    """Return what a NIC is, as far as definitions of these types need it.

    What the guest with the UUID `ignoring_guest` holds is free.
    """
    address = pci.function_of(link.name)
    total, now = pci.counts(address) if address else (0, 0)
    found = {name: store.shared.find(name, NicKey(address or link.name)) for name in (SWITCH, OFFLOAD)}
    return NicHardware(
        driver=pci.driver_of(address) if address else "",
        address=address,
        eswitch=netlink.eswitch(address) if address and HostType.SRIOV in kinds else "legacy",
        total=total,
        functions=_functions(link, address, ignoring_guest, netlink, store) if address and now else (),
        switch_mode=netlink.switch_mode(link) if total or HostType.VMDQ in kinds else None,
        offload=netlink.feature(link, OFFLOAD) if HostType.VMDQ in kinds else None,
        shared={name: sharing.without_user(ignoring_guest) for name, sharing in found.items() if sharing},
    )


def _functions(
    link: Link, address: PciAddress, ignoring_guest: str, netlink: Netlink, store: Store
) -> tuple[VfInfo, ...]:
    views, addressed = {vf.number: vf for vf in netlink.vfs(link)}, netlink.with_addresses()
    found = []
    for virtual in pci.vfs_of(address):
        device = netlink.find(virtual.device) if virtual.device else None
        holder = store.holder(VF, str(virtual.address))
        # What stands on a guest's VF is that guest's.
        unavailable_reason = "" if holder else _unavailable_reason(virtual, device, addressed)
        holder = None if holder and holder.uuid == ignoring_guest else holder
        found.append(
            VfInfo(virtual.number, virtual.address, device, views.get(virtual.number), holder, unavailable_reason)
        )
    return tuple(found)


def _unavailable_reason(virtual: pci.VirtualFunction, device: Link | None, addressed: Collection[int]) -> str:
    if device is None and virtual.driver in ("", pci.GIVEN_AWAY):
        return f"driver {virtual.driver or 'missing'}"
    if device is None:
        return "it is in another network namespace, or has no network device"
    for upper in sysfs.uppers(device.name):
        return f"{device.name} carries {upper}"
    if device.master:
        return f"{device.name} is a port of a {device.port_of or 'bridge'}"
    return f"{device.name} has an address of the host's" if device.index in addressed else ""
