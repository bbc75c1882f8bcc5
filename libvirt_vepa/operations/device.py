# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operations on a guest's devices: leases, macvtaps, taps, and what is set of any device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from shlex import quote

from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import sysfs, tuntap
from libvirt_vepa.kernel.rtnetlink import Link
from libvirt_vepa.model.address import MacAddress, NicKey
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.store.journal import INTERFACES, Journal, Record, identity_key
from libvirt_vepa.store.store import Lease, taken

NODE_SECONDS = 10.0
NO_NIC = NicKey("")


@dataclass(frozen=True)
class AcquireLease(Operation):
    """Keep something for one guest: `kind` is `mac` or `device`, `key` the address or the name."""

    kind: str
    key: str
    uuid: str
    guest: str

    @property
    def _lease(self) -> Lease:
        return Lease(self.kind, self.key, self.uuid, self.guest)

    def _undo_records(self, journal: Journal | None) -> tuple[Record, ...]:
        """Return the records of what is to be undone of the guest's interface if its journal is lost, this first."""
        mine, records = self.to_record(), journal.operations if journal else ()
        aliases = next(
            (set(each.get(INTERFACES, ())) for each in records if identity_key(each) == identity_key(mine)), None
        )
        if aliases is None:
            return (mine,)
        return (mine, *(each for each in records if _is_undone(each) and aliases & set(each.get(INTERFACES, ()))))

    def describe(self) -> str:
        return f"reserve {self.kind} {self.key} for guest '{self.guest}'"

    def apply(self, host: Host) -> None:
        records = self._undo_records(host.store.load(self.uuid))
        holder = host.store.acquire(replace(self._lease, records=records))
        if holder.uuid != self.uuid:
            raise taken(holder)

    def verify(self, host: Host) -> Iterator[str]:
        holder = host.store.holder(self.kind, self.key)
        if holder is None or holder.uuid != self.uuid:
            yield f"{self.kind} {self.key} is not reserved for guest '{self.guest}'"

    def undo(self, host: Host) -> None:
        host.store.release(self._lease)


def _is_undone(record: Record) -> bool:
    """Tell whether something is to be undone of an operation, other than a lease: each lease tells of itself."""
    kind = Operation.kinds.get(str(record.get("operation")))
    return kind not in (None, AcquireLease) and kind.undo is not Operation.undo


def lease_records(leases: Iterable[Lease]) -> tuple[Record, ...]:
    """Return the records of all that leases of one guest tell of, the leases first; an old one tells of itself only."""
    told = [
        lease.records or (AcquireLease(lease.kind, lease.key, lease.uuid, lease.guest).to_record(),) for lease in leases
    ]
    records = (*(own for own, *_ in told), *(each for _, *rest in told for each in rest))
    return tuple({identity_key(record): record for record in records}.values())


@dataclass(frozen=True)
class SetLinkUp(Operation):
    """Put a device up, and leave it up: others may rely on a NIC by the time the guest stops.

    `card` is what a NIC is known by, "" for what is called by its name only.
    """

    device: str
    card: NicKey = NO_NIC
    reapply_safe = True

    def describe(self) -> str:
        return f"put {self.device} up"

    def apply(self, host: Host) -> None:
        host.netlink.set_up(host.get_nic(self.device, self.card))

    def verify(self, host: Host) -> Iterator[str]:
        link = host.find_nic(self.device, self.card)
        if link is None:
            yield f"{self.device} has gone"
        elif not link.up:
            yield f"{self.device} is down"


@dataclass(frozen=True)
class CreateMacvtap(Operation):
    """Create a macvtap on a NIC or a VF; `mode` in the kernel's words, `mtu` in bytes or None for that below.

    `card` is what a NIC is known by, "" for a VF, which `nic` is the PCI address of.
    """

    device: str
    nic: str
    mac: str
    mode: str
    mtu: int | None
    card: NicKey = NO_NIC

    def describe(self) -> str:
        mtu = "" if self.mtu is None else f", MTU {self.mtu}"
        return f"create macvtap {self.device} on {self.nic}: mode {self.mode}, MAC {self.mac}{mtu}"

    def apply(self, host: Host) -> None:
        below = host.get_nic(self.nic, self.card)
        host.netlink.create_macvtap(self.device, below, MacAddress.parse(self.mac), self.mode, self.mtu)

    def verify(self, host: Host) -> Iterator[str]:
        link = host.netlink.find(self.device)
        if link is None:
            yield f"{self.device} has gone"
            return
        yield from differences(link, kind="macvtap", mac=MacAddress.parse(self.mac), mode=self.mode)
        if self.mtu is not None:
            yield from differences(link, mtu=self.mtu)
        below = host.find_nic(self.nic, self.card)
        if below is None or below.index != link.lower:
            yield f"{self.device} does not stand on {self.nic}"

    def undo(self, host: Host) -> None:
        _delete(host, self.device, "macvtap", self.mac)


