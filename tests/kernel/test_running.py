# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that starts or runs: check, mend and status tell what is no longer as it was made, and what was repaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from libvirt_vepa.errors import KernelError, StateError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel.snapshot import Snapshot
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import status
from libvirt_vepa.model.interface import Guest
from libvirt_vepa.operations.device import (
    CreateMacvtap,
    DisableIpv6,
    JoinBridge,
    ReceiveAllMulticast,
    SetLinkUp,
    WaitForTapNode,
)
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.host_fixture import PROCESS, SECONDS, World, ask, device, guest, line, links, mac, node, uuid

ONE, TAP, DEVICE = guest(1), guest(1, ask(1, kind="tap")), device(1)
Look = Callable[[Guest, Host], tuple[str, ...]]
# What somebody does to a device, what is said of it, and whether a running guest can have it repaired.
CHANGES = {
    f"link set {DEVICE} down": (f"{DEVICE} is down", True),
    f"link set {DEVICE} allmulticast off": (f"{DEVICE} does not receive all multicast", True),
    "link set eth1 down": ("eth1 is down", True),
    f"link set dev {DEVICE} type macvtap mode bridge": (f"{DEVICE} has mode bridge instead of vepa", False),
    f"link delete {DEVICE}": (f"{DEVICE} has gone", False),
}


def checked(world: World, one: Guest = ONE) -> str:
    """Return what a guest's start says is not as it was made."""
    with pytest.raises(KernelError) as caught:
        guests.check(one, world.host)
    return line(str(caught.value), one)


def test_a_guest_that_is_as_it_was_made(world: World) -> None:
    world.begin(ONE)
    before = links(), world.files()
    guests.check(ONE, world.host)
    assert guests.repair_guest(ONE, world.host) == ()
    (row,) = status.interfaces(world.host)
    assert (row.guest, row.state, row.use.nic, row.use.mode, row.use.device) == ("web1", "ok", "eth1", "vepa", DEVICE)
    assert (links(), world.files()) == before


@pytest.mark.parametrize(("change", "drift", "repairs"), [(change, *what) for change, what in CHANGES.items()])
def test_a_change_is_told_and_repaired_where_that_is_safe(world: World, change: str, drift: str, repairs: bool) -> None:
    world.begin(ONE)
    run("ip", *change.split())
    (row,) = status.interfaces(world.host)
    assert drift in row.state or drift == "eth1 is down"
    if repairs:
        assert guests.repair_guest(ONE, world.host) == (f"{drift}: repaired",)
        assert guests.repair_guest(ONE, world.host) == ()
    else:
        assert drift in guests.repair_guest(ONE, world.host)
        assert checked(world).startswith(f"interface {mac(1)}: ") and drift in checked(world)


@pytest.mark.parametrize(("change", "drift"), [(change, what) for change, (what, safe) in CHANGES.items() if safe])
def test_a_start_repairs_what_was_changed_since_prepare(world: World, change: str, drift: str) -> None:
    world.begin(ONE)
    run("ip", *change.split())
    assert guests.check(ONE, world.host) == (f"{drift}: repaired",)
    assert guests.check(ONE, world.host) == ()


def test_what_cannot_be_repaired_is_said_with_why(world: World) -> None:
    world.begin(ONE)
    Path(f"/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6").write_text("0\n")
    run("mount", "--bind", "-o", "ro", "/proc/sys", "/proc/sys")
    try:
        text = checked(world)
        told = guests.repair_guest(ONE, world.host)
    finally:
        run("umount", "/proc/sys")
    assert text.startswith(f"interface {mac(1)}: {DEVICE} has the host's IPv6 enabled; ")
    assert told[0].startswith("cannot write /proc/sys") and told[1] == f"{DEVICE} has the host's IPv6 enabled"


def test_ipv6_is_disabled_again_before_the_device_is_up(world: World) -> None:
    world.begin(ONE)
    run("ip", "link", "set", DEVICE, "down")
    switch = Path(f"/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6")
    switch.write_text("0\n")
    drifts = f"{DEVICE} has the host's IPv6 enabled", f"{DEVICE} is down"
    assert guests.repair_guest(ONE, world.host) == tuple(f"{drift}: repaired" for drift in drifts)
    assert switch.read_text() == "1\n" and links()[DEVICE]["up"]


@pytest.mark.parametrize("look", [guests.check, guests.repair_guest])
def test_a_tap_that_has_left_its_bridge_joins_it_again(world: World, bridge: str, look: Look) -> None:
    world.begin(TAP)
    run("ip", "link", "set", DEVICE, "nomaster")
    assert look(TAP, world.host) == (f"{DEVICE} is not a port of bridge br-lan: repaired",)
    assert links()[DEVICE]["master"] == "br-lan"


