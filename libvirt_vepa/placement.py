"""What a card must be for a guest, and which of its VFs the guest gets: the rows sr-iov and vmdq of the plan. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from libvirt_vepa.cards import OFFLOAD, ON, SWITCH, AwaitStation, MakeVfs, Share, disagree
from libvirt_vepa.errors import HostError, TakenError
from libvirt_vepa.facts import Nic
from libvirt_vepa.inventory import VF, Function
from libvirt_vepa.model import Guest, HostInterface, Mode, Request
from libvirt_vepa.operations import Operation, SetUp, TakeLease
from libvirt_vepa.settings import UNSET, VfSettings, VlanProtocol
from libvirt_vepa.siblings import HearNoSiblings, KnowSiblings
from libvirt_vepa.virtual import SetVf, SetVfMac, SetVfMtu, SetVfVlan, plain

VEB, VEPA = "veb", "vepa"
# Drivers that reset the whole NIC, and with it all VFs, when its switch gets another mode (i40e_ndo_bridge_setlink).
RESETTING = frozenset({"i40e"})
# As many holders as a message names.
MOST_NAMED = 16
# MAC, then spoof check, as Intel's cards need it; the higher rate before the lower.
ORDER = ("spoofchk", "trust", "state", "max_tx_rate", "min_tx_rate")


def switch_for(mode: Mode) -> str:
    """Return what the embedded switch must be for guests on VFs in a mode; there is no private one in hardware."""
    return VEB if mode is Mode.BRIDGE else VEPA


# -- the embedded switch


def switch(guest: Guest, nic: Nic, value: str) -> Iterator[Operation]:
    """Yield what has the embedded switch in a mode. Raises HostError or TakenError where that cannot be."""
    card, name = nic.card, nic.link.name
    if card.switch_mode is None:
        if value == VEB:
            return
        raise HostError(
            f"driver {card.driver or 'unknown'} of NIC {name} cannot set its embedded switch to VEPA",
            "ask for mode bridge, or use a NIC whose driver has hwmode, as ixgbe, i40e, ice, mlx5, bnxt, nfp or be2net",
        )
    sharing = card.shared.get(SWITCH)
    if sharing and sharing.value != value and sharing.users:
        raise disagree(name, sharing, guest.uuid)
    used = [_holder(function) for function in card.functions if function.holder or function.obstacle]
    if card.driver in RESETTING and card.switch_mode != value and used:
        raise HostError(
            f"driver {card.driver} resets NIC {name} to set its embedded switch to {value.upper()}, "
            f"and its VFs are in use: {_listed(used)}",
            f"stop those guests first, or set it beforehand with 'bridge link set dev {name} hwmode {value}'",
        )
    yield Share(SWITCH, name, nic.key, value, guest.uuid, guest.name)


def beside(guest: Guest, nic: Nic, mode: Mode) -> Iterator[Operation]:
    """Yield what a macvtap on the NIC itself needs of an embedded switch that is in use (kernel commit 2469ffd)."""
    if mode is not Mode.BRIDGE and nic.card.functions and nic.card.switch_mode is not None:
        yield from switch(guest, nic, VEPA)


# -- VMDq


def offload(guest: Guest, nic: Nic) -> Iterator[Operation]:
    """Yield what lets a NIC forward to macvtaps by itself. Raises HostError where it cannot."""
    feature, name = nic.card.offload, nic.link.name
    if feature is None or (feature.fixed and not feature.on):
        why = "does not have" if feature is None else "has fixed off"
        raise HostError(
            f"driver {nic.card.driver or 'unknown'} of NIC {name} {why} {OFFLOAD}",
            "define it with <type>ethernet</type>, or use a NIC with VMDq, as with ixgbe, i40e or fm10k",
        )
    if not feature.fixed:
        yield Share(OFFLOAD, name, nic.key, ON, guest.uuid, guest.name)


def station(guest: Guest, request: Request, nic: Nic, mode: Mode) -> Iterator[Operation]:
    """Yield what follows once the macvtap is up: the embedded switch comes into being with the first station."""
    yield AwaitStation(request.device, nic.link.name, str(request.mac))
    if mode is not Mode.BRIDGE:
        if nic.card.switch_mode is None:
            yield Share(SWITCH, nic.link.name, nic.key, VEPA, guest.uuid, guest.name)
        else:
            yield from switch(guest, nic, VEPA)


# -- SR-IOV


def missing(host: HostInterface, nic: Nic) -> MakeVfs | None:
    """Return what makes the VFs that a definition wants and that are not there; HostError where that cannot be."""
    card, name = nic.card, nic.link.name
    if card.eswitch != "legacy":
        remedy = f"'devlink dev eswitch set pci/{card.address} mode legacy', or define the VFs' representors"
        raise HostError(f"NIC {name} is in eswitch mode {card.eswitch}, which is not for guests by name", remedy)
    if card.address is None or not card.total:
        raise HostError(
            f"NIC {name} has no SR-IOV", f"define '{host.name}' with <type>ethernet</type>, or see its firmware"
        )
    if card.functions:
        return None
    if host.vf_count is None:
        remedy = f"give {card.address} some by its sriov_numvfs, or write <vf count='{card.total}'/> into '{host.name}'"
        raise HostError(f"NIC {name} has no VFs now", remedy)
    if host.vf_count > card.total:
        raise HostError(
            f"NIC {name} can have {card.total} VFs, not {host.vf_count}", f"change the count of '{host.name}'"
        )
    return MakeVfs(name, str(card.address), host.vf_count, host.name)


def pick(host: HostInterface, nic: Nic, taken: Collection[str]) -> Function:
    """Return the first VF by PCI order that is free and not among those `taken` already. Raises TakenError."""
    ordered = sorted(nic.card.functions, key=lambda each: each.address)
    allowed = [each for each in ordered if host.vf_range is None or _within(each.number, host.vf_range)]
    for function in allowed:
        if not function.holder and not function.obstacle and str(function.address) not in taken:
            return function
    if host.vf_range and not allowed:
        numbers = " to ".join(map(str, host.vf_range))
        raise HostError(f"NIC {nic.link.name} has none of VFs {numbers}", f"change the range of '{host.name}'")
    raise TakenError(
        f"no VF of NIC {nic.link.name} is free: {_listed([_holder(function) for function in allowed])}",
        "stop one of these guests, or make more VFs",
    )


def _within(number: int, span: tuple[int, int]) -> bool:
    first, last = span
    return first <= number <= last


def _holder(function: Function) -> str:
    who = f"guest '{function.holder.guest}'" if function.holder else function.obstacle or "this guest"
    return f"VF {function.number}: {who}"


def _listed(texts: list[str]) -> str:
    more = f", and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return ", ".join(texts[:MOST_NAMED]) + more


def virtual(guest: Guest, request: Request, host: HostInterface, nic: Nic, function: Function) -> Iterator[Operation]:
    """Yield what gives a guest a VF, all but the macvtap on it. Raises HostError where the driver cannot."""
    name, number, address, said = nic.link.name, function.number, str(function.address), function.said
    if said is None:
        raise HostError(f"driver {nic.card.driver} of NIC {name} tells nothing of VF {number}", "see 'ip link show'")
    _check(request, nic, function)
    yield TakeLease(VF, address, guest.uuid, guest.name)
    mtu = function.link.mtu if function.link else 0
    yield SetVfMac(name, number, address, str(request.mac), str(said.mac), mtu)
    if request.mtu is not None and request.mtu > mtu:
        yield SetVfMtu(address, request.mtu, mtu)
    yield from settings((name, number, address), wanted(request, host), said.settings)
    yield SetUp(address)


def _check(request: Request, nic: Nic, function: Function) -> None:
    others = (each for each in nic.card.functions if each.number != function.number and each.said)
    for other in others:
        if other.said and other.said.mac == request.mac and (other.holder or other.obstacle):
            raise TakenError(f"{request.mac} is the MAC of {_holder(other)}", "give the guest another MAC")


def wanted(request: Request, host: HostInterface) -> VfSettings:
    """Return what a VF is to be set to: what the request says, then its <bandwidth>, then the definition.

    Raises XmlError where these do not go together.
    """
    bandwidth = VfSettings()
    if request.outbound is not None:
        # From kilobytes to whole megabits, and no less than the one that is no "no limit".
        bandwidth = VfSettings(max_tx_rate=max(1, request.outbound * 8 // 1000))
    return request.vf.over(bandwidth).over(host.vf).checked()


def settings(which: tuple[str, int, str], asked: VfSettings, now: VfSettings) -> Iterator[Operation]:
    """Yield what changes the settings of a VF: of which NIC, its number, its PCI address. Raises HostError."""
    if asked.vlan is not None:
        proto, before = asked.proto or VlanProtocol.DOT1Q, now.proto or VlanProtocol.DOT1Q
        vlan = asked.vlan, asked.qos or 0, proto.value
        had = now.vlan or 0, now.qos or 0, before.value
        if vlan != had:
            yield SetVfVlan(*which, *vlan, *had)
    elif asked.qos is not None or asked.proto is not None:
        raise HostError("qos and proto are a VLAN's, and none is asked for", "write <vlan><tag id='…'/></vlan> too")
    for setting in ORDER:
        value, before_value = plain(asked, setting), plain(now, setting)
        if value is None or value == before_value:
            continue
        if before_value is None:
            raise HostError(f"the driver of NIC {which[0]} does not tell {setting} of a VF", "leave it out")
        yield SetVf(*which, setting, value, before_value)


def filters(request: Request, nic: Nic, function: Function, mode: Mode) -> Iterator[Operation]:
    """Yield what keeps reflected frames from a guest on a VF, once its netdev is the one that stays."""
    name, mac = nic.link.name, str(request.mac)
    if mode is not Mode.BRIDGE:
        yield HearNoSiblings(name, nic.key, str(function.address), mac, mode is Mode.PEPA)
    yield KnowSiblings(name, nic.key, mac)


def remarks(request: Request, host: HostInterface, nic: Nic, mode: Mode, function: Function) -> Iterator[str]:
    """Yield what an administrator should know: the filters stand on the spoof check of the other VFs."""
    if mode is Mode.BRIDGE:
        return
    now = function.said.settings if function.said else UNSET
    if wanted(request, host).over(now).spoofchk is False:
        yield f"the spoof check of VF {function.number} of NIC {nic.link.name} is off: its guest can pass for another"
    for other in nic.card.functions:
        used = other.holder or other.obstacle
        if other.number != function.number and used and other.said and other.said.settings.spoofchk is False:
            yield f"the spoof check of NIC {nic.link.name} is off at {_holder(other)}: it can pass for another"
