# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the other tests here stand on: the emulated card, the switch at its wire's end, and what the module lends."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.frames import ETHERTYPE, Station, address, station_in
from tests.lab.network import Nic
from tests.lab.shell import BOUND_SECONDS, link, run
from tests.sriov.conftest import make_vfs, put_up, vf_netdev
from tests.support.card_tools import OFFLOAD, features, hwmode, parameter, set_hwmode, stations, unicast_list

OUTSIDE = "02:00:00:00:00:99"
GUEST = "52:54:00:00:01:{:02x}"


@contextmanager
def macvtap(number: int, nic: str) -> Iterator[str]:
    """A macvtap that is up, with a MAC of its own."""
    name = f"macvtap{number}"
    base = ("link", nic, "name", name, "address", GUEST.format(number), "type", "macvtap", "mode", "vepa")
    # VMDq is for one queue only (drivers/net/macvlan.c, macvlan_open).
    run("ip", "link", "add", *base)
    try:
        run("ip", "link", "set", name, "up")
        yield name
    finally:
        run("ip", "link", "delete", name)


def test_vfs_come_and_go(card: Nic) -> None:
    make_vfs(card.device, 7)
    names = {vf_netdev(card.device, number) for number in range(7)}
    assert len(names) == 7
    make_vfs(card.device, 0)
    assert not [name for name in names if link(name)]


def test_a_nic_without_sr_iov_is_there() -> None:
    assert not Path("/sys/class/net/plain/device/sriov_numvfs").exists()


def test_the_switch_takes_a_mode_and_keeps_it(card: Nic) -> None:
    make_vfs(card.device, 1)
    assert hwmode(card.device) == "VEB"
    for mode in ("vepa", "veb", "vepa"):
        assert set_hwmode(card.device, mode) == ""
        assert hwmode(card.device) == mode.upper()
    run("ip", "link", "set", card.device, "down")
    put_up(card.device)
    assert hwmode(card.device) == "VEPA"


def test_without_vfs_there_is_no_switch(card: Nic) -> None:
    assert "Operation not supported" in set_hwmode(card.device, "vepa")
    assert hwmode(card.device) is None


def test_a_driver_without_control_of_the_switch(pair: tuple[Nic, str, str]) -> None:
    with parameter("nohwmode", "Y"):
        assert "Operation not supported" in set_hwmode(pair[0].device, "vepa")
        assert hwmode(pair[0].device) is None
    assert hwmode(pair[0].device) is not None


@pytest.mark.parametrize(
    ("mode", "reflecting", "heard", "on_the_wire"),
    [("veb", False, 1, 0), ("veb", True, 1, 0), ("vepa", False, 0, 1), ("vepa", True, 1, 1)],
)
def test_where_a_frame_between_vfs_goes(
    pair: tuple[Nic, str, str], mode: str, reflecting: bool, heard: int, on_the_wire: int
) -> None:
    card, first, second = pair
    card.reflect(reflecting)
    assert set_hwmode(card.device, mode) == ""
    with Station(first) as sender, Station(second) as hearer, station_in(card.namespace, "port") as wire:
        sender.send(address(first), address(second), "between")
        # What comes later and surely arrives tells that the frame itself is not still to come.
        sender.send(address(first), OUTSIDE, "out")
        assert wire.hear_until("out").count("between") == on_the_wire
        wire.send(OUTSIDE, address(second), "in")
        assert hearer.hear_until("in").count("between") == heard


def test_the_offload_can_be_switched_on_and_off(card: Nic) -> None:
    assert features(card.device)[OFFLOAD] == "off"
    run("ethtool", "-K", card.device, OFFLOAD, "on")
    assert features(card.device)[OFFLOAD] == "on"
    run("ethtool", "-K", card.device, OFFLOAD, "off")
    assert features("plain")[OFFLOAD] == "off [fixed]"


@pytest.fixture
def offload(card: Nic) -> Iterator[Nic]:
    run("ethtool", "-K", card.device, OFFLOAD, "on")
    yield card
    run("ethtool", "-K", card.device, OFFLOAD, "off")


def test_a_granted_station_is_not_in_the_unicast_list(offload: Nic) -> None:
    with parameter("pools", "1"), macvtap(1, offload.device), macvtap(2, offload.device):
        assert stations() == 1
        listed = unicast_list(offload.device)
        assert GUEST.format(1) not in listed
        assert GUEST.format(2) in listed
    assert stations() == 0


def test_the_switch_comes_with_the_first_station(offload: Nic) -> None:
    assert hwmode(offload.device) is None
    with macvtap(1, offload.device):
        assert hwmode(offload.device) == "VEB"
        assert set_hwmode(offload.device, "vepa") == ""
        assert hwmode(offload.device) == "VEPA"
    assert hwmode(offload.device) is None


def test_a_station_hears_its_frames(offload: Nic) -> None:
    with macvtap(1, offload.device) as device, station_in(offload.namespace, "port") as wire:
        assert stations() == 1
        tap = os.open(f"/dev/tap{link(device)['ifindex']}", os.O_RDWR | os.O_NONBLOCK)
        try:
            wire.send(OUTSIDE, GUEST.format(1), "to the guest")
            frame = b""
            while ETHERTYPE.to_bytes(2, "big") + b"to the guest" not in frame:
                assert select.select([tap], [], [], BOUND_SECONDS)[0], "the station hears nothing"
                frame = os.read(tap, 2048)
        finally:
            os.close(tap)


def test_a_station_goes_to_software_when_the_offload_goes(offload: Nic) -> None:
    with macvtap(1, offload.device):
        run("ethtool", "-K", offload.device, OFFLOAD, "off")
        assert stations() == 0
        assert GUEST.format(1) in unicast_list(offload.device)


def test_the_module_can_forbid_the_offload(card: Nic) -> None:
    run("ethtool", "-K", card.device, OFFLOAD, "on")
    with macvtap(1, card.device):
        run("modprobe", "-r", "embedded")
        assert features(card.device)[OFFLOAD] == "off [fixed]"
        assert GUEST.format(1) in unicast_list(card.device)
    try:
        run("modprobe", "embedded", "fixed=1")
        assert features(card.device)[OFFLOAD] == "off [fixed]"
        run("modprobe", "-r", "embedded")
    finally:
        run("modprobe", "embedded")
    assert features(card.device)[OFFLOAD] == "off"
