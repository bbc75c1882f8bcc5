# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests on stations of a card (VMDq): granted or refused, what they share of the card, and that it is put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.interface import Mode
from tests.lab import card as machine
from tests.lab.shell import link, run
from tests.sriov.conftest import back, put_up
from tests.support.card_tools import OFFLOAD, features, hwmode, parameter, stations, unicast_list
from tests.support.guest_cycle import Place, device_of, guest, mac, place


@pytest.fixture(scope="module")
def vmdq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The first card, up and without VFs."""
    card = machine.wire("card0")
    put_up(card.device)
    with place(card, tmp_path_factory.mktemp("vmdq")) as found:
        found.define("", kind="vmdq")
        yield found
    back(card)


def test_stations_of_guests(vmdq: Place) -> None:
    before, one, two = vmdq.seen(), guest(1), guest(2, Mode.PEPA)
    assert (before["offload"], before["hwmode"]) == ("off", None)
    for number, some in enumerate((one, two), 1):
        vmdq.begin(some)
        guests.check(some, vmdq.host)
        assert stations() == number and mac(number) not in unicast_list("card0")
        assert (features("card0")[OFFLOAD], hwmode("card0")) == ("on", "VEPA")
    assert not vmdq.end(one)
    assert stations() == 1 and (features("card0")[OFFLOAD], hwmode("card0")) == ("on", "VEPA")
    assert not vmdq.end(two)
    assert stations() == 0 and vmdq.seen() == before


def test_a_bridge_of_stations(vmdq: Place) -> None:
    before, one = vmdq.seen(), guest(1, Mode.BRIDGE)
    vmdq.begin(one)
    assert stations() == 1 and hwmode("card0") == "VEB"
    assert link(device_of(one))["linkinfo"]["info_data"]["mode"] == "bridge"
    assert not vmdq.end(one)
    assert vmdq.seen() == before


def test_no_station_is_left(vmdq: Place) -> None:
    before, one, two = vmdq.seen(), guest(1), guest(2)
    with parameter("pools", "0"):
        assert f"card0 forwards to {device_of(one)} in software; its pools are used up" in vmdq.refused(one)
    assert vmdq.seen() == before
    with parameter("pools", "1"):
        vmdq.begin(one)
        during = vmdq.seen(one)
        assert f"card0 forwards to {device_of(two)} in software" in vmdq.refused(two)
        assert vmdq.seen(one) == during and link(device_of(two)) is None
        guests.check(one, vmdq.host)
    assert not vmdq.end(one)
    assert vmdq.seen() == before


def test_an_offload_that_is_switched_off_under_a_guest(vmdq: Place) -> None:
    before, one = vmdq.seen(), guest(1)
    vmdq.begin(one)
    run("ethtool", "-K", "card0", OFFLOAD, "off")
    drifts = " and ".join(guests.repair_guest(one, vmdq.host))
    assert f"card0 has {OFFLOAD} off instead of on" in drifts and "in software" in drifts
    assert not vmdq.end(one)
    assert vmdq.seen() == before


def test_an_offload_that_is_fixed(vmdq: Place) -> None:
    before = vmdq.seen()
    run("modprobe", "-r", "embedded")
    run("modprobe", "embedded", "fixed=1")
    try:
        assert f"driver igb of NIC card0 has fixed off {OFFLOAD}" in vmdq.refused(guest(1))
    finally:
        run("modprobe", "-r", "embedded")
        run("modprobe", "embedded")
    assert vmdq.seen() == before
