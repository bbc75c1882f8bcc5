# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest with a tap gets, read back from the kernel."""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection

import pytest

from libvirt_vepa.errors import InUseError, KernelError
from libvirt_vepa.kernel import tuntap
from libvirt_vepa.operations.device import CreateTap
from tests.lab.shell import link, run
from tests.support.frame_capture import Capture, guest_side
from tests.support.host_fixture import PROCESS, SECONDS, World, ask, device, guest, links

TAP = ask(1, kind="tap")
HOST_SIDE = "fe:54:00:00:01:01"


@pytest.fixture(autouse=True)
def _bridge(bridge: str) -> None:
    """Every test has the bridge."""


def test_it_is_a_port_of_the_bridge_that_the_nic_is_a_port_of(world: World) -> None:
    world.begin(guest(1, TAP))
    made = links()[device(1)]
    assert made["kind"] == "tun" and made["master"] == "br-lan" and made["up"]
    assert links()["br-lan"]["up"] and links()["eth1"]["up"]
    assert world.end(guest(1)) == ()
    assert device(1) not in links() and links()["eth1"]["master"] == "br-lan" and not world.files()


def test_its_mac_is_the_hosts_side_of_the_guests(world: World) -> None:
    before = links()["br-lan"]["address"]
    world.begin(guest(1, TAP))
    assert links()[device(1)]["address"] == HOST_SIDE
    # A lower MAC would have become the bridge's own.
    assert links()["br-lan"]["address"] == before


def test_it_has_the_mtu_that_is_asked_or_the_bridges(world: World) -> None:
    run("ip", "link", "set", "eth1", "mtu", "1450")
    world.begin(guest(1, TAP))
    world.begin(guest(2, ask(2, kind="tap", mtu=1400)))
    assert links()[device(1)]["mtu"] == 1450
    assert links()[device(2)]["mtu"] == 1400


@pytest.mark.parametrize(("queues", "multi"), [(1, False), (2, True), (256, True)])
def test_it_has_several_queues_only_where_more_than_one_is_asked(world: World, queues: int, multi: bool) -> None:
    world.begin(guest(1, ask(1, kind="tap", queues=queues)))
    data = link(device(1))["linkinfo"]["info_data"]
    assert data["type"] == "tap" and data["persist"] and data["multi_queue"] is multi


def test_the_definition_may_name_the_bridge(world: World) -> None:
    world.define("lan", "eth1", "<bridge name='br-lan'/>")
    world.begin(guest(1, TAP))
    assert links()[device(1)]["master"] == "br-lan"


def test_the_host_itself_sends_the_guest_nothing(world: World) -> None:
    control = CreateTap("control", "fe:54:00:ff:00:01", False, 1500)
    world.begin(guest(1, TAP))
    with guest_side(device(1)) as ours, guest_side_of(control, world) as theirs:
        # Made after ours and without its IPv6 off: by the time it has sent its frames ours would have sent some too.
        theirs.wait_for(control.mac, 4)
        ours.read()
    assert HOST_SIDE not in ours.sources


def guest_side_of(control: CreateTap, world: World) -> Capture:
    control.apply(world.host)
    run("ip", "link", "set", control.device, "up")
    return guest_side(control.device)


def test_a_device_that_takes_the_name_in_between_stays(world: World) -> None:
    run("ip", "tuntap", "add", "other", "mode", "tap")
    before = links()
    with pytest.raises(InUseError, match="device other exists; choose"), tuntap.new_tap("other", multi_queue=False):
        pytest.fail("another's tap was opened")
    assert links() == before


def test_an_error_before_it_is_complete_leaves_nothing(world: World) -> None:
    with pytest.raises(KernelError, match="MTU 10 of x: Invalid argument"), tuntap.new_tap("x", multi_queue=True):
        assert "x" in links()
        world.host.netlink.set_address(world.host.netlink.get("x"), TAP.mac, 10)
    assert "x" not in links()


def half_made(pipe: Connection) -> None:
    with tuntap.new_tap("x", multi_queue=False):
        pipe.send("made")
        signal.pause()


def test_a_kill_before_it_is_complete_leaves_nothing(world: World) -> None:
    mine, its = PROCESS.Pipe()
    child = PROCESS.Process(target=half_made, args=(its,))
    child.start()
    assert mine.poll(SECONDS) and "x" in links()
    child.kill()
    child.join(SECONDS)
    assert "x" not in links()
