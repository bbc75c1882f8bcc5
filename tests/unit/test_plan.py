# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""From requests and facts to operations: every cell of the table, and what holds in every plan."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from libvirt_vepa.errors import HostError, InUseError
from libvirt_vepa.host.facts import Facts, Nic
from libvirt_vepa.kernel.rtnetlink import Link
from libvirt_vepa.model.address import MacAddress, NicKey
from libvirt_vepa.model.interface import Guest, GuestType, HostType, Mode, NicDefinition, Request, derived_device
from libvirt_vepa.operations.device import (
    AcquireLease,
    CreateMacvtap,
    CreateTap,
    DisableIpv6,
    JoinBridge,
    ReceiveAllMulticast,
    SetLinkUp,
    WaitForTapNode,
)
from libvirt_vepa.operations.registry import from_record
from libvirt_vepa.planning import planner
from libvirt_vepa.planning.planner import Plan
from libvirt_vepa.store.journal import Allocation

UUID = "11111111-2222-3333-4444-555555555555"
MAC = MacAddress.parse("52:54:00:aa:bb:cc")
NIC_MAC = MacAddress.parse("02:00:00:00:00:01")
DEVICE = derived_device(MAC)
ETH0 = NicKey("eth0")
MODES = (None, *Mode)
# What each cell gives on a NIC of type ethernet; a tap finds its bridge.
CELLS = {
    (GuestType.MACVTAP, None): "vepa",
    (GuestType.MACVTAP, Mode.VEPA): "vepa",
    (GuestType.MACVTAP, Mode.BRIDGE): "bridge",
    (GuestType.MACVTAP, Mode.PEPA): "private",
    (GuestType.TAP, None): "br0",
    (GuestType.TAP, Mode.BRIDGE): "br0",
    (GuestType.TAP, Mode.VEPA): "a tap cannot have mode vepa",
    (GuestType.TAP, Mode.PEPA): "a tap cannot have mode pepa",
}


def link(name: str, kind: str = "", mtu: int = 1500, port_of: str = "") -> Link:
    return Link(name, 1, kind, NIC_MAC, up=True, ethernet=True, mtu=mtu, port_of=port_of)


def facts(*definitions: NicDefinition, bridged: bool = False, mtu: int = 1500) -> Facts:
    nic = Nic(link("eth0", mtu=mtu, port_of="bridge"), link("br0", "bridge"), "") if bridged else None
    nic = nic or Nic(link("eth0", mtu=mtu), None, "")
    named = definitions or (NicDefinition("lan", "eth0", HostType.ETHERNET),)
    return Facts({definition.name: definition for definition in named}, {"eth0": nic}, {}, {}, {}, {})


def request(
    kind: GuestType = GuestType.MACVTAP, mode: Mode | None = None, mac: MacAddress = MAC, name: str = "lan", **more: Any
) -> Request:
    return Request(f"ua-{mac.digits}", name, kind, mode, mac, more.pop("device", derived_device(mac)), **more)


def make(seen: Facts, *requests: Request) -> Plan:
    return planner.make(Guest("web", UUID, requests), seen)


def kinds(made: Plan) -> list[str]:
    return [type(operation).__name__ for operation in made.operations]


def test_the_table_has_every_cell() -> None:
    assert set(CELLS) == set(itertools.product(GuestType, MODES))


@pytest.mark.parametrize(("cell", "becomes"), CELLS.items())
def test_a_cell_of_an_ethernet_nic(cell: tuple[GuestType, Mode | None], becomes: str) -> None:
    kind, mode = cell
    seen = facts(bridged=kind is GuestType.TAP)
    if " " in becomes:
        with pytest.raises(HostError, match=f"{becomes}; ask for bridge, or for <type>macvtap</type>"):
            make(seen, request(kind, mode))
        return
    made = make(seen, request(kind, mode)).operations
    if kind is GuestType.TAP:
        assert CreateTap(DEVICE, "fe:54:00:aa:bb:cc", False, 1500) in made
        assert JoinBridge(DEVICE, becomes, "eth0", ETH0) in made
    else:
        assert CreateMacvtap(DEVICE, "eth0", str(MAC), becomes, None, ETH0) in made


@pytest.mark.parametrize("host_type", [HostType.SRIOV, HostType.VMDQ])
def test_a_tap_is_the_same_whatever_the_nic_is(host_type: HostType) -> None:
    made = make(facts(NicDefinition("lan", "eth0", host_type), bridged=True), request(GuestType.TAP)).operations
    assert made == make(facts(bridged=True), request(GuestType.TAP)).operations


def test_the_order_of_a_macvtaps_steps() -> None:
    assert make(facts(), request()).operations == (
        AcquireLease("mac", str(MAC), UUID, "web"),
        AcquireLease("device", DEVICE, UUID, "web"),
        SetLinkUp("eth0", ETH0),
        CreateMacvtap(DEVICE, "eth0", str(MAC), "vepa", None, ETH0),
        DisableIpv6(DEVICE),
        ReceiveAllMulticast(DEVICE),
        SetLinkUp(DEVICE),
        WaitForTapNode(DEVICE),
    )


