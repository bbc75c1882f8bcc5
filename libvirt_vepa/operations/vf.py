# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The steps of a plan that concern one VF: its MAC, and what else it is set to.

A VF is known by its PCI address and by its number at the PF (`nic` is what that was called when the plan was made);
names of netdevs may change at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from libvirt_vepa.errors import KernelError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.rtnetlink import Link, Vf
from libvirt_vepa.model.address import MacAddress, NicKey, PciAddress
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from libvirt_vepa.operations.base import Operation, VfPlace

# A VF that no guest has: some drivers refuse an address of zeros, and this one belongs to nobody.
NOBODY, ZEROS = MacAddress((2, 0, 0, 0, 0, 0)), MacAddress((0, 0, 0, 0, 0, 0))
RATES = ("max_tx_rate", "min_tx_rate")
# How long a NIC may take to have its carrier.
CARRIER_SECONDS = 10.0


@dataclass(frozen=True)
class SetVfMac(Operation):
    """Give a VF and its netdev the guest's MAC; `before` is what the PF had for it.

    Most VF drivers take a new address only when they are rebound (igb says so in the kernel's log). The netdev is a
    new one then; `mtu` (bytes) is what it had before, 0 where that is not known.
    """

    nic: str
    number: int
    address: NicKey
    mac: str
    before: str
    mtu: int

    @property
    def vf(self) -> VfPlace:
        return VfPlace(self.number, self.address)

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} ({self.address}) to MAC {self.mac}"

    def apply(self, host: Host) -> None:
        host.netlink.set_vf_mac(_pf(host, self), self.number, MacAddress.parse(self.mac))
        self._adopt(host)

    def _adopt(self, host: Host) -> None:
        link = host.find(self.address)
        if link is None or str(link.mac) != self.mac:
            self._rebind(host)
        link = host.get(self.address)
        if str(link.mac) != self.mac:
            raise KernelError(
                f"{link.name} has MAC {link.mac} instead of {self.mac}", "see the kernel's log for its driver"
            )

    def _rebind(self, host: Host) -> None:
        pci.rebind(PciAddress.parse(self.address), pci.SECONDS)
        if self.mtu:
            host.netlink.set_mtu(host.get(self.address), self.mtu)

    def verify(self, host: Host) -> Iterator[str]:
        seen = _seen(host, self)
        if seen is None:
            yield f"VF {self.number} of {self.nic} has gone"
        elif str(seen[1].mac) != self.mac:
            yield f"VF {self.number} of {self.nic} has MAC {seen[1].mac} instead of {self.mac}"

    def undo(self, host: Host) -> None:
        seen = _seen(host, self)
        if seen is None:
            return
        link, vf = seen
        if str(vf.mac) == self.mac:
            self._put_back(host, link)
        # Its netdev must not keep the guest's address either: nobody else could be reached at it from this NIC.
        device, driver = host.find(self.address), pci.driver_of(PciAddress.parse(self.address))
        # One that is in another network namespace comes back when it is rebound.
        elsewhere = device is None and driver not in ("", pci.GIVEN_AWAY)
        if elsewhere or (device and str(device.mac) == self.mac):
            self._rebind(host)
        elif not driver:
            # It had one when the guest began: whoever took it away was killed before giving it back.
            pci.probe(PciAddress.parse(self.address))

    undo_failed = undo

    def _put_back(self, host: Host, link: Link) -> None:
        before = MacAddress.parse(self.before)
        before = ZEROS if str(before) == self.mac else before
        try:
            host.netlink.set_vf_mac(link, self.number, before)
        except KernelError:
            if before != ZEROS:
                raise
            host.netlink.set_vf_mac(link, self.number, NOBODY)


@dataclass(frozen=True)
class SetVfMtu(Operation):
    """Raise the MTU (bytes) of a VF's netdev to what the guest's device is to have; what is `before` is put back."""

    address: NicKey
    mtu: int
    before: int

    def describe(self) -> str:
        return f"set MTU {self.mtu} of {self.address}"

    def apply(self, host: Host) -> None:
        host.netlink.set_mtu(host.get(self.address), self.mtu)

    def verify(self, host: Host) -> Iterator[str]:
        link = host.find(self.address)
        if link and link.mtu < self.mtu:
            yield f"{link.name} has MTU {link.mtu} instead of {self.mtu}"

    def undo(self, host: Host) -> None:
        link = host.find(self.address)
        if link and link.mtu == self.mtu:
            host.netlink.set_mtu(link, self.before)


