"""The steps of a plan that concern one VF: its MAC, what else it is set to, and which frames it does not hear.

A VF is known by its number at the PF (`nic`) and by its PCI address; its netdev's name may change at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from libvirt_vepa import filter as frames
from libvirt_vepa import pci
from libvirt_vepa.addresses import MacAddress, PciAddress
from libvirt_vepa.errors import KernelError
from libvirt_vepa.netlink import Link, Vf
from libvirt_vepa.operations import Host, Operation
from libvirt_vepa.settings import LinkState, VfSettings, VlanProtocol

# A VF that no guest has: some drivers refuse an address of zeros, and this one belongs to nobody.
NOBODY, ZEROS = MacAddress((2, 0, 0, 0, 0, 0)), MacAddress((0, 0, 0, 0, 0, 0))


@dataclass(frozen=True)
class SetVfMac(Operation):
    """Give a VF and its netdev the guest's MAC; `before` is what the PF had for it.

    Most VF drivers take a new address only when they are bound anew (igb says so in the kernel's log).
    """

    nic: str
    number: int
    address: str
    mac: str
    before: str

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} ({self.address}) to MAC {self.mac}"

    def apply(self, host: Host) -> None:
        host.netlink.set_vf_mac(host.need(self.nic), self.number, MacAddress.parse(self.mac))
        try:
            self._adopt(host)
        except KernelError:
            # Nobody undoes a step that failed.
            with suppress(KernelError):
                self.undo(host)
            raise

    def _adopt(self, host: Host) -> None:
        link = host.find(self.address)
        if link is None or str(link.mac) != self.mac:
            pci.rebind(PciAddress.parse(self.address), pci.SECONDS)
        link = host.need(self.address)
        if str(link.mac) != self.mac:
            raise KernelError(
                f"{link.name} has MAC {link.mac} instead of {self.mac}", "see the kernel's log for its driver"
            )

    def drifts(self, host: Host) -> Iterator[str]:
        seen = _seen(host, self.nic, self.number)
        if seen is None:
            yield f"VF {self.number} of {self.nic} has gone"
        elif str(seen[1].mac) != self.mac:
            yield f"VF {self.number} of {self.nic} has MAC {seen[1].mac} instead of {self.mac}"

    def undo(self, host: Host) -> None:
        seen = _seen(host, self.nic, self.number)
        if seen is None:
            return
        link, vf = seen
        if str(vf.mac) == self.mac:
            self._put_back(host, link)
        # Its netdev must not keep the guest's address either: nobody else could be reached at it from this NIC.
        device = host.find(self.address)
        address = PciAddress.parse(self.address)
        if device is not None and str(device.mac) == self.mac:
            pci.rebind(address, pci.SECONDS)
        elif not pci.driver_of(address):
            # It had one when the guest began: whoever took it away was killed before giving it back.
            pci.probe(address)

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
class SetVfVlan(Operation):
    """Put a VF into a VLAN; what is `before` is put back."""

    nic: str
    number: int
    vlan: int
    qos: int
    proto: str
    before_vlan: int
    before_qos: int
    before_proto: str

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} to vlan {self.vlan} qos {self.qos} proto {self.proto}"

    def apply(self, host: Host) -> None:
        self._set(host, host.need(self.nic), self.vlan, self.qos, self.proto)

    def drifts(self, host: Host) -> Iterator[str]:
        seen = _seen(host, self.nic, self.number)
        if seen and not self._holds(seen[1]):
            found = f"vlan {seen[1].settings.vlan} qos {seen[1].settings.qos}"
            yield f"VF {self.number} of {self.nic} has {found} instead of vlan {self.vlan} qos {self.qos}"

    def undo(self, host: Host) -> None:
        seen = _seen(host, self.nic, self.number)
        if seen and self._holds(seen[1]):
            self._set(host, seen[0], self.before_vlan, self.before_qos, self.before_proto)

    def _holds(self, vf: Vf) -> bool:
        return (vf.settings.vlan, vf.settings.qos) == (self.vlan, self.qos)

    def _set(self, host: Host, link: Link, vlan: int, qos: int, proto: str) -> None:
        host.netlink.set_vf(link, self.number, VfSettings(vlan=vlan, qos=qos, proto=VlanProtocol.parse(proto)))


@dataclass(frozen=True)
class SetVf(Operation):
    """Set one attribute of a VF, which `ip link set NIC vf N` calls `setting`; what is `before` is put back."""

    nic: str
    number: int
    setting: str
    value: bool | int | str
    before: bool | int | str

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} to {self.setting} {_word(self.value)}"

    def apply(self, host: Host) -> None:
        host.netlink.set_vf(host.need(self.nic), self.number, self._settings(self.value))

    def drifts(self, host: Host) -> Iterator[str]:
        seen = _seen(host, self.nic, self.number)
        found = plain(seen[1].settings, self.setting) if seen else None
        if seen and found != self.value:
            yield f"VF {self.number} of {self.nic} has {self.setting} {_word(found)} instead of {_word(self.value)}"

    def undo(self, host: Host) -> None:
        seen = _seen(host, self.nic, self.number)
        if seen and plain(seen[1].settings, self.setting) == self.value:
            host.netlink.set_vf(seen[0], self.number, self._settings(self.before))

    def _settings(self, value: bool | int | str) -> VfSettings:
        wanted: dict[str, Any] = {self.setting: LinkState.parse(value) if isinstance(value, str) else value}
        return VfSettings(**wanted)


def plain(settings: VfSettings, setting: str) -> bool | int | str | None:
    """Return a setting as a plain value, as the journal holds it."""
    value: bool | int | LinkState | None = getattr(settings, setting)
    return value.value if isinstance(value, LinkState) else value


def _word(value: bool | int | str | None) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _seen(host: Host, nic: str, number: int) -> tuple[Link, Vf] | None:
    """Return a NIC and what it says of one of its VFs, None where either has gone."""
    link = host.find(nic)
    return next(((link, vf) for vf in host.netlink.vfs(link) if vf.number == number), None) if link else None


@dataclass(frozen=True)
class JoinSiblings(Operation):
    """Tell the filters of a NIC's VFs that a guest with this MAC is on one of them."""

    nic: str
    mac: str
    mendable = True

    def describe(self) -> str:
        return f"count {self.mac} among the guests on VFs of {self.nic}"

    def apply(self, host: Host) -> None:
        frames.join(self.nic, [MacAddress.parse(self.mac)])

    def drifts(self, host: Host) -> Iterator[str]:
        if MacAddress.parse(self.mac) not in frames.members(self.nic):
            yield f"the filter of {self.nic} does not know {self.mac}"

    def undo(self, host: Host) -> None:
        frames.leave(self.nic, [MacAddress.parse(self.mac)])


@dataclass(frozen=True)
class HearNoSiblings(Operation):
    """Keep from a guest its own frames that a switch reflects, and with `siblings` those of guests on other VFs."""

    nic: str
    address: str
    mac: str
    siblings: bool
    mendable = True

    def describe(self) -> str:
        others = ", nor from guests on other VFs" if self.siblings else ""
        return f"let VF {self.address} of {self.nic} hear nothing from {self.mac} itself{others}"

    def apply(self, host: Host) -> None:
        frames.protect(self.nic, host.need(self.address).name, MacAddress.parse(self.mac), self.siblings)

    def drifts(self, host: Host) -> Iterator[str]:
        link = host.find(self.address)
        if link and not frames.protected(self.nic, link.name, MacAddress.parse(self.mac), self.siblings):
            yield f"{link.name} is without its filter"

    def undo(self, host: Host) -> None:
        frames.unprotect(self.nic, MacAddress.parse(self.mac))
