"""From what a guest asks and what the host is to the list of operations, or to the reason why not.

Pure: everything is judged here, before anything is touched. What follows from the table
"What a request becomes" of the design is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from libvirt_vepa.errors import HostError, TakenError, XmlError
from libvirt_vepa.facts import Facts, Nic
from libvirt_vepa.model import Guest, GuestType, HostInterface, HostType, Mode, Request
from libvirt_vepa.netlink import Link
from libvirt_vepa.operations import (
    AwaitNode,
    CreateMacvtap,
    CreateTap,
    DisableIpv6,
    JoinBridge,
    Operation,
    ReceiveAllMulticast,
    SetUp,
    TakeLease,
    taken,
)
from libvirt_vepa.state import Use

# MAX_TAP_QUEUES of linux/if_tun.h and linux/if_macvlan.h.
MAX_QUEUES = 256


@dataclass(frozen=True)
class Plan:
    """What will be done for a guest, in order, and which NICs its interfaces stand on."""

    operations: tuple[Operation, ...]
    uses: tuple[Use, ...]


def make(guest: Guest, facts: Facts) -> Plan:
    """Return the plan for a guest.

    Raises XmlError, HostError or TakenError, with the guest and the interface named, where
    the host cannot give what is asked.
    """
    steps: dict[Operation, None] = {}
    uses = []
    for request in guest.requests:
        try:
            use = _use(request, facts)
            steps.update(dict.fromkeys(_operations(guest, request, use, facts)))
        except (XmlError, HostError, TakenError) as error:
            raise error.within(request.where).within(guest.where) from error
        uses.append(use)
    return Plan(tuple(steps), tuple(uses))


def _use(request: Request, facts: Facts) -> Use:
    """Decide the mode that a request gets on its NIC."""
    host = facts.definitions[request.name]
    mode = host.mode_for(request.type, request.mode)
    if mode not in host.allowed:
        allowed = " or ".join(allowed.value for allowed in host.allowed)
        raise HostError(f"mode {mode.value} is not allowed on '{host.name}'", f"ask for {allowed}")
    return Use(request.alias, host.name, request.device, host.device, mode.value)


def _operations(guest: Guest, request: Request, use: Use, facts: Facts) -> Iterator[Operation]:
    host = facts.definitions[request.name]
    nic = _nic(host, facts)
    _check(request, nic, facts)
    yield TakeLease("mac", str(request.mac), guest.uuid, guest.name)
    yield TakeLease("device", request.device, guest.uuid, guest.name)
    yield SetUp(nic.link.name)
    if request.type is GuestType.TAP:
        yield from _tap(request, _bridge(host, nic, facts), Mode(use.mode))
    else:
        yield from _macvtap(request, nic, Mode(use.mode))


def _nic(host: HostInterface, facts: Facts) -> Nic:
    """Return the NIC behind a definition, if it is one that can be used."""
    if host.type is not HostType.ETHERNET:
        raise HostError(
            f"'{host.name}' is of type {host.type.value}, which cannot be started yet",
            f"define '{host.name}' with <type>ethernet</type>, or wait for a version that can",
        )
    nic = facts.nics.get(host.device)
    if nic is None:
        raise HostError(
            f"'{host.name}' is NIC {host.device}, which does not exist on this host",
            "see 'ip link', and define it anew with 'libvirt-vepa iface-define'",
        )
    if not nic.link.ethernet:
        raise HostError(
            f"'{host.name}' is {host.device}, which is not an Ethernet device",
            f"define '{host.name}' with the name of a NIC",
        )
    return nic


def _check(request: Request, nic: Nic, facts: Facts) -> None:
    """Refuse what neither a macvtap nor a tap can give on this NIC."""
    link = nic.link
    if request.device in facts.devices:
        raise TakenError(
            f"device {request.device} exists and is not this guest's",
            f"remove it ('ip link delete {request.device}'), or choose another name in <target dev=…/>",
        )
    for holder in (facts.leases.get(request.device), facts.macs.get(str(request.mac))):
        if holder is not None:
            raise taken(holder)
    if request.mac == link.mac:
        raise HostError(f"{request.mac} is the MAC of NIC {link.name} itself", "give the guest a MAC of its own")
    if request.mtu is not None and request.mtu > link.mtu:
        raise HostError(
            f"MTU {request.mtu} is more than the {link.mtu} of NIC {link.name}",
            f"ask for {link.mtu} at most, or raise it with 'ip link set {link.name} mtu {request.mtu}'",
        )
    if not 1 <= request.queues <= MAX_QUEUES:
        raise HostError(f"{request.queues} queues cannot be had", f"ask for 1 to {MAX_QUEUES}")


def _macvtap(request: Request, nic: Nic, mode: Mode) -> Iterator[Operation]:
    _check_free(nic)
    device = request.device
    yield CreateMacvtap(device, nic.link.name, str(request.mac), mode.kernel, request.mtu)
    yield DisableIpv6(device)
    yield ReceiveAllMulticast(device)
    yield SetUp(device)
    yield AwaitNode(device)


def _check_free(nic: Nic) -> None:
    """Refuse a NIC whose frames something else already takes."""
    name = nic.link.name
    if nic.master is not None:
        kind = {"bridge": "bridge", "bond": "bond", "openvswitch": "Open vSwitch"}.get(
            nic.link.port_of, nic.link.port_of
        )
        raise HostError(
            f"NIC {name} is a port of {kind} {nic.master.name}, and a macvtap cannot share it",
            f"ask for <type>tap</type>, or take it out with 'ip link set {name} nomaster'",
        )
    if nic.passthru:
        raise HostError(
            f"NIC {name} belongs to {nic.passthru} alone (mode passthru)", f"stop the guest that uses {nic.passthru}"
        )


def _tap(request: Request, bridge: Link, mode: Mode) -> Iterator[Operation]:
    if mode is not Mode.BRIDGE:
        raise HostError(f"a tap cannot have mode {mode.value}", "ask for bridge, or for <type>macvtap</type>")
    device = request.device
    yield SetUp(bridge.name)
    # Without an MTU of its own a tap gets the bridge's, or the bridge would take the tap's.
    yield CreateTap(device, str(request.mac.for_tap), request.queues > 1, request.mtu or bridge.mtu)
    yield DisableIpv6(device)
    yield JoinBridge(device, bridge.name)
    yield SetUp(device)


def _bridge(host: HostInterface, nic: Nic, facts: Facts) -> Link:
    """Return the bridge that a tap joins: the one that the NIC is a port of, which the definition may name."""
    name, wanted = nic.link.name, host.bridge
    if wanted and wanted not in facts.bridges:
        raise HostError(
            f"'{host.name}' names bridge {wanted}, which does not exist",
            f"make it with 'ip link add {wanted} type bridge' and 'ip link set {name} master {wanted}'",
        )
    if nic.master is None or nic.link.port_of != "bridge":
        raise HostError(
            f"a tap needs a Linux bridge that NIC {name} is a port of",
            f"make one with 'ip link set {name} master {wanted or 'BRIDGE'}', or ask for <type>macvtap</type>",
        )
    if wanted and nic.master.name != wanted:
        raise HostError(
            f"NIC {name} is a port of bridge {nic.master.name}, but '{host.name}' names bridge {wanted}",
            f"move it with 'ip link set {name} master {wanted}', or change the definition",
        )
    return nic.master