def test_a_nic_that_left_its_bridge_is_reported_and_left_alone(world: World, bridge: str) -> None:
    world.begin(TAP)
    run("ip", "link", "set", "eth1", "nomaster")
    drift = "eth1 is no longer a port of bridge br-lan ('ip link set eth1 master br-lan' puts it back)"
    (row,) = status.interfaces(world.host)
    assert row.state == drift
    assert guests.repair_guest(TAP, world.host) == (drift,)
    assert checked(world, TAP).startswith(f"interface {mac(1)}: {drift}; ")
    assert links()["eth1"]["master"] is None and links()[DEVICE]["master"] == "br-lan"
    run("ip", "link", "set", "eth1", "master", "br-lan")
    assert guests.check(TAP, world.host) == () == guests.repair_guest(TAP, world.host)


def test_what_cannot_be_repaired_does_not_keep_the_rest_from_it(world: World, dmz: Nic) -> None:
    world.define("dmz", "eth2")
    world.begin(guest(1, ask(1, 1, name="dmz"), ask(1, 2)))
    run("ip", "link", "delete", "eth2")
    run("ip", "link", "set", device(1, 2), "down")
    told = guests.repair_guest(ONE, world.host)
    assert any(text.startswith("cannot use eth2: No such device; ") for text in told)
    assert links()[device(1, 2)]["up"]


def test_what_has_changed_is_told_of_the_interface_it_belongs_to(world: World) -> None:
    one, remedy = (
        guest(1, ask(1, 1), ask(1, 2)),
        "see that nothing else manages these devices, then start the guest again",
    )
    world.begin(one)
    run("ip", "link", "set", "dev", device(1, 2), "type", "macvtap", "mode", "bridge")
    second = f"interface {mac(1, 2)}: {device(1, 2)} has mode bridge instead of vepa"
    assert checked(world, one) == f"{second}; {remedy}"
    run("ip", "link", "set", "dev", device(1, 1), "type", "macvtap", "mode", "private")
    first = f"interface {mac(1, 1)}: {device(1, 1)} has mode private instead of vepa"
    assert checked(world, one) == f"{first}, and {second}; {remedy}"


def test_a_node_that_has_gone_is_told(world: World) -> None:
    world.begin(ONE)
    node(DEVICE).unlink()
    assert checked(world) == (
        f"interface {mac(1)}: {DEVICE} has no character device below /dev; "
        "see that nothing else manages these devices, then start the guest again"
    )


@pytest.mark.parametrize("look", [guests.check, guests.repair_guest])
def test_a_guest_of_which_nothing_is_known(world: World, look: Look) -> None:
    with pytest.raises(StateError, match="nothing is known of its devices; see that the hook is installed"):
        look(ONE, world.host)


def test_status_has_rows_for_interfaces_and_unreadable_journals(world: World) -> None:
    world.begin(guest(1, ask(1, 1), ask(1, 2, mode="bridge")))
    for number in (2, 3):
        world.begin(guest(number))
    (world.root / "guests" / f"{uuid(2)}.json").write_text("{")
    run("ip", "link", "delete", device(1, 2))
    # Somebody else's, in the place of a guest's.
    run("ip", "link", "delete", device(3))
    run("ip", "link", "add", device(3), "type", "bridge")
    rows = [(row.uuid, row.use.device, row.state) for row in status.interfaces(world.host)]
    assert rows[0] == (uuid(1), device(1, 1), "ok")
    assert rows[1][:2] == (uuid(1), device(1, 2)) and rows[1][2].startswith(f"{device(1, 2)} has gone")
    assert rows[2][:2] == (uuid(2), "-") and "is damaged" in rows[2][2]
    assert rows[3][2].startswith(f"{device(3)} has kind bridge instead of macvtap")


PASSING = (
    SetLinkUp("x1"),
    CreateMacvtap("x3", "x1", mac(1), "vepa", None),
    DisableIpv6("x3"),
    ReceiveAllMulticast("x3"),
    JoinBridge("x3", "x2"),
    WaitForTapNode("x3"),
)


def churn(begun: Connection) -> None:
    """Make and delete a device and its NIC for as long as somebody looks."""
    while begun.poll(0) is False:
        run("ip", "link", "add", "x1", "type", "veth", "peer", "name", "x2")
        run("ip", "link", "add", "link", "x1", "name", "x3", "type", "macvtap")
        run("ip", "link", "delete", "x1")


def test_devices_that_come_and_go_during_a_lookup(world: World) -> None:
    """No half of one, and no error that is not one of ours, whether they are read by themselves or with all others."""
    mine, its = PROCESS.Pipe()
    child = PROCESS.Process(target=churn, args=(its,))
    child.start()
    for _ in range(300):
        with Snapshot() as seen:
            for step, host in product(PASSING, (world.host, replace(world.host, netlink=seen))):
                assert all(isinstance(text, str) for text in step.verify(host))
    mine.send("done")
    child.join(SECONDS)
    assert child.exitcode == 0
