# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a card must be for a guest, and which of its VFs the guest gets: the rows sr-iov and vmdq of the plan. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from shlex import quote

from libvirt_vepa.errors import HostError, InUseError
from libvirt_vepa.host.facts import Nic
from libvirt_vepa.host.sriov_inventory import VfInfo
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.model.interface import Guest, Mode, NicDefinition, Request
from libvirt_vepa.model.vf_settings import ATTRIBUTES, RATE, UNSET, VfSettings, VlanProtocol
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.operations.device import AcquireLease, SetLinkUp
from libvirt_vepa.operations.nic import ON, RESETTING, CreateVfs, HoldSharedSetting, VerifyOffload, disagree
from libvirt_vepa.operations.source_filter import DropReflectedFrames, UpdateVfMacSet
from libvirt_vepa.operations.vf import RATES, SetVf, SetVfMac, SetVfMtu, SetVfVlan, plain
from libvirt_vepa.store.shared_settings import OFFLOAD, SWITCH
from libvirt_vepa.store.store import VF

VEB, VEPA = "veb", "vepa"
# As many holders as a message names.
MOST_NAMED = 16
# What is set by itself.
SINGLE = tuple(name for name, attribute in ATTRIBUTES.items() if not attribute.group)


def switch_for(mode: Mode) -> str:
    """Return what the embedded switch must be for guests on VFs in a mode; there is no private one in hardware."""
    return VEB if mode is Mode.BRIDGE else VEPA


# -- the embedded switch


def plan_eswitch_mode(guest: Guest, nic: Nic, value: str) -> Iterator[HoldSharedSetting]:
    """Yield what has the embedded switch in a mode. Raises HostError or InUseError where that cannot be.

    Where there is no switch yet, most drivers do not say whether they can set it.
    """
    card, name = nic.card, nic.link.name
    if card.switch_mode is None and card.in_use:
        if value == VEB:
            return
        raise HostError(
            f"driver {card.driver or 'unknown'} of NIC {name} cannot set its embedded switch to VEPA",
            "ask for mode bridge, or use a NIC whose driver has hwmode, as ixgbe, i40e, ice, mlx5, bnxt, nfp or be2net",
        )
    sharing = card.shared.get(SWITCH)
    if sharing and sharing.value != value and sharing.users:
        raise disagree(name, sharing, guest.uuid)
    if card.driver in RESETTING and card.switch_mode != value and card.users:
        raise HostError(
            f"driver {card.driver} resets NIC {name} to set its embedded switch to {value.upper()}, "
            f"and others use it: {_listed(card.users)}",
            f"stop those guests first, or set it beforehand with 'bridge link set dev {quote(name)} hwmode {value}'",
        )
    yield HoldSharedSetting(SWITCH, name, nic.key, value, guest.uuid, guest.name)


def eswitch_for_macvtap(guest: Guest, nic: Nic, mode: Mode) -> Iterator[Operation]:
    """Yield what a macvtap on the NIC itself needs of an embedded switch (kernel commit 2469ffd), also of a later one.

    It can be had beside a switch whose driver has no control of it.
    """
    without_control = nic.card.in_use and nic.card.switch_mode is None
    if mode is not Mode.BRIDGE and (nic.card.in_use or nic.card.total) and not without_control:
        yield from plan_eswitch_mode(guest, nic, VEPA)


# -- VMDq


def plan_offload(guest: Guest, nic: Nic) -> Iterator[Operation]:
    """Yield what lets a NIC forward to macvtaps by itself. Raises HostError where it cannot."""
    feature, name = nic.card.offload, nic.link.name
    if feature is None or (feature.fixed and not feature.on):
        why = "does not have" if feature is None else "has fixed off"
        raise HostError(
            f"driver {nic.card.driver or 'unknown'} of NIC {name} {why} {OFFLOAD}",
            "define it with <type>ethernet</type>, or use a NIC with VMDq, as with ixgbe, i40e or fm10k",
        )
    if not feature.fixed:
        yield HoldSharedSetting(OFFLOAD, name, nic.key, ON, guest.uuid, guest.name)


def plan_vmdq_pool(guest: Guest, request: Request, nic: Nic, mode: Mode) -> Iterator[Operation]:
    """Yield what follows once the macvtap is up: with the first offloaded one there is an embedded switch."""
    yield VerifyOffload(request.device, nic.link.name, str(request.mac))
    if mode is not Mode.BRIDGE:
        yield from plan_eswitch_mode(guest, nic, VEPA)


# -- SR-IOV