@dataclass(frozen=True)
class SetVfVlan(Operation):
    """Put a VF into a VLAN; what is `before` is put back."""

    nic: str
    number: int
    address: NicKey
    vlan: int
    qos: int
    proto: str
    before_vlan: int
    before_qos: int
    before_proto: str

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} to vlan {self.vlan} qos {self.qos} proto {self.proto}"

    def apply(self, host: Host) -> None:
        self._set(host, _pf(host, self), self.vlan, self.qos, self.proto)

    def verify(self, host: Host) -> Iterator[str]:
        seen = _seen(host, self)
        if seen and not self._holds(seen[1]):
            now = seen[1].settings
            found = f"vlan {now.vlan} qos {now.qos} proto {_protocol(now)}"
            wanted = f"vlan {self.vlan} qos {self.qos} proto {self.proto}"
            yield f"VF {self.number} of {self.nic} has {found} instead of {wanted}"

    def undo(self, host: Host) -> None:
        seen = _seen(host, self)
        if seen and self._holds(seen[1]):
            self._set(host, seen[0], self.before_vlan, self.before_qos, self.before_proto)

    def undo_failed(self, host: Host) -> None:
        # A driver may have done half of it, which `undo` would take for another's.
        link = _pf(host, self)
        self._set(host, link, self.before_vlan, self.before_qos, self.before_proto)

    def _holds(self, vf: Vf) -> bool:
        now = vf.settings
        return (now.vlan, now.qos, _protocol(now)) == (self.vlan, self.qos, self.proto)

    def _set(self, host: Host, link: Link, vlan: int, qos: int, proto: str) -> None:
        host.netlink.set_vf(link, self.number, VfSettings(vlan=vlan, qos=qos, proto=VlanProtocol.parse(proto)))


@dataclass(frozen=True)
class SetVf(Operation):
    """Set one attribute of a VF, which `ip link set NIC vf N` calls `setting`; what is `before` is put back."""

    nic: str
    number: int
    address: NicKey
    setting: str
    value: bool | int | str
    before: bool | int | str

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} to {self.setting} {_word(self.value)}"

    def apply(self, host: Host) -> None:
        self._set(host, _pf(host, self), self.value)

    def verify(self, host: Host) -> Iterator[str]:
        seen = _seen(host, self)
        found = plain(seen[1].settings, self.setting) if seen else None
        if seen and found != self.value:
            yield f"VF {self.number} of {self.nic} has {self.setting} {_word(found)} instead of {_word(self.value)}"

    def undo(self, host: Host) -> None:
        seen = _seen(host, self)
        if seen and plain(seen[1].settings, self.setting) == self.value:
            self._set(host, seen[0], self.before)

    def undo_failed(self, host: Host) -> None:
        self._set(host, _pf(host, self), self.before)

    def _set(self, host: Host, link: Link, value: bool | int | str) -> None:
        wanted: dict[str, Any] = {self.setting: LinkState.parse(value) if isinstance(value, str) else value}
        # Some drivers count a rate in parts of the link's speed, and a NIC that was just put up has none yet.
        ready = self.setting not in RATES or pci.await_running(link.name, CARRIER_SECONDS)
        try:
            host.netlink.set_vf(link, self.number, VfSettings(**wanted))
        except KernelError as error:
            if ready:
                raise
            remedy = f"see the cable of {link.name} and the switch, or leave {self.setting} out"
            raise KernelError(f"{error.what}, and {link.name} has no carrier", remedy) from error


def plain(settings: VfSettings, setting: str) -> bool | int | str | None:
    """Return a setting as a plain value, as the journal holds it."""
    value: bool | int | LinkState | None = getattr(settings, setting)
    return value.value if isinstance(value, LinkState) else value


def _word(value: bool | int | str | None) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _protocol(settings: VfSettings) -> str:
    """Return the protocol of a VF's VLAN; a driver that does not tell has only the one."""
    return (settings.proto or VlanProtocol.DOT1Q).value


def _pf(host: Host, step: SetVfMac | SetVfVlan | SetVf) -> Link:
    """Return the NIC that a step's VF belongs to, whatever it is called by now; KernelError where it is gone."""
    return host.get_nic(step.nic, NicKey(pci.physical_of(PciAddress.parse(step.address)) or step.nic))


def _seen(host: Host, step: SetVfMac | SetVfVlan | SetVf) -> tuple[Link, Vf] | None:
    """Return the NIC of a step's VF and what it says of that, None where either has gone."""
    physical = pci.physical_of(PciAddress.parse(step.address))
    link = host.find_nic(step.nic, NicKey(physical)) if physical else None
    return next(((link, vf) for vf in host.netlink.vfs(link) if vf.number == step.number), None) if link else None
