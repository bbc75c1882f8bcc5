# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One VF for one guest: which it gets, what of it is set, and that all of it is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import status
from libvirt_vepa.model.interface import Guest, Mode
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from tests.lab.shell import link, run
from tests.sriov.conftest import put_up
from tests.support.card_tools import hwmode, parameter
from tests.support.guest_cycle import Place, device_of, guest, known, mac, table

SETTINGS = VfSettings(vlan=42, qos=3, spoofchk=False, trust=True, max_tx_rate=50)


def leased(lan: Place, some: Guest) -> int:
    """Return the number of the VF that a guest would get."""
    (address,) = (step.key for step in lan.look(some) if getattr(step, "kind", "") == "vf")
    (number,) = (function.number for function in lan.functions() if str(function.address) == address)
    return number


def test_what_a_guest_changes_of_a_card(lan: Place) -> None:
    before, some = lan.seen(), guest(2, Mode.PEPA, vf=SETTINGS)
    (remark,) = lan.begin(some)
    assert "spoof check of VF 0 of NIC card1 is off" in remark
    guests.check(some, lan.host)
    # What it has is free for itself, were it started again.
    assert leased(lan, some) == 0
    said = lan.vf(0)
    assert said["address"] == mac(2)
    assert said["vlan_list"] == [{"vlan": 42, "qos": 3}]
    assert (said["spoofchk"], said["trust"], said["link_state"]) == (False, True, "auto")
    assert said["rate"] == {"max_tx": 50, "min_tx": 0}
    assert [{**lan.vf(number), "address": ""} for number in range(1, 7)] == before["vfs"][1:]
    assert lan.vf_link(0)["address"] == mac(2) and "UP" in lan.vf_link(0)["flags"]
    macvtap = link(device_of(some))
    assert (macvtap["address"], macvtap["link"]) == (mac(2), lan.vf_link(0)["ifname"])
    assert macvtap["linkinfo"]["info_data"]["mode"] == "passthru"
    assert hwmode("card1") == "VEPA" and table("card1")
    assert not lan.end(some)
    assert lan.seen() == before


def test_what_a_definition_sets_and_what_a_guest_adds(lan: Place) -> None:
    """The highest rate is that of <bandwidth>, in whole Mbit/s, unless the guest names one for the VF."""
    lan.define("<vf trust='on' max_tx_rate='90'/><vlan><tag id='7'/></vlan>", "set")
    asked: tuple[dict[str, Any], ...] = (
        {},
        {"outbound": 6300},
        {"outbound": 6300, "vf": VfSettings(vlan=7, qos=3, spoofchk=False, max_tx_rate=60)},
    )
    for more in ({"outbound": 12_500}, {"vf": VfSettings(vlan=42)}, {"vf": VfSettings(trust=False)}):
        assert " is not allowed on 'set'; ask for " in lan.refused(guest(1, name="set", **more))
    before, some = lan.seen(), [guest(number, name="set", **more) for number, more in enumerate(asked, 1)]
    for each in some:
        lan.begin(each)
        guests.check(each, lan.host)
    said = [lan.vf(number) for number in range(3)]
    assert [vf["vlan_list"] for vf in said] == [[{"vlan": 7}], [{"vlan": 7}], [{"vlan": 7, "qos": 3}]]
    assert [vf["rate"]["max_tx"] for vf in said] == [90, 50, 60]
    assert [(vf["spoofchk"], vf["trust"]) for vf in said] == [(True, True), (True, True), (False, True)]
    assert not lan.end(*some)
    assert lan.seen() == before
    lan.undefine("set")


def test_two_interfaces_of_one_guest(lan: Place) -> None:
    before, other = lan.seen(), guest(2, Mode.PEPA, vf=SETTINGS).requests[0]
    one = replace(guest(1), requests=(*guest(1).requests, other))
    lan.begin(one)
    guests.check(one, lan.host)
    for number, request in enumerate(one.requests):
        assert lan.vf(number)["address"] == str(request.mac)
        macvtap = link(request.device)
        assert macvtap and macvtap["link"] == lan.vf_link(number)["ifname"]
    assert lan.vf(0)["vlan_list"] == before["vfs"][0]["vlan_list"] != lan.vf(1)["vlan_list"]
    assert known("card1") >= {mac(1), mac(2)} and hwmode("card1") == "VEPA"
    assert not lan.end(one)
    assert lan.seen() == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (VfSettings(spoofchk=False, state=LinkState.DISABLE), "state"),
        (VfSettings(vlan=42, qos=3, min_tx_rate=10), "min_tx_rate"),
        (VfSettings(vlan=42, proto=VlanProtocol.DOT1AD), "802.1ad"),
    ],
    ids=["state", "min_tx_rate", "802.1ad"],
)
def test_what_igb_cannot_set(lan: Place, settings: VfSettings, said: str) -> None:
    before = lan.seen()
    refused = lan.refused(guest(2, vf=settings))
    assert refused.startswith("KernelError: ") and said in refused and "card1" in refused
    assert lan.seen() == before