def plan_vf_creation(definition: NicDefinition, nic: Nic, made: CreateVfs | None) -> CreateVfs | None:
    """Return what makes the VFs that a definition wants and that are not there; HostError where that cannot be.

    `made` are those that another interface of the guest has made already.
    """
    card, name = nic.card, nic.link.name
    if card.eswitch != "legacy":
        remedy = f"'devlink dev eswitch set pci/{card.address} mode legacy', or define the VFs' representors"
        raise HostError(f"NIC {name} is in eswitch mode {card.eswitch}, which is not for guests by name", remedy)
    if card.address is None or not card.total:
        raise HostError(
            f"NIC {name} has no SR-IOV", f"define '{definition.name}' with <type>ethernet</type>, or see its firmware"
        )
    if card.functions or made:
        return made
    if definition.vf_count is None:
        some = f"write <vf count='{card.total}'/> into '{definition.name}'"
        remedy = f"give {card.address} some by its sriov_numvfs, or {some}"
        raise HostError(f"NIC {name} has no VFs now", remedy)
    if definition.vf_count > card.total:
        raise HostError(
            f"NIC {name} can have {card.total} VFs, not {definition.vf_count}",
            f"change the count of '{definition.name}'",
        )
    return CreateVfs(name, nic.key, definition.vf_count, definition.name)


def reserve_future_vf(request: Request, definition: NicDefinition, made: CreateVfs, reserved: Collection[int]) -> int:
    """Return the number of the first VF, of those that will be made, that is none of those `reserved` already.

    Raises HostError, and XmlError, for all that can be known to be refused once they are there.
    """
    effective_vf_settings(request, definition)
    first, last = definition.vf_range or (0, made.count - 1)
    allowed = range(first, min(last + 1, made.count))
    for number in allowed:
        if number not in reserved:
            return number
    if not allowed:
        what = f"NIC {made.nic} will have {made.count} VFs, and none of VFs {first} to {last}"
        raise HostError(what, f"change the range or the count of '{definition.name}'")
    what = f"this guest asks for more VFs than the {len(allowed)} that '{definition.name}' gives of NIC {made.nic}"
    raise HostError(what, "change its range or its count, or ask for fewer")


def allocate_vf(definition: NicDefinition, nic: Nic, taken: Collection[str]) -> VfInfo:
    """Return the first VF by PCI order that is free and not among those `taken` already. Raises InUseError."""
    ordered = sorted(nic.card.functions, key=lambda each: each.address)
    allowed = [each for each in ordered if definition.vf_range is None or _within(each.number, definition.vf_range)]
    for function in allowed:
        if not function.user and str(function.address) not in taken:
            return function
    if definition.vf_range and not allowed:
        numbers = " to ".join(map(str, definition.vf_range))
        raise HostError(f"NIC {nic.link.name} has none of VFs {numbers}", f"change the range of '{definition.name}'")
    raise InUseError(
        f"no VF of NIC {nic.link.name} is free: {_listed([_holder(function) for function in allowed])}",
        "stop one of these guests, or make more VFs",
    )


def reject_tap(definition: NicDefinition) -> None:
    """Raise HostError where what a definition says would not hold for a tap, whose frames go by way of a bridge."""
    restrictions = definition.vf.restrictions
    for name, value in vars(restrictions).items():
        if value is not None:
            raise HostError(
                f"'{definition.name}' has {restrictions.words_of(name)} by its VFs, and a tap is on none",
                "ask for <type>macvtap</type>, or define the NIC under another name without that",
            )


def _within(number: int, span: tuple[int, int]) -> bool:
    first, last = span
    return first <= number <= last


def _holder(function: VfInfo) -> str:
    return f"VF {function.number}: {function.user or 'this guest'}"


