# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for guests on VFs whatever happens: contention, SIGKILL, a card or a driver that goes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from libvirt_vepa.errors import InUseError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import pci
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import status
from libvirt_vepa.model.interface import Guest, Mode
from libvirt_vepa.model.vf_settings import VfSettings
from tests.lab import card as machine
from tests.lab.shell import link, run
from tests.support.guest_cycle import (
    WRITES,
    Child,
    Place,
    device_of,
    die,
    die_before,
    guest,
    records,
    table,
    table_name,
)

COUNT = 7
SOME = guest(1, Mode.PEPA, vf=VfSettings(vlan=42, qos=3, trust=True))
KILLED = signal.SIGKILL
# The writes to /sys that take a driver away and give it back.
REBIND = 2


def kinds(lan: Place) -> list[str]:
    """Return what the steps of the plan for SOME are."""
    return [type(step).__name__ for step in lan.look(SOME)]


def killed(lan: Place, word: str, number: int, what: str) -> None:
    """Have `begin` or `end` of SOME killed before that point; behind the last one, at its end."""

    def work(host: Host) -> None:
        die_before(number, what)
        lan.begin(SOME, host) if word == "begin" else guests.release_guest(SOME.uuid, host, "a test")
        die()

    assert Child.of(lan.host.store, work).end() == ("", KILLED)


def test_a_start_that_is_killed_before_any_of_its_steps(lan: Place) -> None:
    """Those of a VF, and at the end; tests/kernel kills at every system call of the ones before and behind these."""
    before, steps = lan.seen(), kinds(lan)
    of_vf = range(steps.index("HoldSharedSetting"), steps.index("CreateMacvtap") + 1)
    assert {"SetVfMac", "SetVfVlan", "SetVf", "UpdateVfMacSet"} <= {steps[number] for number in of_vf}
    for number in (*of_vf, len(steps)):
        killed(lan, "begin", number, "apply")
        assert records(SOME, lan.host.store) == steps
        assert not lan.gone()
        assert lan.seen() == before, f"killed before step {number}"


def test_an_end_that_is_killed_before_any_of_its_steps(lan: Place) -> None:
    """Each end goes on where the one before was killed, one step further; the last one is nobody's but reconcile's."""
    before, steps = lan.seen(), kinds(lan)
    lan.begin(SOME)
    for number in range(len(steps)):
        killed(lan, "end", number, "undo")
        assert records(SOME, lan.host.store) == steps
    assert not lan.gone()
    assert lan.seen() == before


@pytest.mark.parametrize("word", ["begin", "end"])
def test_a_kill_while_the_driver_of_a_vf_is_away(lan: Place, word: str) -> None:
    before = lan.seen()
    for number in range(REBIND):
        if word == "end":
            lan.begin(SOME)
        killed(lan, word, number, WRITES)
        assert not lan.gone()
        assert lan.seen() == before, f"killed before write {number}"


def ending(one: Guest) -> Callable[[Host], object]:
    return lambda host: guests.release_guest(one.uuid, host, "a test")


def test_twice_as_many_guests_as_vfs(lan: Place) -> None:
    before, some = lan.seen(), [guest(number) for number in range(2, 2 + 2 * COUNT)]
    children = [Child.of(lan.host.store, partial(lan.begin, each)) for each in some]
    said = [child.end() for child in children]
    refused = [text for text, _ in said if text]
    assert len(refused) == COUNT
    for text in refused:
        assert text.startswith("InUseError: ") and "no VF of NIC card1 is free: VF 0: guest 'g" in text
    running = [each for each, (text, _) in zip(some, said, strict=True) if not text]
    below = {link(device_of(each))["link"] for each in running}
    assert below == {function.device for function in lan.functions()} and len(below) == COUNT
    ends = [Child.of(lan.host.store, ending(each)) for each in some]
    assert [child.end() for child in ends] == [("", 0)] * len(some)
    assert lan.seen() == before


def test_what_a_running_guest_does_not_notice_is_mended(lan: Place) -> None:
    before = lan.seen()
    lan.begin(SOME)
    during = table("card1")
    run("nft", "delete", "table", "netdev", table_name("card1"))
    drifts = guests.repair_guest(SOME, lan.host)
    assert [drift for drift in drifts if "is without its filter" in drift]
    assert not guests.repair_guest(SOME, lan.host) and len(table("card1")) == len(during)
    assert not lan.end(SOME)
    assert lan.seen() == before


def test_a_vf_whose_driver_is_taken_away_under_a_guest(lan: Place) -> None:
    before = lan.seen()
    lan.begin(SOME)
    address = lan.functions()[0].address
    Path(f"/sys/bus/pci/devices/{address}/driver/unbind").write_text(f"{address}\n", encoding="ascii")
    (row,) = status.interfaces(lan.host)
    assert f"{device_of(SOME)} has gone" in row.state
    assert [drift for drift in guests.repair_guest(SOME, lan.host) if f"{address} has gone" in drift]
    assert not lan.end(SOME)
    assert lan.seen() == before