@dataclass(frozen=True)
class CreateTap(Operation):
    """Create a persistent tap; `mac` is the host's side, `mtu` in bytes."""

    device: str
    mac: str
    multi_queue: bool
    mtu: int

    def describe(self) -> str:
        queues = ", multi-queue" if self.multi_queue else ""
        return f"create tap {self.device}: MAC {self.mac}, MTU {self.mtu}{queues}"

    def apply(self, host: Host) -> None:
        # The ioctl that makes a tap knows only its name; the rest follows before the tap is one that stays.
        with tuntap.new_tap(self.device, self.multi_queue):
            host.netlink.set_address(host.netlink.get(self.device), MacAddress.parse(self.mac), self.mtu)

    def verify(self, host: Host) -> Iterator[str]:
        link = host.netlink.find(self.device)
        if link is None:
            yield f"{self.device} has gone"
            return
        yield from differences(
            link, kind="tun", mac=MacAddress.parse(self.mac), mtu=self.mtu, multi_queue=self.multi_queue
        )

    def undo(self, host: Host) -> None:
        _delete(host, self.device, "tun", self.mac)


@dataclass(frozen=True)
class DisableIpv6(Operation):
    """Keep the host's own IPv6 off a guest's device; before it is up, or it sends frames of its own."""

    device: str
    reapply_safe = True

    def describe(self) -> str:
        return f"disable the host's IPv6 on {self.device}"

    def apply(self, host: Host) -> None:
        sysfs.disable_ipv6(self.device)

    def verify(self, host: Host) -> Iterator[str]:
        if sysfs.ipv6_enabled(self.device):
            yield f"{self.device} has the host's IPv6 enabled"


@dataclass(frozen=True)
class ReceiveAllMulticast(Operation):
    """Pass all multicast to a guest, IPv6's neighbour discovery too, without trusting its filters."""

    device: str
    reapply_safe = True

    def describe(self) -> str:
        return f"receive all multicast on {self.device}"

    def apply(self, host: Host) -> None:
        host.netlink.set_all_multicast(host.netlink.get(self.device))

    def verify(self, host: Host) -> Iterator[str]:
        link = host.netlink.find(self.device)
        if link is not None and not link.all_multicast:
            yield f"{self.device} does not receive all multicast"


@dataclass(frozen=True)
class JoinBridge(Operation):
    """Make a tap a port of a bridge, which the NIC is a port of already.

    A NIC that has left the bridge is told of and left alone: what holds its addresses now is the host's to know. `card`
    is what it is known by; both are "" in journals of versions that did not look.
    """

    device: str
    bridge: str
    nic: str = ""
    card: NicKey = NO_NIC
    reapply_safe = True

    def describe(self) -> str:
        return f"make {self.device} a port of bridge {self.bridge}"

    def apply(self, host: Host) -> None:
        host.netlink.set_master(host.netlink.get(self.device), host.netlink.get(self.bridge))

    def verify(self, host: Host) -> Iterator[str]:
        link, bridge = host.netlink.find(self.device), host.netlink.find(self.bridge)
        if link is not None and (bridge is None or link.master != bridge.index):
            yield f"{self.device} is not a port of bridge {self.bridge}"
        nic = host.find_nic(self.nic, self.card) if self.nic else None
        if nic is not None and (bridge is None or nic.master != bridge.index):
            back = f"'ip link set {quote(nic.name)} master {quote(self.bridge)}' puts it back"
            yield f"{nic.name} is no longer a port of bridge {self.bridge} ({back})"


@dataclass(frozen=True)
class WaitForTapNode(Operation):
    """Wait until the character device of a macvtap is there, which libvirt looks for only once."""

    device: str

    def describe(self) -> str:
        return f"wait for the character device of {self.device}"

    def apply(self, host: Host) -> None:
        sysfs.await_node(self.device, NODE_SECONDS)

    def verify(self, host: Host) -> Iterator[str]:
        if not sysfs.node_is_right(self.device):
            yield f"{self.device} has no character device below /dev"


def _delete(host: Host, device: str, kind: str, mac: str) -> None:
    """Delete a device, unless one that is not ours has its name by now."""
    link = host.netlink.find(device)
    if link is not None and link.kind == kind and link.mac == MacAddress.parse(mac):
        host.netlink.delete(link)


def differences(link: Link, **wanted: object) -> Iterator[str]:
    """Yield one line for each attribute of a device that is not as wanted."""
    for name, value in wanted.items():
        found = getattr(link, name)
        if found != value:
            yield f"{link.name} has {name} {found} instead of {value}"
