# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a request becomes, as pairs to read: plan/HOST/facts.json and, for each guest, CASE.guest.xml and CASE.plan.txt.

The plan has one line an operation, or the one line that says why not.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libvirt_vepa.errors import VepaError
from libvirt_vepa.host.facts import Facts, Nic
from libvirt_vepa.host.sriov_inventory import NicHardware, VfInfo
from libvirt_vepa.kernel.rtnetlink import Feature, Link, Vf
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.interface import Guest, HostType, Mode, NicDefinition
from libvirt_vepa.model.vf_settings import VfSettings, VlanProtocol
from libvirt_vepa.planning import planner
from libvirt_vepa.store.store import Lease
from libvirt_vepa.xml import domain, translate

PAIRS = Path(__file__).parent / "plan"
CARD = PciAddress.parse("0000:01:00.0")
CASES = sorted(PAIRS.glob("*/*.guest.xml"))


def read_guest(path: Path) -> Guest:
    """Return what a guest asks; lines are left out, which belong to the translation."""
    guest = domain.read_guest(translate.to_stored(path.read_bytes(), path.name))
    return replace(guest, requests=tuple(replace(request, line=0) for request in guest.requests))


def read_facts(path: Path) -> Facts:
    """Return the facts of a host; only what its file says is unusual."""
    given = json.loads(path.read_text(encoding="utf-8"))
    return Facts(
        definitions={name: definition(name, **each) for name, each in given["definitions"].items()},
        nics={name: nic(name, **each) for name, each in given["nics"].items()},
        bridges={name: link(name, "bridge") for name in given.get("bridges", ())},
        devices={name: link(name, kind) for name, kind in given.get("devices", {}).items()},
        leases=leases("device", given.get("leases", {})),
        macs=leases("mac", given.get("macs", {})),
        claims=given.get("claims", {}),
    )


def definition(
    name: str, device: str, type: str = "ethernet", modes: tuple[str, ...] = (), bridge: str | None = None
) -> NicDefinition:
    return NicDefinition(name, device, HostType.parse(type), tuple(map(Mode.parse, modes)), bridge)


def nic(
    name: str,
    master: dict[str, Any] | None = None,
    passthru: str = "",
    card: dict[str, Any] | None = None,
    holder: str = "",
    **more: Any,
) -> Nic:
    port_of = master["kind"] if master else ""
    above = link(**master) if master else None
    guest = Lease("device", name, "11111111-2222-3333-4444-555555555555", holder) if holder else None
    return Nic(link(name, port_of=port_of, **more), above, passthru, a_card(**card or {}), guest)


def a_card(
    driver: str = "", vfs: dict[str, str] | None = None, switch_mode: str | None = None, offload: str = ""
) -> NicHardware:
    """Return a card; each VF is said by who has it, or by what else is in the way, "" where nothing is."""
    functions = tuple(function(int(number), said) for number, said in (vfs or {}).items())
    feature = Feature(on=offload == "on", fixed=offload == "fixed") if offload else None
    return NicHardware(driver, CARD, "legacy", 7 if functions else 0, functions, switch_mode, feature)


def function(number: int, said: str) -> VfInfo:
    address = replace(CARD, slot=0x10, function=number)
    guest = Lease("vf", str(address), "", said.removeprefix("guest ")) if said.startswith("guest ") else None
    seen = Vf(number, MacAddress.parse("00:00:00:00:00:00"), VfSettings(0, 0, VlanProtocol.DOT1Q, True, False))
    return VfInfo(number, address, link(f"eth0v{number}"), seen, guest, "" if guest else said)


def link(
    name: str, kind: str = "", mac: str | None = None, mtu: int = 1500, ethernet: bool = True, port_of: str = ""
) -> Link:
    address = MacAddress.parse(mac) if mac else None
    return Link(name, 1, kind, address, up=True, ethernet=ethernet, mtu=mtu, port_of=port_of)


def leases(kind: str, given: dict[str, list[str]]) -> dict[str, Lease]:
    return {key: Lease(kind, key, uuid, guest) for key, (guest, uuid) in given.items()}


def planned(path: Path) -> str:
    try:
        made = planner.make(read_guest(path), read_facts(path.parent / "facts.json"))
    except VepaError as error:
        return f"error: {error}\n"
    return "".join(f"{operation.describe()}\n" for operation in made.operations)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name.partition('.')[0]}")
def test_a_request_becomes_its_plan(path: Path) -> None:
    wanted = path.with_name(path.name.replace(".guest.xml", ".plan.txt"))
    assert planned(path) == wanted.read_text(encoding="utf-8")


def test_every_plan_has_its_guest() -> None:
    plans = {path.name.partition(".")[0] for path in PAIRS.glob("*/*.plan.txt")}
    assert plans == {path.name.partition(".")[0] for path in CASES}
