# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The contract of every operation: describe, apply, drift, undo, in both polarities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from libvirt_vepa.errors import InUseError, KernelError, VepaError
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.operations.base import Operation
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
from libvirt_vepa.operations.nic import CreateVfs, HoldSharedSetting, RemoveVfs, VerifyOffload
from libvirt_vepa.operations.registry import KNOWN
from libvirt_vepa.operations.source_filter import DropReflectedFrames, UpdateVfMacSet
from libvirt_vepa.operations.vf import SetVf, SetVfMac, SetVfMtu, SetVfVlan
from tests.lab.shell import run
from tests.support.host_fixture import World, device, links, mac, node, uuid

DEVICE, FEATURE = device(1), "tx-checksum-ip-generic"
MACVTAP = CreateMacvtap(DEVICE, "eth1", mac(1), "vepa", 1400)
TAP = CreateTap("tap1", "fe:54:00:00:01:01", True, 1400)
LEASE = AcquireLease("mac", mac(1), uuid(1), "web1")
# Each with what must be done before it, and what it says of its absence.
SETTINGS: dict[Any, tuple[Any, str]] = {
    SetLinkUp(DEVICE): (MACVTAP, f"{DEVICE} is down"),
    DisableIpv6(DEVICE): (MACVTAP, f"{DEVICE} has the host's IPv6 enabled"),
    ReceiveAllMulticast(DEVICE): (MACVTAP, f"{DEVICE} does not receive all multicast"),
    JoinBridge("tap1", "br1"): (TAP, "tap1 is not a port of bridge br1"),
}
MADE = {
    LEASE: f"mac {mac(1)} is not reserved for guest 'web1'",
    MACVTAP: f"{DEVICE} has gone",
    TAP: "tap1 has gone",
    # Any feature that can be switched will do.
    HoldSharedSetting(FEATURE, "eth1", NicKey("eth1"), "off", uuid(1), "web1"): f"eth1 has {FEATURE} on instead of off",
}
# Those need a card, which tests/sriov has.
ELSEWHERE = {
    VerifyOffload,
    DropReflectedFrames,
    UpdateVfMacSet,
    CreateVfs,
    RemoveVfs,
    SetVf,
    SetVfMac,
    SetVfMtu,
    SetVfVlan,
}
# What is done for the NIC or the bridge is not undone, and so it is the same for all guests.
LOST = {SetLinkUp: "{} has gone", WaitForTapNode: "{} has no character device below /dev"}


@pytest.fixture(autouse=True)
def _bridge(world: World) -> None:
    run("ip", "link", "add", "br1", "type", "bridge")


def drifts(operation: Operation, world: World) -> list[str]:
    return list(operation.verify(world.host))


def named(operation: Operation) -> str:
    return type(operation).__name__


def test_every_operation_is_here() -> None:
    assert {type(operation) for operation in (*SETTINGS, *MADE)} | {WaitForTapNode} | ELSEWHERE == set(KNOWN.values())


@pytest.mark.parametrize("operation", MADE, ids=named)
def test_what_is_made_holds_until_it_is_undone(world: World, operation: Any) -> None:
    before = links(), world.files()
    assert drifts(operation, world) == [MADE[operation]]
    operation.apply(world.host)
    assert drifts(operation, world) == []
    operation.undo(world.host)
    assert (links(), world.files()) == before
    operation.undo(world.host)
    assert (links(), world.files()) == before


@pytest.mark.parametrize("operation", SETTINGS, ids=named)
def test_a_setting_may_be_made_again_and_goes_with_its_device(world: World, operation: Any) -> None:
    first, absent = SETTINGS[operation]
    first.apply(world.host)
    assert drifts(operation, world) == [absent]
    for _ in range(2):
        operation.apply(world.host)
        assert drifts(operation, world) == []
    operation.undo(world.host)
    assert drifts(operation, world) == []
    first.undo(world.host)
    assert first.device not in links()


@pytest.mark.parametrize("operation", [*SETTINGS, WaitForTapNode(DEVICE)], ids=named)
def test_a_setting_without_its_device_may_be_undone(world: World, operation: Any) -> None:
    before = links()
    # One line that says "has gone" is enough; the one that made the device says it.
    wanted = LOST.get(type(operation))
    assert drifts(operation, world) == ([wanted.format(operation.device)] if wanted else [])
    operation.undo(world.host)
    if not isinstance(operation, DisableIpv6 | WaitForTapNode):
        with pytest.raises(KernelError, match=f"cannot use {operation.device}: No such device; .* then try again"):
            operation.apply(world.host)
    assert links() == before