def test_a_rate_where_the_nic_was_down(lan: Place) -> None:
    """The driver takes one only once the link has a speed; mode bridge, as the switch has no mode while it is down."""
    before, some = lan.seen(), guest(2, Mode.BRIDGE, vf=VfSettings(max_tx_rate=50))
    run("ip", "link", "set", "card1", "down")
    lan.begin(some)
    assert lan.vf(0)["rate"] == {"max_tx": 50, "min_tx": 0}
    assert not lan.end(some)
    assert lan.seen() == before


def test_the_mtu_of_a_vf(lan: Place) -> None:
    """A netdev that is bound anew has forgotten its own."""
    run("ip", "link", "set", lan.vf_link(0)["ifname"], "mtu", "1400")
    before, plain = lan.seen(), guest(2)
    lan.begin(plain)
    assert (lan.vf_link(0)["mtu"], (link(device_of(plain)) or {})["mtu"]) == (1400, 1400)
    assert not lan.end(plain)
    assert lan.seen() == before
    assert "MTU 4000 is more than the 1500 of NIC card1" in lan.refused(guest(2, mtu=4000))
    run("ip", "link", "set", "card1", "mtu", "9000")
    some = guest(2, mtu=4000)
    lan.begin(some)
    assert (lan.vf_link(0)["mtu"], (link(device_of(some)) or {})["mtu"]) == (4000, 4000)
    assert not lan.end(some)
    run("ip", "link", "set", "card1", "mtu", "1500")
    assert lan.seen() == before
    run("ip", "link", "set", lan.vf_link(0)["ifname"], "mtu", "1500")


def test_a_vf_whose_driver_does_not_come_back(lan: Place) -> None:
    first = lan.functions()[0].address
    before, override = lan.seen(), Path(f"/sys/bus/pci/devices/{first}/driver_override")
    override.write_text("nothing\n", encoding="ascii")
    try:
        assert "driver igbvf: No such device" in lan.refused(guest(2))
        assert not lan.files() and lan.vf(0)["address"] != mac(2)
    finally:
        override.write_text("\n", encoding="ascii")
        Path("/sys/bus/pci/drivers_probe").write_text(f"{first}\n", encoding="ascii")
    assert lan.seen() == before


def test_the_first_vf_that_is_free(lan: Place) -> None:
    lan.define("<vf range='1-2'/>", "narrow")
    one, two, three = (guest(number, name="narrow") for number in (1, 2, 3))
    assert leased(lan, guest(1)) == 0 and leased(lan, one) == 1
    lan.begin(one)
    assert leased(lan, guest(2)) == 0 and leased(lan, two) == 2
    lan.begin(two)
    assert "no VF of NIC card1 is free: VF 1: guest 'g1', VF 2: guest 'g2'; " in lan.refused(three)
    assert leased(lan, guest(3)) == 0
    assert not lan.end(one, two)
    lan.undefine("narrow")


def test_vfs_that_the_host_itself_uses(lan: Place) -> None:
    lan.define("<vf range='0-3'/>", "narrow")
    before, names, some = (lan.seen(), [function.device or "" for function in lan.functions()], guest(2, name="narrow"))
    away = lan.functions()[3].address
    run("ip", "link", "add", "link", names[0], "name", "upper", "type", "vlan", "id", "5")
    run("ip", "address", "add", "192.0.2.1/24", "dev", names[1])
    run("ip", "netns", "add", "elsewhere")
    run("ip", "link", "set", names[2], "netns", "elsewhere")
    Path(f"/sys/bus/pci/devices/{away}/driver/unbind").write_text(f"{away}\n", encoding="ascii")
    holders = (
        f"VF 0: {names[0]} carries upper",
        f"VF 1: {names[1]} has an address",
        "VF 2: it is in another network namespace",
        "VF 3: driver missing",
    )
    refused = lan.refused(some)
    assert not [holder for holder in holders if holder not in refused]
    Path("/sys/bus/pci/drivers_probe").write_text(f"{away}\n", encoding="ascii")
    assert leased(lan, some) == 3
    # Under another name: its own may be that of the VF that has been bound since.
    run("ip", "-n", "elsewhere", "link", "set", names[2], "netns", "1", "name", "returned")
    run("ip", "netns", "delete", "elsewhere")
    assert leased(lan, some) == 2
    run("ip", "address", "flush", "dev", names[1])
    assert leased(lan, some) == 1
    run("ip", "link", "delete", "upper")
    assert leased(lan, some) == 0
    assert lan.seen() == before
    lan.undefine("narrow")


def test_guests_share_the_embedded_switch(lan: Place) -> None:
    lan.define("", "beside", kind="ethernet")
    before, one, two, beside = (lan.seen(), guest(1), guest(2, Mode.PEPA), guest(3, name="beside"))
    assert before["hwmode"] == "VEB"
    for each in (one, two, beside):
        lan.begin(each)
        assert hwmode("card1") == "VEPA"
    assert "the embedded switch of card1 is in vepa for guest 'g1'" in lan.refused(guest(4, Mode.BRIDGE))
    assert not lan.end(one, two)
    assert hwmode("card1") == "VEPA"
    assert "is in vepa for guest 'g3'" in lan.refused(guest(4, Mode.BRIDGE))
    assert not lan.end(beside)
    assert lan.seen() == before