def test_the_order_of_a_taps_steps() -> None:
    assert make(facts(bridged=True), request(GuestType.TAP)).operations == (
        AcquireLease("mac", str(MAC), UUID, "web"),
        AcquireLease("device", DEVICE, UUID, "web"),
        SetLinkUp("eth0", ETH0),
        SetLinkUp("br0"),
        CreateTap(DEVICE, "fe:54:00:aa:bb:cc", False, 1500),
        DisableIpv6(DEVICE),
        JoinBridge(DEVICE, "br0", "eth0", ETH0),
        SetLinkUp(DEVICE),
    )


def macs(count: int) -> list[MacAddress]:
    return [MacAddress.parse(f"52:54:00:00:00:{number:02x}") for number in range(count)]


def test_a_nic_that_several_interfaces_share_is_put_up_once() -> None:
    made = make(facts(), *(request(mac=mac) for mac in macs(3)))
    assert kinds(made).count("SetLinkUp") == 1 + 3
    assert kinds(made).count("CreateMacvtap") == 3
    assert made.operations.index(SetLinkUp("eth0", ETH0)) < kinds(made).index("CreateMacvtap")


def test_what_a_plan_tells_of_its_uses() -> None:
    lan = NicDefinition("lan", "eth0", HostType.ETHERNET)
    fast = NicDefinition("fast", "eth0", HostType.ETHERNET, (Mode.PEPA,))
    one, two = macs(2)
    made = make(facts(lan, fast), request(mac=one), request(mac=two, name="fast"))
    assert made.uses == (
        Allocation(f"ua-{one.digits}", "lan", derived_device(one), "eth0", ETH0, "vepa"),
        Allocation(f"ua-{two.digits}", "fast", derived_device(two), "eth0", ETH0, "pepa"),
    )


def test_a_guest_without_requests_has_nothing_done() -> None:
    assert make(facts()) == planner.Plan((), ())


@pytest.mark.parametrize("kind", GuestType)
def test_a_plan_comes_back_from_the_journal(kind: GuestType) -> None:
    made = make(facts(bridged=kind is GuestType.TAP), request(kind, mtu=1400, queues=2))
    records = json.loads(json.dumps([operation.to_record() for operation in made.operations]))
    assert tuple(map(from_record, records)) == made.operations


@pytest.mark.parametrize("mtu", [68, 1500])
def test_an_mtu_that_fits(mtu: int) -> None:
    assert CreateMacvtap(DEVICE, "eth0", str(MAC), "vepa", mtu, ETH0) in make(facts(), request(mtu=mtu)).operations


@pytest.mark.parametrize(
    ("mtu", "says"), [(0, "less than"), (67, "less than"), (1501, "more than the 1500 of NIC eth0")]
)
def test_an_mtu_that_does_not(mtu: int, says: str) -> None:
    with pytest.raises(HostError, match=f"MTU {mtu} is {says}"):
        make(facts(), request(mtu=mtu))


@pytest.mark.parametrize(("queues", "multi"), [(1, False), (2, True), (256, True)])
def test_a_tap_has_several_queues_where_more_than_one_is_asked(queues: int, multi: bool) -> None:
    made = make(facts(bridged=True), request(GuestType.TAP, queues=queues))
    assert CreateTap(DEVICE, "fe:54:00:aa:bb:cc", multi, 1500) in made.operations


@pytest.mark.parametrize("queues", [0, 257, 999_999_999])
def test_queues_that_cannot_be_had(queues: int) -> None:
    with pytest.raises(HostError, match=f"invalid queue count {queues}; ask for 1 to 256"):
        make(facts(), request(queues=queues))


def test_one_device_for_two_interfaces_is_refused() -> None:
    one, two = macs(2)
    with pytest.raises(InUseError) as caught:
        make(facts(), request(mac=one, device="same"), request(mac=two, device="same", line=7))
    assert str(caught.value) == (
        f"interface {two} (line 7): device same is another interface's of this guest; "
        "choose another name in <target dev=…/>"
    )


@pytest.mark.parametrize("allowed", [modes for count in (1, 2, 3) for modes in itertools.permutations(Mode, count)])
@pytest.mark.parametrize("asked", Mode)
def test_only_allowed_modes_are_given_and_the_others_named(allowed: tuple[Mode, ...], asked: Mode) -> None:
    seen = facts(NicDefinition("lan", "eth0", HostType.ETHERNET, allowed))
    assert make(seen, request()).uses[0].mode == allowed[0].value
    if asked in allowed:
        assert make(seen, request(mode=asked)).uses[0].mode == asked.value
    else:
        choice = " or ".join(mode.value for mode in allowed)
        with pytest.raises(HostError, match=f"mode {asked.value} is not allowed on 'lan'; ask for {choice}$"):
            make(seen, request(mode=asked))