@pytest.mark.parametrize("operation", [MACVTAP, TAP], ids=named)
def test_what_exists_is_neither_made_again_nor_touched(world: World, operation: Any) -> None:
    operation.apply(world.host)
    before = links()
    with pytest.raises((KernelError, InUseError), match="exists"):
        operation.apply(world.host)
    assert links() == before


def test_a_lease_is_taken_again_by_its_guest_only(world: World) -> None:
    LEASE.apply(world.host)
    LEASE.apply(world.host)
    other = replace(LEASE, uuid=uuid(2), guest="web2")
    with pytest.raises(InUseError, match=rf"mac {mac(1)} is in use by guest 'web1' \({uuid(1)}\); choose another mac"):
        other.apply(world.host)
    other.undo(world.host)
    assert drifts(LEASE, world) == []
    assert len(world.files()) == 1


@pytest.mark.parametrize(
    ("operation", "foreign"),
    [
        (MACVTAP, f"link add link eth1 name {DEVICE} address 52:54:00:ff:00:01 type macvtap mode vepa"),
        (MACVTAP, f"link add name {DEVICE} address {mac(1)} type bridge"),
        (MACVTAP, f"tuntap add {DEVICE} mode tap"),
        (TAP, "tuntap add tap1 mode tap"),
        (TAP, f"link add name tap1 address {TAP.mac} type bridge"),
        (TAP, f"link add link eth1 name tap1 address {TAP.mac} type macvtap mode vepa"),
    ],
)
def test_an_undo_leaves_anothers_device_of_that_name(world: World, operation: Operation, foreign: str) -> None:
    run("ip", *foreign.split())
    before = links()
    operation.undo(world.host)
    assert links() == before
    assert drifts(operation, world)


@pytest.mark.parametrize(
    ("change", "drift"),
    [
        ("address 52:54:00:ff:00:01", f"{DEVICE} has mac 52:54:00:ff:00:01 instead of {mac(1)}"),
        ("mtu 1300", f"{DEVICE} has mtu 1300 instead of 1400"),
        ("type macvtap mode bridge", f"{DEVICE} has mode bridge instead of vepa"),
    ],
)
def test_a_macvtap_tells_what_is_different(world: World, change: str, drift: str) -> None:
    MACVTAP.apply(world.host)
    run("ip", "link", "set", "dev", DEVICE, *change.split())
    assert drifts(MACVTAP, world) == [drift]


def test_a_macvtap_tells_that_it_stands_elsewhere(world: World) -> None:
    MACVTAP.apply(world.host)
    run("ip", "link", "set", "eth1", "name", "lan1")
    assert drifts(MACVTAP, world) == [f"{DEVICE} does not stand on eth1"]
    run("ip", "link", "set", "lan1", "name", "eth1")
    assert drifts(MACVTAP, world) == []


def test_a_tap_tells_what_is_different(world: World) -> None:
    TAP.apply(world.host)
    run("ip", "link", "set", "tap1", "address", "fe:54:00:ff:00:01", "mtu", "1300")
    assert drifts(TAP, world) == [
        f"tap1 has mac fe:54:00:ff:00:01 instead of {TAP.mac}",
        "tap1 has mtu 1300 instead of 1400",
    ]
    assert drifts(replace(TAP, multi_queue=False), world)[-1] == "tap1 has multi_queue True instead of False"


def test_a_node_holds_until_it_goes(world: World) -> None:
    MACVTAP.apply(world.host)
    WaitForTapNode(DEVICE).apply(world.host)
    assert drifts(WaitForTapNode(DEVICE), world) == []
    node(DEVICE).unlink()
    assert drifts(WaitForTapNode(DEVICE), world) == [f"{DEVICE} has no character device below /dev"]


def test_a_kernel_that_says_no_is_one_line(world: World) -> None:
    with pytest.raises(VepaError) as caught:
        replace(MACVTAP, mac="01:00:5e:00:00:01").apply(world.host)
    assert str(caught.value) == (
        f"cannot create macvtap {DEVICE} on eth1: Cannot assign requested address; see the kernel's log"
    )
    assert DEVICE not in links()
