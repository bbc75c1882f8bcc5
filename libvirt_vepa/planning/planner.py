# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""From what a guest asks and what the host is to the list of operations, or to the reason why not.

Pure: everything is judged here, before anything is touched. What follows from the table
"What a request becomes" of the design is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from shlex import quote

from libvirt_vepa.errors import HostError, InUseError, XmlError
from libvirt_vepa.host.facts import Facts, Nic
from libvirt_vepa.kernel.rtnetlink import Link
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.model.interface import Guest, GuestType, HostType, Mode, NicDefinition, Request
from libvirt_vepa.model.vf_settings import VfSettings
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.operations.device import (
    NO_NIC,
    AcquireLease,
    CreateMacvtap,
    CreateTap,
    DisableIpv6,
    JoinBridge,
    ReceiveAllMulticast,
    SetLinkUp,
    WaitForTapNode,
)
from libvirt_vepa.planning import names, sriov
from libvirt_vepa.planning.builder import PlanBuilder
from libvirt_vepa.store.journal import INTERFACES, Allocation, Record

# MAX_TAP_QUEUES of linux/if_tun.h and linux/if_macvlan.h; ETH_MIN_MTU of linux/if_ether.h.
MAX_QUEUES = 256
MIN_MTU = 68


@dataclass(frozen=True)
class Plan:
    """What will be done for a guest, in order, and which NICs its interfaces stand on.

    `interfaces` are the aliases of those that need an operation; what is missing there is for the whole guest.
    `remarks` are what an administrator should know, a line each.
    """

    operations: tuple[Operation, ...]
    uses: tuple[Allocation, ...]
    interfaces: Mapping[Operation, tuple[str, ...]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def made_first(self) -> tuple[Operation, ...]:
        """What must be there before the rest can be planned; a plan with any of it is not whole."""
        return tuple(operation for operation in self.operations if operation.makes_vfs)

    def records(self) -> tuple[Record, ...]:
        """Return the operations as the journal holds them."""
        return tuple(self._record(operation) for operation in self.operations)

    def _record(self, operation: Operation) -> Record:
        aliases = self.interfaces.get(operation)
        return {**operation.to_record(), **({INTERFACES: list(aliases)} if aliases else {})}


def make(guest: Guest, facts: Facts) -> Plan:
    """Return the plan for a guest.

    Raises HostError, InUseError or XmlError, with the interface named, where the host cannot give what is asked.
    """
    draft = PlanBuilder(guest, facts)
    for request in guest.requests:
        try:
            if any(other.device == request.device for other in draft.uses):
                raise InUseError(f"device {request.device} is another interface's of this guest", names.OTHER_NAME)
            use = _use(request, facts)
            for operation in _operations(request, use, draft):
                draft.add(operation, request.alias)
        except (HostError, InUseError, XmlError) as error:
            raise error.within(request.where) from error
        draft.uses.append(use)
    return Plan(tuple(draft.steps), tuple(draft.uses), draft.steps, tuple(dict.fromkeys(draft.remarks)))


def _use(request: Request, facts: Facts) -> Allocation:
    """Decide the mode that a request gets on its NIC."""
    definition = facts.definitions[request.name]
    nic = facts.nics.get(definition.device)
    mode, tap = definition.mode_for(request.type, request.mode), request.type is GuestType.TAP
    if tap and mode is not Mode.BRIDGE:
        raise HostError(f"a tap cannot have mode {mode.value}", "ask for bridge, or for <type>macvtap</type>")
    if mode not in definition.allowed:
        allowed = " or ".join(allowed.value for allowed in definition.allowed)
        only = ", which need <type>macvtap</type>" if tap else ""
        raise HostError(f"mode {mode.value} is not allowed on '{definition.name}'", f"ask for {allowed}{only}")
    return Allocation(
        request.alias,
        definition.name,
        request.device,
        definition.device,
        nic.key if nic else NicKey(definition.device),
        mode.value,
    )


def _operations(request: Request, use: Allocation, draft: PlanBuilder) -> Iterator[Operation]:
    guest, facts = draft.guest, draft.facts
    definition = facts.definitions[request.name]
    nic = _nic(definition, facts)
    names.check_free(request, facts)
    _check_values(request, nic.link)
    yield AcquireLease("mac", str(request.mac), guest.uuid, guest.name)
    yield AcquireLease("device", request.device, guest.uuid, guest.name)
    yield SetLinkUp(nic.link.name, nic.key)
    if request.type is GuestType.TAP:
        sriov.reject_tap(definition)
        yield from _tap(request, nic, _bridge(definition, nic, facts))
    elif definition.type is HostType.SRIOV:
        yield from _on_vf(request, definition, nic, Mode(use.mode), draft)
    else:
        _check_unshared(nic)
        yield from _on_nic(guest, request, definition, nic, Mode(use.mode))


def _on_nic(guest: Guest, request: Request, definition: NicDefinition, nic: Nic, mode: Mode) -> Iterator[Operation]:
    if request.vf != VfSettings():
        raise HostError(
            f"'{definition.name}' is of type {definition.type.value}, and <vlan> and <vf> are for sr-iov",
            "leave them out",
        )
    if definition.type is HostType.VMDQ:
        yield from sriov.plan_offload(guest, nic)
    else:
        yield from sriov.eswitch_for_macvtap(guest, nic, mode)
    yield from _macvtap(request, nic.link.name, mode.kernel, nic.key)
    if definition.type is HostType.VMDQ:
        yield from sriov.plan_vmdq_pool(guest, request, nic, mode)


def _on_vf(
    request: Request, definition: NicDefinition, nic: Nic, mode: Mode, draft: PlanBuilder
) -> Iterator[Operation]:
    switch = sriov.plan_eswitch_mode(draft.guest, nic, sriov.switch_for(mode))
    first = sriov.plan_vf_creation(definition, nic, draft.made.get(nic.key))
    if first:
        draft.made[nic.key] = first
        for share in switch:
            draft.agree(share.shared_setting)
        reserved = draft.reserved.setdefault(nic.key, [])
        reserved.append(sriov.reserve_future_vf(request, definition, first, reserved))
        yield first
        return
    function = sriov.allocate_vf(definition, nic, draft.leased)
    draft.leased.add(str(function.address))
    draft.remarks += sriov.remarks(request, definition, nic, mode, function)
    yield from switch
    yield from sriov.plan_vf(draft.guest, request, definition, nic, function)
    yield from sriov.plan_filters(request, nic, function, mode)
    yield from _macvtap(request, str(function.address), "passthru")


def _nic(definition: NicDefinition, facts: Facts) -> Nic:
    """Return the NIC behind a definition, if it is one that can be used."""
    nic = facts.nics.get(definition.device)
    if nic is None:
        raise HostError(
            f"'{definition.name}' is NIC {definition.device}, which does not exist on this host",
            f"see 'ip link' and load its driver, or define '{definition.name}' by the name that it has now",
        )
    if not nic.link.ethernet:
        raise HostError(
            f"'{definition.name}' is {definition.device}, which is not an Ethernet device",
            f"define '{definition.name}' with the name of a NIC",
        )
    names.reject_guest_device(definition, nic)
    return nic


def _check_values(request: Request, nic: Link) -> None:
    """Refuse what neither a macvtap nor a tap can have on this NIC."""
    if request.mac == nic.mac:
        raise HostError(f"{request.mac} is the MAC of NIC {nic.name} itself", "give the guest a MAC of its own")
    if request.mtu is not None and request.mtu > nic.mtu:
        raise HostError(
            f"MTU {request.mtu} is more than the {nic.mtu} of NIC {nic.name}",
            f"ask for {nic.mtu} at most, or raise it with {_ip_link_set(nic.name, 'mtu', str(request.mtu))}",
        )
    if request.mtu is not None and request.mtu < MIN_MTU:
        raise HostError(f"MTU {request.mtu} is less than Ethernet's {MIN_MTU}", f"ask for {MIN_MTU} to {nic.mtu}")
    if not 1 <= request.queues <= MAX_QUEUES:
        raise HostError(f"invalid queue count {request.queues}", f"ask for 1 to {MAX_QUEUES}")


def _macvtap(request: Request, below: str, mode: str, card: NicKey = NO_NIC) -> Iterator[Operation]:
    device = request.device
    yield CreateMacvtap(device, below, str(request.mac), mode, request.mtu, card)
    yield DisableIpv6(device)
    yield ReceiveAllMulticast(device)
    yield SetLinkUp(device)
    yield WaitForTapNode(device)


def _check_unshared(nic: Nic) -> None:
    """Refuse a NIC whose frames something else already takes."""
    name = nic.link.name
    if nic.master is not None and nic.link.port_of == "bridge":
        raise HostError(
            f"NIC {name} is a port of bridge {nic.master.name}, and a macvtap cannot share it",
            f"ask for <type>tap</type>, or take it out with {_ip_link_set(name, 'nomaster')}",
        )
    if nic.master is not None:
        raise _port_of_another_kind(nic.link, nic.master)
    if nic.passthru:
        raise HostError(
            f"NIC {name} belongs to {nic.passthru} alone (mode passthru)", f"stop the guest that uses {nic.passthru}"
        )


def _port_of_another_kind(nic: Link, master: Link) -> HostError:
    """Return the refusal for a port of what is no Linux bridge: neither a macvtap nor a tap can be had."""
    if nic.port_of == "openvswitch":
        what, remedy = "of Open vSwitch", f"take it out with 'ovs-vsctl del-port {quote(nic.name)}'"
    else:
        take_out = f"take it out with {_ip_link_set(nic.name, 'nomaster')}"
        what, remedy = f"of {nic.port_of} {master.name}", f"define {master.name} instead, or {take_out}"
    return HostError(f"NIC {nic.name} is a port {what}, which has all its frames", remedy)


def _ip_link_set(device: str, *words: str) -> str:
    """Return a command to paste. A device of the host may be called what a shell takes for something else."""
    return f"'ip link set {' '.join(map(quote, (device, *words)))}'"


def _tap(request: Request, nic: Nic, bridge: Link) -> Iterator[Operation]:
    if request.mac == request.mac.for_tap:
        what = f"a MAC that begins with fe, as {request.mac} does, is for the host's side of a tap"
        raise HostError(what, "give the guest another MAC, as in 52:54:00:aa:bb:cc")
    device = request.device
    yield SetLinkUp(bridge.name)
    # Without an MTU of its own a tap gets the bridge's, or the bridge would take the tap's.
    yield CreateTap(device, str(request.mac.for_tap), request.queues > 1, request.mtu or bridge.mtu)
    yield DisableIpv6(device)
    yield JoinBridge(device, bridge.name, nic.link.name, nic.key)
    yield SetLinkUp(device)


def _bridge(definition: NicDefinition, nic: Nic, facts: Facts) -> Link:
    """Return the bridge that a tap joins: the one that the NIC is a port of, which the definition may name."""
    name, wanted = nic.link.name, definition.bridge
    if wanted and wanted not in facts.bridges:
        raise HostError(
            f"'{definition.name}' names bridge {wanted}, which does not exist",
            f"make it with 'ip link add {quote(wanted)} type bridge' and {_ip_link_set(name, 'master', wanted)}",
        )
    if nic.master is not None and nic.link.port_of != "bridge":
        raise _port_of_another_kind(nic.link, nic.master)
    if nic.master is None:
        raise HostError(
            f"a tap needs a Linux bridge that NIC {name} is a port of",
            f"make one with {_ip_link_set(name, 'master', wanted or 'BRIDGE')}, or ask for <type>macvtap</type>",
        )
    if wanted and nic.master.name != wanted:
        raise HostError(
            f"NIC {name} is a port of bridge {nic.master.name}, but '{definition.name}' names bridge {wanted}",
            f"move it with {_ip_link_set(name, 'master', wanted)}, or change the definition",
        )
    return nic.master