def test_vfs_that_others_use_are_siblings_too(lan: Place) -> None:
    """By what MAC their NIC has for them: when a guest starts, when one ends, and whenever that is looked at again."""
    before, some, stranger = lan.seen(), guest(1, Mode.PEPA), "52:54:00:00:03:01"
    own = {lan.vf_link(number)["address"] for number in range(2, 6)}
    lan.begin(some)
    assert known("card1") >= {mac(1), *own} and stranger not in known("card1")
    run("ip", "link", "set", "card1", "vf", "6", "mac", stranger)
    guests.refresh_filters(lan.host)
    assert known("card1") >= {mac(1), stranger, *own}
    run("ip", "link", "set", "card1", "vf", "6", "mac", "52:54:00:00:03:02")
    lan.begin(guest(2))
    assert known("card1") >= {mac(1), mac(2), "52:54:00:00:03:02"} and stranger not in known("card1")
    assert not lan.end(guest(2))
    assert mac(2) not in known("card1") and mac(1) in known("card1")
    assert not lan.end(some)
    assert lan.seen() == before


def test_a_macvtap_beside_guests_in_bridge(lan: Place) -> None:
    lan.define("", "beside", kind="ethernet")
    before, one = lan.seen(), guest(1, Mode.BRIDGE)
    lan.begin(one)
    assert "the embedded switch of card1 is in veb for guest 'g1'" in lan.refused(guest(2, name="beside"))
    assert not lan.end(one)
    assert lan.seen() == before


def test_a_driver_without_control_of_its_switch(lan: Place) -> None:
    before, one = lan.seen(), guest(1, Mode.BRIDGE)
    with parameter("nohwmode", "Y"):
        for mode in (Mode.VEPA, Mode.PEPA):
            assert "driver igb of NIC card1 cannot set its embedded switch to VEPA" in lan.refused(guest(2, mode))
        lan.begin(one)
        guests.check(one, lan.host)
        assert not lan.end(one)
    assert lan.seen() == before


@contextmanager
def renamed(name: str) -> Iterator[str]:
    """Call a NIC otherwise; most kernels want it down for that, and igb's switch is in no mode then."""
    other = "renamed"

    def call(before: str, after: str) -> None:
        run("ip", "link", "set", before, "down")
        run("ip", "link", "set", before, "name", after)
        put_up(after)

    call(name, other)
    try:
        yield other
    finally:
        call(other, name)


def pci_source(lan: Place) -> str:
    address = lan.address
    parts = f"domain='{address.domain}' bus='{address.bus}' slot='{address.slot}' function='{address.function}'"
    return f"<source><address type='pci' {parts}/></source>"


def test_a_nic_that_is_renamed(lan: Place) -> None:
    """Also after it was defined: what it is called is looked up when a guest starts."""
    alternative = "the-second-card-with-vfs"
    run("ip", "link", "property", "add", "dev", "card1", "altname", alternative)
    lan.define("", "alternative", f"<source dev='{alternative}'/>", "ethernet")
    lan.define("", "mac", f"<source mac='{link('card1')['address']}'/>", "ethernet")
    lan.define("", "pci", pci_source(lan), "ethernet")
    names = ("alternative", "mac", "pci")
    assert {step.nic for name in names for step in lan.look(guest(2, name=name)) if hasattr(step, "nic")} == {"card1"}
    with renamed("card1"):
        some = [guest(number, name=name) for number, name in enumerate(names, 2)]
        for each in some:
            lan.begin(each)
            assert link(device_of(each))["link"] == "renamed"
        assert not lan.end(*some)
        assert "card1, which does not exist" in lan.refused(guest(2))
    run("ip", "link", "property", "del", "dev", "card1", "altname", alternative)


def test_a_nic_that_is_renamed_under_its_guests(lan: Place) -> None:
    lan.define("", "pci", pci_source(lan))
    before, one, two = lan.seen(), guest(1, Mode.PEPA, vf=SETTINGS), guest(2, Mode.PEPA, name="pci")
    lan.begin(one)
    with renamed("card1"):
        (row,) = status.interfaces(lan.host)
        assert (row.nic, row.switch, row.vf and row.vf.number, row.state) == ("renamed", "vepa", 0, "ok")
        lan.begin(two)
        assert known("renamed") >= {mac(1), mac(2)}
        refused = lan.refused(guest(3, Mode.BRIDGE, name="pci"))
        assert "the embedded switch of renamed is in vepa for guest 'g1'" in refused
        assert not lan.end(one)
        assert hwmode("renamed") == "VEPA" and mac(1) not in known("renamed")
    assert not lan.end(two)
    assert lan.seen() == before
