"""The steps of a plan that concern one VF: its MAC, what else it is set to, and which frames it does not hear.

A VF is known by its PCI address and by its number at the PF (`nic` is what that was called when the plan was made);
names of netdevs may change at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from libvirt_vepa import filter as frames
from libvirt_vepa import pci, sysfs
from libvirt_vepa.addresses import MacAddress, PciAddress
from libvirt_vepa.errors import KernelError
from libvirt_vepa.host import Host
from libvirt_vepa.netlink import Link, Vf
from libvirt_vepa.operations import Operation
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
        host.netlink.set_vf_mac(_need(host, self.nic, self.address), self.number, MacAddress.parse(self.mac))
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
    address: str
    vlan: int
    qos: int
    proto: str
    before_vlan: int
    before_qos: int
    before_proto: str

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} to vlan {self.vlan} qos {self.qos} proto {self.proto}"

    def apply(self, host: Host) -> None:
        self._set(host, _need(host, self.nic, self.address), self.vlan, self.qos, self.proto)

    def drifts(self, host: Host) -> Iterator[str]:
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
    address: str
    setting: str
    value: bool | int | str
    before: bool | int | str

    def describe(self) -> str:
        return f"set VF {self.number} of {self.nic} to {self.setting} {_word(self.value)}"

    def apply(self, host: Host) -> None:
        host.netlink.set_vf(_need(host, self.nic, self.address), self.number, self._settings(self.value))

    def drifts(self, host: Host) -> Iterator[str]:
        seen = _seen(host, self)
        found = plain(seen[1].settings, self.setting) if seen else None
        if seen and found != self.value:
            yield f"VF {self.number} of {self.nic} has {self.setting} {_word(found)} instead of {_word(self.value)}"

    def undo(self, host: Host) -> None:
        seen = _seen(host, self)
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


def _protocol(settings: VfSettings) -> str:
    """Return the protocol of a VF's VLAN; a driver that does not tell has only the one."""
    return (settings.proto or VlanProtocol.DOT1Q).value


def _need(host: Host, nic: str, address: str) -> Link:
    """Return the NIC that a VF belongs to, whatever it is called by now; KernelError where it is gone."""
    return host.need_nic(nic, str(pci.physical_of(PciAddress.parse(address)) or nic))


def _seen(host: Host, step: SetVfMac | SetVfVlan | SetVf) -> tuple[Link, Vf] | None:
    """Return the NIC of a step's VF and what it says of that, None where either has gone."""
    physical = pci.physical_of(PciAddress.parse(step.address))
    link = host.find_nic(step.nic, str(physical)) if physical else None
    return next(((link, vf) for vf in host.netlink.vfs(link) if vf.number == step.number), None) if link else None


@dataclass(frozen=True)
class HearNoSiblings(Operation):
    """Keep from a guest its own frames that a switch reflects, and with `siblings` those of all other VFs.

    `card` is the PCI address of the NIC, which names its filters.
    """

    nic: str
    card: str
    address: str
    mac: str
    siblings: bool
    mendable = True

    def describe(self) -> str:
        others = ", nor from other VFs" if self.siblings else ""
        return f"let VF {self.address} of {self.nic} hear nothing from {self.mac} itself{others}"

    def apply(self, host: Host) -> None:
        frames.protect(self.card, host.need(self.address).name, MacAddress.parse(self.mac), self.siblings)

    def drifts(self, host: Host) -> Iterator[str]:
        link = host.find(self.address)
        if link and not frames.protected(self.card, link.name, MacAddress.parse(self.mac), self.siblings):
            yield f"{link.name} is without its filter"

    def undo(self, host: Host) -> None:
        frames.unprotect(self.card, MacAddress.parse(self.mac))


@dataclass(frozen=True)
class KnowSiblings(Operation):
    """Have the filters of a NIC know the MACs of all its VFs, whoever uses them, this guest's too.

    There are none to be told where no guest is to hear no siblings.
    """

    nic: str
    card: str
    mac: str
    mendable = True

    def describe(self) -> str:
        return f"have the filters of {self.nic} know {self.mac}, and the MACs of all other VFs"

    def apply(self, host: Host) -> None:
        know_siblings(host, host.find_nic(self.nic, self.card), self.card, also=MacAddress.parse(self.mac))

    def drifts(self, host: Host) -> Iterator[str]:
        known = frames.known(self.card)
        if known is not None and MacAddress.parse(self.mac) not in known:
            yield f"the filters of {self.nic} do not know {self.mac}"

    def undo(self, host: Host) -> None:
        know_siblings(host, host.find_nic(self.nic, self.card), self.card, but=MacAddress.parse(self.mac))


def know_siblings(
    host: Host, link: Link | None, card: str, *, also: MacAddress | None = None, but: MacAddress | None = None
) -> None:
    """Tell the filters of a card, if any, what MACs its VFs have now, by their PF and their netdevs here."""
    macs = {vf.mac for vf in host.netlink.vfs(link)} if link else set()
    # Some drivers say only what an administrator has set.
    netdevs = (sysfs.address(vf.device) for vf in pci.vfs_of(PciAddress.parse(card)) if vf.device)
    macs.update(MacAddress.parse(mac) for mac in netdevs if mac)
    frames.know(card, (macs | ({also} if also else set())) - {ZEROS, NOBODY, but})