def _listed(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return ", ".join(texts[:MOST_NAMED]) + more


def plan_vf(
    guest: Guest, request: Request, definition: NicDefinition, nic: Nic, function: VfInfo
) -> Iterator[Operation]:
    """Yield what gives a guest a VF, all but the macvtap on it. Raises HostError where the driver cannot."""
    name, number, address, pf_view = nic.link.name, function.number, NicKey(function.address), function.pf_view
    if pf_view is None:
        raise HostError(f"driver {nic.card.driver} of NIC {name} tells nothing of VF {number}", "see 'ip link show'")
    _check(request, nic, function)
    yield AcquireLease(VF, address, guest.uuid, guest.name)
    mtu = function.link.mtu if function.link else 0
    yield SetVfMac(name, number, address, str(request.mac), str(pf_view.mac), mtu)
    if request.mtu is not None and request.mtu > mtu:
        yield SetVfMtu(address, request.mtu, mtu)
    yield from plan_vf_settings((name, number, address), effective_vf_settings(request, definition), pf_view.settings)
    yield SetLinkUp(address)


def _check(request: Request, nic: Nic, function: VfInfo) -> None:
    others = (each for each in nic.card.functions if each.number != function.number and each.pf_view)
    for other in others:
        if other.pf_view and other.pf_view.mac == request.mac and other.user:
            raise InUseError(f"{request.mac} is the MAC of {_holder(other)}", "give the guest another MAC")


def effective_vf_settings(request: Request, definition: NicDefinition) -> VfSettings:
    """Return what a VF is to be set to: what the request says, then its <bandwidth>, then the definition.

    What the definition says binds: a request may repeat it, and ask for a lower rate. Raises XmlError or HostError
    where these do not go together.
    """
    bandwidth = VfSettings()
    if request.outbound is not None:
        # From kilobytes to whole megabits, and no less than the one that is no "no limit".
        bandwidth = VfSettings(max_tx_rate=max(1, request.outbound * 8 // 1000))
    asked = request.vf.merged_over(bandwidth)
    _check_allowed(asked, definition)
    found = asked.merged_over(definition.vf).validated()
    if found.vlan is None and (found.qos is not None or found.proto is not None):
        raise HostError("qos and proto are a VLAN's, and none is asked for", "write <vlan><tag id='…'/></vlan> too")
    return found


def _check_allowed(asked: VfSettings, definition: NicDefinition) -> None:
    bound = definition.vf.binding
    name = asked.excess(bound)
    if name:
        at_most = " at most" if ATTRIBUTES[name].group == RATE else ""
        raise HostError(
            f"{asked.words_of(name)} is not allowed on '{definition.name}'",
            f"ask for {bound.words_of(name)}{at_most}, or leave it out",
        )


def plan_vf_settings(which: tuple[str, int, NicKey], asked: VfSettings, now: VfSettings) -> Iterator[Operation]:
    """Yield what changes the settings of a VF: of which NIC, its number, its PCI address. Raises HostError."""
    if asked.vlan is not None:
        proto, before = asked.proto or VlanProtocol.DOT1Q, now.proto or VlanProtocol.DOT1Q
        vlan = asked.vlan, asked.qos or 0, proto.value
        had = now.vlan or 0, now.qos or 0, before.value
        if vlan != had:
            yield SetVfVlan(*which, *vlan, *had)
    for setting in (*SINGLE, *_rates(asked, now)):
        value, before_value = plain(asked, setting), plain(now, setting)
        if value is None or value == before_value:
            continue
        if before_value is None:
            raise HostError(f"the driver of NIC {which[0]} does not tell {setting} of a VF", "leave it out")
        yield SetVf(*which, setting, value, before_value)


def _rates(asked: VfSettings, now: VfSettings) -> Iterable[str]:
    """Return in which order the rates are set: the lower one is never above the higher, nor on the way back."""
    most, least = asked.max_tx_rate, now.min_tx_rate
    return reversed(RATES) if most and least and least > most else RATES


def plan_filters(request: Request, nic: Nic, function: VfInfo, mode: Mode) -> Iterator[Operation]:
    """Yield what keeps reflected frames from a guest on a VF, once its netdev is the one that stays."""
    name, mac = nic.link.name, str(request.mac)
    if mode is not Mode.BRIDGE:
        yield DropReflectedFrames(name, nic.key, NicKey(function.address), mac, mode is Mode.PEPA)
    yield UpdateVfMacSet(name, nic.key, mac)


def remarks(request: Request, definition: NicDefinition, nic: Nic, mode: Mode, function: VfInfo) -> Iterator[str]:
    """Yield what an administrator should know: the filters stand on the spoof check of the other VFs."""
    count = len(nic.card.functions)
    if definition.vf_count is not None and count < definition.vf_count:
        what = f"NIC {nic.link.name} has {count} VFs instead of the {definition.vf_count} of '{definition.name}'"
        yield f"{what}, because VFs are made only where there are none"
    if mode is Mode.BRIDGE:
        return
    now = function.pf_view.settings if function.pf_view else UNSET
    if effective_vf_settings(request, definition).merged_over(now).spoofchk is False:
        yield f"the spoof check of VF {function.number} of NIC {nic.link.name} is off: its guest can pass for another"
    for other in nic.card.functions:
        if other.number == function.number or not other.user or not other.pf_view:
            continue
        if other.pf_view.settings.spoofchk is False:
            yield f"the spoof check of NIC {nic.link.name} is off at {_holder(other)}: it can pass for another"