def test_a_vf_that_is_taken_to_another_namespace_under_a_guest(lan: Place) -> None:
    before = lan.seen()
    lan.begin(SOME)
    run("ip", "netns", "add", "elsewhere")
    run("ip", "link", "set", lan.vf_link(0)["ifname"], "netns", "elsewhere")
    assert lan.functions()[0].device is None
    assert not lan.end(SOME)
    run("ip", "netns", "delete", "elsewhere")
    assert lan.seen() == before


def test_a_vf_whose_guest_has_a_damaged_journal(lan: Place) -> None:
    """What it was before is not known then; nobody else is to get what that guest had."""
    before, some = lan.seen(), guest(1, Mode.PEPA, vf=VfSettings(42, 3, spoofchk=False, trust=True, max_tx_rate=50))
    lan.begin(some)
    (lan.root / f"state/guests/{some.uuid}.json").write_text("{", encoding="ascii")
    assert not lan.gone()
    assert lan.seen() == before


@contextmanager
def addressed(lan: Place) -> Iterator[str]:
    device = lan.functions()[1].device or "?"
    run("ip", "address", "add", "192.0.2.1/24", "dev", device)
    yield f"{device} has an address of the host's"
    run("ip", "address", "flush", "dev", device)


@contextmanager
def carrying(lan: Place) -> Iterator[str]:
    device = lan.functions()[2].device or "?"
    run("ip", "link", "add", "link", device, "name", "upper", "type", "macvlan")
    yield f"{device} carries upper"
    run("ip", "link", "delete", "upper")


@contextmanager
def port(lan: Place) -> Iterator[str]:
    device = lan.functions()[4].device or "?"
    run("ip", "link", "add", "bridge9", "type", "bridge", "vlan_default_pvid", "0")
    run("ip", "link", "set", device, "master", "bridge9")
    # A bridge is an upper device of its ports too.
    yield f"{device} carries bridge9"
    run("ip", "link", "delete", "bridge9")


@contextmanager
def elsewhere(lan: Place) -> Iterator[str]:
    device = lan.functions()[5].device or "?"
    run("ip", "netns", "add", "elsewhere")
    run("ip", "link", "set", device, "netns", "elsewhere")
    yield "VF 5 of card1"
    run("ip", "-n", "elsewhere", "link", "set", device, "netns", "1")
    run("ip", "netns", "delete", "elsewhere")


@contextmanager
def with_another_driver(lan: Place) -> Iterator[str]:
    """As vfio-pci has it for a `hostdev`, which needs an IOMMU."""
    address, bus = lan.functions()[6].address, Path("/sys/bus/pci")
    override = bus / f"devices/{address}/driver_override"
    run("modprobe", "pci-stub")
    for name, driver in (("igbvf", "pci-stub"), ("pci-stub", "")):
        (bus / f"drivers/{name}/unbind").write_text(f"{address}\n", encoding="ascii")
        override.write_text(f"{driver}\n", encoding="ascii")
        (bus / "drivers_probe").write_text(f"{address}\n", encoding="ascii")
        if driver:
            yield "VF 6 of card1"


USES = (addressed, carrying, port, elsewhere, with_another_driver)


def test_vfs_stay_for_as_long_as_their_definition(lan: Place) -> None:
    some = guest(2)
    lan.begin(some)
    with pytest.raises(InUseError, match="in use by guest 'g2'"):
        lan.undefine()
    assert not lan.end(some)
    for use in USES:
        with use(lan) as why:
            before = lan.seen()
            with pytest.raises(InUseError) as caught:
                lan.undefine()
            assert f" of card1 ({lan.address}), which 'lan' has made, is in use by the host: " in str(caught.value)
            assert why in str(caught.value)
            assert lan.seen() == before and (lan.root / "definitions/lan.xml").exists()
    assert len(lan.functions()) == COUNT
    free = lan.functions()[3].address
    Path(f"/sys/bus/pci/devices/{free}/driver/unbind").write_text(f"{free}\n", encoding="ascii")
    lan.undefine()
    assert not lan.functions() and not list(lan.root.glob("state/shared/*"))


def test_a_card_that_is_taken_away_under_a_guest(lan: Place) -> None:
    lan.define("<vf count='1'/>")
    lan.begin(SOME)
    Path(f"/sys/bus/pci/devices/{lan.address}/remove").write_text("1\n", encoding="ascii")
    try:
        assert link("card1") is None
        (row,) = status.interfaces(lan.host)
        assert f"{device_of(SOME)} has gone" in row.state
        assert not lan.end(SOME)
        assert not lan.files() and "libvirt-vepa" not in run("nft", "list", "tables").stdout
    finally:
        Path("/sys/bus/pci/rescan").write_text("1\n", encoding="ascii")
        run("ip", "link", "set", machine.netdev(machine.SLOTS["card1"]), "name", "card1")
    assert pci.counts(lan.address) == (COUNT, 0)
