# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows sr-iov and vmdq of the plan, on facts: which VF, which settings in which order, what is refused and how."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libvirt_vepa import cli
from libvirt_vepa.errors import HostError, InUseError, VepaError, XmlError
from libvirt_vepa.host.facts import Facts, Nic
from libvirt_vepa.host.sriov_inventory import NicHardware, VfInfo
from libvirt_vepa.kernel.rtnetlink import Feature, Link, Vf
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.address import MacAddress, NicKey, PciAddress
from libvirt_vepa.model.interface import Guest, GuestType, HostType, Mode, NicDefinition, Request, derived_device
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from libvirt_vepa.operations.device import AcquireLease, CreateMacvtap, SetLinkUp
from libvirt_vepa.operations.nic import CreateVfs, HoldSharedSetting, VerifyOffload
from libvirt_vepa.operations.registry import from_record
from libvirt_vepa.operations.source_filter import DropReflectedFrames, UpdateVfMacSet
from libvirt_vepa.operations.vf import SetVf, SetVfMac, SetVfVlan
from libvirt_vepa.planning import planner, sriov
from libvirt_vepa.planning.planner import Plan
from libvirt_vepa.store.shared_settings import SharedSetting
from libvirt_vepa.store.store import Lease

UUID, OTHER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
MAC = MacAddress.parse("52:54:00:aa:bb:cc")
ZEROS = "00:00:00:00:00:00"
PF = PciAddress.parse("0000:01:00.0")
PF_KEY = NicKey(PF)
DEVICE = derived_device(MAC)
NOW = VfSettings(0, 0, VlanProtocol.DOT1Q, True, False, LinkState.AUTO, 0, 0)
LAN = NicDefinition("lan", "eth0", HostType.SRIOV)


def at(number: int) -> PciAddress:
    return replace(PF, slot=0x10, function=number)


def vf_key(number: int) -> NicKey:
    return NicKey(at(number))


def link(name: str, mac: str = "02:00:00:00:00:01", mtu: int = 1500) -> Link:
    return Link(name, 7, "", MacAddress.parse(mac), up=True, ethernet=True, mtu=mtu)


def function(number: int, holder: str = "", reason: str = "", mac: str = ZEROS, **now: Any) -> VfInfo:
    said = Vf(number, MacAddress.parse(mac), replace(NOW, **now))
    lease = Lease("vf", vf_key(number), OTHER, holder) if holder else None
    return VfInfo(number, at(number), link(f"vf{number}"), said, lease, reason)


def card(*functions: VfInfo, driver: str = "ixgbe", mode: str | None = "veb", **more: Any) -> NicHardware:
    return NicHardware(driver, PF, total=7, functions=functions, switch_mode=mode, **more)


def make(seen: NicHardware, *requests: Request, host: NicDefinition = LAN) -> Plan:
    facts = Facts({host.name: host}, {"eth0": Nic(link("eth0"), None, "", seen)}, {}, {}, {}, {})
    return planner.make(Guest("web", UUID, requests or (request(),)), facts)


def request(mode: Mode = Mode.BRIDGE, mac: MacAddress = MAC, **more: Any) -> Request:
    return Request(f"ua-{mac.digits}", "lan", GuestType.MACVTAP, mode, mac, derived_device(mac), **more)


def refused(seen: NicHardware, *requests: Request, host: NicDefinition = LAN, kind: type[VepaError] = HostError) -> str:
    with pytest.raises(kind) as error:
        make(seen, *requests, host=host)
    return str(error.value).partition(": ")[2]


def taken(made: Plan) -> list[str]:
    return [step.key for step in made.operations if isinstance(step, AcquireLease) and step.kind == "vf"]


@pytest.mark.parametrize(
    ("mode", "switch", "filters"),
    [
        (Mode.BRIDGE, "veb", []),
        (Mode.VEPA, "vepa", [DropReflectedFrames("eth0", PF_KEY, vf_key(0), str(MAC), False)]),
        (Mode.PEPA, "vepa", [DropReflectedFrames("eth0", PF_KEY, vf_key(0), str(MAC), True)]),
    ],
)
def test_a_vf_is_leased_set_up_and_given_a_macvtap_of_its_own(
    mode: Mode, switch: str, filters: list[DropReflectedFrames]
) -> None:
    made = make(card(function(0)), request(mode)).operations
    macvtap = CreateMacvtap(DEVICE, vf_key(0), str(MAC), "passthru", None)
    assert made[2 : made.index(macvtap)] == (
        SetLinkUp("eth0", PF_KEY),
        HoldSharedSetting("hwmode", "eth0", PF_KEY, switch, UUID, "web"),
        AcquireLease("vf", vf_key(0), UUID, "web"),
        SetVfMac("eth0", 0, vf_key(0), str(MAC), ZEROS, 1500),
        SetLinkUp(vf_key(0)),
        *filters,
        UpdateVfMacSet("eth0", PF_KEY, str(MAC)),
    )


def test_a_plan_for_a_vf_comes_back_from_the_journal() -> None:
    asked = VfSettings(42, 3, VlanProtocol.DOT1AD, False, True, LinkState.ENABLE, 10, 100)
    made = make(card(function(0)), request(Mode.PEPA, vf=asked))
    assert tuple(map(from_record, json.loads(json.dumps(made.records())))) == made.operations


def test_the_first_free_vf_by_pci_order() -> None:
    seen = card(function(2), function(0, holder="a"), function(1, reason="driver vfio-pci"), function(3))
    assert taken(make(seen)) == [vf_key(2)]


def test_two_interfaces_of_a_guest_get_two_vfs() -> None:
    other = MacAddress.parse("52:54:00:aa:bb:cd")
    assert taken(make(card(function(0), function(1)), request(), request(mac=other))) == [vf_key(0), vf_key(1)]
    assert "VF 0: this guest; stop" in refused(card(function(0)), request(), request(mac=other), kind=InUseError)


def test_the_definition_narrows_the_choice() -> None:
    host = replace(LAN, vf_range=(1, 2))
    assert taken(make(card(function(0), function(1)), host=host)) == [vf_key(1)]
    said = refused(card(function(0)), host=host)
    assert said == "NIC eth0 has none of VFs 1 to 2; change the range of 'lan'"


def test_no_vf_is_free() -> None:
    said = refused(card(function(0, holder="a"), function(1, reason="vf1 carries vp0")), kind=InUseError)
    what = "no VF of NIC eth0 is free: VF 0: guest 'a', VF 1: vf1 carries vp0"
    assert said == f"{what}; stop one of these guests, or make more VFs"


def test_vfs_are_made_only_from_zero_and_within_the_total() -> None:
    host = replace(LAN, vf_count=4)
    made = make(card(), host=host)
    assert made.made_first == (CreateVfs("eth0", PF_KEY, 4, "lan"),) and not taken(made)
    assert taken(make(card(function(0)), host=host)) == [vf_key(0)]
    assert refused(card(), host=replace(LAN, vf_count=8)).startswith("NIC eth0 can have 7 VFs, not 8; ")
    assert refused(card()).startswith("NIC eth0 has no VFs now; give 0000:01:00.0 some")


SECOND = MacAddress.parse("52:54:00:aa:bb:cd")
FOUR = replace(LAN, vf_count=4)


@pytest.mark.parametrize("seen", [card(), card(function(0))], ids=["no VFs yet", "VFs"])
def test_the_command_says_whether_a_plan_is_complete(
    seen: NicHardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "web.xml").write_text(f"<domain type='kvm'><name>web</name><uuid>{UUID}</uuid></domain>")
    monkeypatch.setattr(guests, "dry_run", lambda _guest, _host: make(seen, host=FOUR))
    assert cli.main(["plan", "--json", str(tmp_path / "web.xml")]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is bool(seen.functions)


def test_two_definitions_that_make_vfs_of_one_nic() -> None:
    """The first one makes them, and for the second there are VFs, also where it would make none."""
    for count in (2, None):
        facts = Facts(
            {"lan": FOUR, "dmz": replace(LAN, name="dmz", vf_count=count)},
            {"eth0": Nic(link("eth0"), None, "", card(mode=None))},
            *({}, {}, {}, {}),
        )
        some = request(), replace(request(mac=SECOND), name="dmz")
        assert planner.make(Guest("web", UUID, some), facts).made_first == (CreateVfs("eth0", PF_KEY, 4, "lan"),)


@pytest.mark.parametrize("mode", [None, "veb"], ids=["a switch that tells no mode yet", "one that tells"])
@pytest.mark.parametrize(
    ("host", "asked", "kind", "said"),
    [
        (replace(FOUR, vf_range=(4, 6)), [{}], HostError, "NIC eth0 will have 4 VFs, and none of VFs 4 to 6; change"),
        (
            replace(FOUR, vf_range=(3, 6)),
            [{}, {"mac": SECOND}],
            HostError,
            "this guest asks for more VFs than the 1 that 'lan' gives of NIC eth0; change its range or its count, or",
        ),
        (FOUR, [{"vf": VfSettings(qos=3)}], HostError, "qos and proto are a VLAN's, and none is asked for; "),
        (
            replace(FOUR, vf=VfSettings(max_tx_rate=5)),
            [{"vf": VfSettings(min_tx_rate=10)}],
            XmlError,
            "min_tx_rate 10 is above max_tx_rate 5; ",
        ),
        (
            FOUR,
            [{"mode": Mode.VEPA}, {"mac": SECOND}],
            HostError,
            "another interface of this guest needs hwmode vepa of NIC eth0, and this one veb; ",
        ),
    ],
    ids=["range", "too few", "no vlan", "rates", "both modes"],
)
def test_what_is_refused_before_vfs_are_made(
    mode: str | None, host: NicDefinition, asked: list[dict[str, Any]], kind: type[VepaError], said: str
) -> None:
    some = [request(**each) for each in asked]
    assert refused(card(mode=mode), *some, host=host, kind=kind).startswith(said)


def test_a_guest_gets_as_many_vfs_as_will_be_made() -> None:
    assert make(card(mode=None), request(), request(mac=SECOND), host=replace(LAN, vf_count=2)).made_first


def test_the_definitions_count_where_there_are_vfs_already() -> None:
    said = "NIC eth0 has 2 VFs instead of the 4 of 'lan', because VFs are made only where there are none"
    for mode in Mode:
        assert make(card(function(0), function(1)), request(mode), host=FOUR).remarks == (said,)
    assert make(card(*map(function, range(5))), host=FOUR).remarks == ()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (VfSettings(vlan=42), "VLAN 42"),
        (VfSettings(spoofchk=True), "spoofchk on"),
        (VfSettings(trust=False), "trust off"),
        (VfSettings(max_tx_rate=100), "max_tx_rate 100"),
        (VfSettings(spoofchk=False, trust=True, max_tx_rate=0, min_tx_rate=5, state=LinkState.AUTO), ""),
    ],
)
def test_what_a_definition_forbids_is_nothing_for_a_tap(settings: VfSettings, said: str) -> None:
    bridged = Nic(replace(link("eth0"), port_of="bridge"), link("br0"), "", card(function(0)))
    host, tap = replace(LAN, vf=settings), replace(request(), type=GuestType.TAP)
    guest, facts = Guest("web", UUID, (tap,)), Facts({"lan": host}, {"eth0": bridged}, {}, {}, {}, {})
    if not said:
        assert planner.make(guest, facts)
        return
    with pytest.raises(HostError) as error:
        planner.make(guest, facts)
    assert str(error.value).partition(": ")[2] == (
        f"'lan' has {said} by its VFs, and a tap is on none; "
        "ask for <type>macvtap</type>, or define the NIC under another name without that"
    )


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (NicHardware("veth"), "NIC eth0 has no SR-IOV; "),
        (card(mode=None, eswitch="switchdev"), "NIC eth0 is in eswitch mode switchdev, "),
        (card(function(0), eswitch="switchdev"), "NIC eth0 is in eswitch mode switchdev, "),
    ],
)
def test_what_is_no_card_for_this(seen: NicHardware, said: str) -> None:
    assert refused(seen).startswith(said)


def test_settings_are_set_in_the_order_that_cards_need() -> None:
    asked = VfSettings(42, 3, VlanProtocol.DOT1AD, False, True, LinkState.ENABLE, 10, 100)
    made = make(card(function(0)), request(vf=asked)).operations
    assert [step for step in made if isinstance(step, SetVfMac | SetVfVlan | SetVf)] == [
        SetVfMac("eth0", 0, vf_key(0), str(MAC), ZEROS, 1500),
        SetVfVlan("eth0", 0, vf_key(0), 42, 3, "802.1ad", 0, 0, "802.1Q"),
        SetVf("eth0", 0, vf_key(0), "spoofchk", False, True),
        SetVf("eth0", 0, vf_key(0), "trust", True, False),
        SetVf("eth0", 0, vf_key(0), "state", "enable", "auto"),
        SetVf("eth0", 0, vf_key(0), "max_tx_rate", 100, 0),
        SetVf("eth0", 0, vf_key(0), "min_tx_rate", 10, 0),
    ]


@pytest.mark.parametrize("now", [(0, 0), (0, 50), (10, 20), (100, 200), (50, 0), (1, 1000)])
@pytest.mark.parametrize("asked", [(0, 0), (10, 20), (30, 30), (200, 1000), (5, 0), (0, 7), (None, 40), (30, None)])
def test_the_lower_rate_is_never_above_the_higher(now: tuple[int, int], asked: tuple[int | None, int | None]) -> None:
    """After any step, which is the way back too; a rate of 0 is no limit."""
    rates: dict[str, Any] = dict(zip(("min_tx_rate", "max_tx_rate"), now, strict=True))
    steps = [
        step
        for step in make(
            card(function(0, **rates)), request(vf=VfSettings(min_tx_rate=asked[0], max_tx_rate=asked[1]))
        ).operations
        if isinstance(step, SetVf)
    ]
    for step in steps[:-1]:
        rates[step.setting] = step.value
        assert rates["min_tx_rate"] <= (rates["max_tx_rate"] or 2**32), f"{step} of {steps}"


def test_what_is_as_it_should_be_is_left_alone() -> None:
    asked = VfSettings(spoofchk=True, trust=False, state=LinkState.AUTO, max_tx_rate=0)
    assert not [step for step in make(card(function(0)), request(vf=asked)).operations if isinstance(step, SetVf)]


@pytest.mark.parametrize(
    ("asked", "outbound", "defined", "rate"),
    [
        (5, 100_000, 7, 5),
        (None, 100_000, 800, 800),
        (None, 100_000, 0, 800),
        (None, 100_000, None, 800),
        (None, 1, 7, 1),
        (None, None, 7, 7),
        (None, None, None, None),
    ],
)
def test_where_the_rate_comes_from(
    asked: int | None, outbound: int | None, defined: int | None, rate: int | None
) -> None:
    host = replace(LAN, vf=VfSettings(max_tx_rate=defined))
    made = make(card(function(0)), request(vf=VfSettings(max_tx_rate=asked), outbound=outbound), host=host)
    assert [step.value for step in made.operations if isinstance(step, SetVf)] == ([rate] if rate else [])


BOUND = VfSettings(42, 3, None, True, False, LinkState.AUTO, 10, 100)


# What the definition of C4 in the attacks could not forbid, and everything else that one can say.
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"vlan": 7, "spoofchk": False, "trust": True}, "VLAN 7 is not allowed on 'lan'; ask for VLAN 42"),
        ({"qos": 4}, "qos 4 is not allowed on 'lan'; ask for qos 3"),
        ({"proto": VlanProtocol.DOT1AD}, "proto 802.1ad is not allowed on 'lan'; ask for proto 802.1Q"),
        ({"spoofchk": False}, "spoofchk off is not allowed on 'lan'; ask for spoofchk on"),
        ({"trust": True}, "trust on is not allowed on 'lan'; ask for trust off"),
        ({"state": LinkState.ENABLE}, "state enable is not allowed on 'lan'; ask for state auto"),
        ({"min_tx_rate": 11}, "min_tx_rate 11 is not allowed on 'lan'; ask for min_tx_rate 10 at most"),
        ({"max_tx_rate": 101}, "max_tx_rate 101 is not allowed on 'lan'; ask for max_tx_rate 100 at most"),
        ({"max_tx_rate": 0}, "max_tx_rate 0 is not allowed on 'lan'; ask for max_tx_rate 100 at most"),
    ],
)
@pytest.mark.parametrize("seen", [card(function(0)), card(mode=None)], ids=["VFs", "no VFs yet"])
def test_what_a_definition_says_binds(seen: NicHardware, asked: dict[str, Any], said: str) -> None:
    host = replace(FOUR, vf=BOUND)
    assert refused(seen, request(vf=VfSettings(**asked)), host=host) == f"{said}, or leave it out"
    # What it does not say is the guest's to say, but for the protocol of its VLAN.
    if "proto" not in asked:
        open_host = replace(FOUR, vf=replace(BOUND, **dict.fromkeys(asked)))
        assert make(seen, request(vf=VfSettings(**{"vlan": 42, **asked})), host=open_host)


def test_a_bandwidth_above_the_definitions_rate() -> None:
    said = refused(card(function(0)), request(outbound=100_000), host=replace(LAN, vf=VfSettings(max_tx_rate=7)))
    assert said == "max_tx_rate 800 is not allowed on 'lan'; ask for max_tx_rate 7 at most, or leave it out"


@pytest.mark.parametrize("rates", [(10, 100), (0, 1), (5, 50), (None, 99), (1, None), (0, None)])
def test_what_a_definition_allows(rates: tuple[int | None, int | None]) -> None:
    asked = replace(BOUND, proto=VlanProtocol.DOT1Q, min_tx_rate=rates[0], max_tx_rate=rates[1])
    made = make(card(function(0)), request(vf=asked), host=replace(LAN, vf=BOUND, modes=(Mode.BRIDGE,)))
    set_to = {step.setting: step.value for step in made.operations if isinstance(step, SetVf)}
    wanted = asked.merged_over(BOUND)
    assert set_to.get("max_tx_rate", 0) == wanted.max_tx_rate and set_to.get("min_tx_rate", 0) == wanted.min_tx_rate


def test_what_a_vf_cannot_be_set_to() -> None:
    assert refused(card(function(0)), request(vf=VfSettings(qos=3))).startswith("qos and proto are a VLAN's")
    rates = request(vf=VfSettings(min_tx_rate=10))
    said = refused(card(function(0)), rates, host=replace(LAN, vf=VfSettings(max_tx_rate=5)), kind=XmlError)
    assert "min_tx_rate" in said
    silent = card(function(0, trust=None))
    said = "the driver of NIC eth0 does not tell trust of a VF; leave it out"
    assert refused(silent, request(vf=VfSettings(trust=True))) == said
    assert refused(card(function(0)), request(mtu=1501)).startswith("MTU 1501 is more than")
    seen = card(function(0), function(1, holder="b", mac=str(MAC)))
    assert refused(seen, kind=InUseError).startswith(f"{MAC} is the MAC of VF 1: guest 'b'; ")


def test_vf_settings_mean_nothing_elsewhere() -> None:
    host = replace(LAN, type=HostType.ETHERNET)
    said = "'lan' is of type ethernet, and <vlan> and <vf> are for sr-iov; leave them out"
    assert refused(NicHardware("veth"), request(vf=VfSettings(vlan=3)), host=host) == said


# -- the embedded switch


def test_the_other_mode_is_refused_with_the_holders_name() -> None:
    shared = {"hwmode": SharedSetting("hwmode", PF_KEY, "veb", "vepa", {OTHER: "b"})}
    seen = card(function(0), mode="vepa", shared=shared)
    assert make(seen, request(Mode.PEPA))
    said = "the embedded switch of eth0 is in vepa for guest 'b'; ask for the mode that fits, or stop that guest"
    assert refused(seen, request(Mode.BRIDGE), kind=InUseError) == said
    # It runs, and is given one more.
    mine = replace(seen, shared={"hwmode": replace(shared["hwmode"], users={UUID: "web"})})
    assert refused(mine, request(Mode.BRIDGE), kind=InUseError) == said.replace("'b'", "'web'")


def test_the_other_mode_is_refused_before_vfs_are_made() -> None:
    """Which is known from those who need it now, whether there is a switch now or not."""
    later = {"hwmode": SharedSetting("hwmode", PF_KEY, "", "vepa", {OTHER: "b"})}
    seen = card(mode=None, shared=later)
    said = "the embedded switch of eth0 is to be in vepa, once there is one, for guest 'b'; ask for the mode that fits"
    assert refused(seen, request(Mode.BRIDGE), host=FOUR, kind=InUseError).startswith(said)
    assert make(seen, request(Mode.VEPA), host=FOUR).made_first
    veb = card(mode=None, shared={"hwmode": SharedSetting("hwmode", PF_KEY, "vepa", "veb", {OTHER: "b"})})
    for kind in (HostType.ETHERNET, HostType.VMDQ):
        host, offload = replace(LAN, type=kind), Feature(on=False, fixed=False)
        said = refused(replace(veb, offload=offload), request(Mode.VEPA), host=host, kind=InUseError)
        assert "is in veb for guest 'b'; " in said


def test_one_guest_cannot_need_both_modes() -> None:
    other = MacAddress.parse("52:54:00:aa:bb:cd")
    said = refused(card(function(0), function(1)), request(Mode.VEPA), request(Mode.BRIDGE, mac=other))
    assert said.startswith("another interface of this guest needs hwmode vepa of NIC eth0, and this one veb; ")


def test_a_driver_without_control_of_its_switch() -> None:
    seen = card(function(0), driver="igb", mode=None)
    assert not [step for step in make(seen).operations if isinstance(step, HoldSharedSetting)]
    for mode in (Mode.VEPA, Mode.PEPA):
        said = refused(seen, request(mode))
        assert said.startswith("driver igb of NIC eth0 cannot set its embedded switch to VEPA; ask for mode bridge")


def test_a_resetting_driver_is_not_switched_while_vfs_are_used() -> None:
    used = function(1, reason="driver vfio-pci")
    said = refused(card(function(0), used, driver="i40e"), request(Mode.VEPA))
    assert said.startswith(
        "driver i40e resets NIC eth0 to set its embedded switch to VEPA, and others use it: VF 1: driver vfio-pci; "
    )
    stations = {"l2-fwd-offload": SharedSetting("l2-fwd-offload", PF_KEY, "off", "on", {OTHER: "b"})}
    station = card(driver="i40e", offload=Feature(on=True, fixed=False), shared=stations)
    for kind in HostType:
        host = replace(LAN, type=kind, vf_count=2 if kind is HostType.SRIOV else None)
        assert "others use it: VMDq: guest 'b'; " in refused(station, request(Mode.VEPA), host=host)
    assert make(card(function(0), used, driver="i40e", mode="vepa"), request(Mode.VEPA))
    assert make(card(function(0), driver="i40e"), request(Mode.VEPA))
    assert make(card(function(0), used), request(Mode.VEPA))


@pytest.mark.parametrize(
    ("seen", "mode", "shared"),
    [
        (card(function(0)), Mode.VEPA, True),
        (card(function(0)), Mode.PEPA, True),
        (card(function(0)), Mode.BRIDGE, False),
        (card(function(0), mode=None), Mode.VEPA, False),
        (card(), Mode.VEPA, True),
        (card(mode=None), Mode.VEPA, True),
        (card(mode=None), Mode.BRIDGE, False),
        (replace(card(mode=None), total=0), Mode.VEPA, False),
    ],
)
def test_a_macvtap_on_the_nic_itself_above_an_embedded_switch(seen: NicHardware, mode: Mode, shared: bool) -> None:
    made = make(seen, request(mode), host=replace(LAN, type=HostType.ETHERNET)).operations
    assert [step.value for step in made if isinstance(step, HoldSharedSetting)] == ["vepa"] * shared


# -- VMDq


@pytest.mark.parametrize("mode", Mode)
def test_vmdq(mode: Mode) -> None:
    seen = NicHardware("ixgbe", PF, offload=Feature(on=False, fixed=False))
    made = make(seen, request(mode), host=replace(LAN, type=HostType.VMDQ)).operations
    switch = [HoldSharedSetting("hwmode", "eth0", PF_KEY, "vepa", UUID, "web")] if mode is not Mode.BRIDGE else []
    macvtap = made.index(CreateMacvtap(DEVICE, "eth0", str(MAC), mode.kernel, None, PF_KEY))
    assert made[macvtap - 1] == HoldSharedSetting("l2-fwd-offload", "eth0", PF_KEY, "on", UUID, "web")
    assert list(made[made.index(SetLinkUp(DEVICE)) + 2 :]) == [VerifyOffload(DEVICE, "eth0", str(MAC)), *switch]


def test_what_a_station_needs_of_the_switch_is_done_last() -> None:
    """A macvtap beside it may have asked for the same before there was a switch."""
    named = {"lan": replace(LAN, type=HostType.ETHERNET), "dmz": replace(LAN, name="dmz", type=HostType.VMDQ)}
    nic = Nic(link("eth0"), None, "", card(mode=None, offload=Feature(on=False, fixed=False)))
    some = request(Mode.VEPA), replace(request(Mode.VEPA, mac=SECOND), name="dmz")
    made = planner.make(Guest("web", UUID, some), Facts(named, {"eth0": nic}, {}, {}, {}, {}))
    share = HoldSharedSetting("hwmode", "eth0", PF_KEY, "vepa", UUID, "web")
    assert made.operations[-1] == share and made.operations.count(share) == 1
    assert made.interfaces[share] == tuple(each.alias for each in some)


def test_vmdq_is_refused_beside_a_switch_that_cannot_be_set() -> None:
    offload = Feature(on=True, fixed=False)
    stations = {"l2-fwd-offload": SharedSetting("l2-fwd-offload", PF_KEY, "off", "on", {OTHER: "b"})}
    host = replace(LAN, type=HostType.VMDQ)
    with_vfs = card(function(0), mode=None, offload=offload)
    for seen in (with_vfs, card(mode=None, offload=offload, shared=stations)):
        assert refused(seen, request(Mode.PEPA), host=host).startswith("driver ixgbe of NIC eth0 cannot set its")
        assert make(seen, request(Mode.BRIDGE), host=host)
    assert make(card(mode=None, offload=offload), request(Mode.VEPA), host=host)


def test_vmdq_that_is_on_for_good_is_not_touched() -> None:
    made = make(NicHardware("x", PF, offload=Feature(on=True, fixed=True)), host=replace(LAN, type=HostType.VMDQ))
    assert not [step for step in made.operations if isinstance(step, HoldSharedSetting)]


@pytest.mark.parametrize(
    ("offload", "said"),
    [(None, "does not have l2-fwd-offload"), (Feature(on=False, fixed=True), "has fixed off l2-fwd-offload")],
)
def test_vmdq_that_cannot_be(offload: Feature | None, said: str) -> None:
    seen = NicHardware("igb", PF, offload=offload)
    assert refused(seen, host=replace(LAN, type=HostType.VMDQ)).startswith(f"driver igb of NIC eth0 {said}; ")


# -- what an administrator should know


def test_the_filters_stand_on_the_spoof_check_of_the_others() -> None:
    seen = card(function(0), function(1, holder="b", spoofchk=False), function(2, spoofchk=False))
    said = ("the spoof check of NIC eth0 is off at VF 1: guest 'b': it can pass for another",)
    assert make(seen, request(Mode.VEPA)).remarks == said
    assert make(seen, request(Mode.BRIDGE)).remarks == ()
    mine = make(card(function(0)), request(Mode.PEPA, vf=VfSettings(spoofchk=False))).remarks
    assert mine == ("the spoof check of VF 0 of NIC eth0 is off: its guest can pass for another",)
    # It may be off already, by the driver's default or by hand, and stay so where nobody says otherwise.
    off = card(function(0, spoofchk=False))
    assert make(off, request(Mode.VEPA)).remarks == mine
    assert make(off, request(Mode.VEPA, vf=VfSettings(spoofchk=True))).remarks == ()
    assert make(off, request(Mode.VEPA), host=replace(LAN, vf=VfSettings(spoofchk=True))).remarks == ()


def test_many_holders_are_not_all_named() -> None:
    functions = [replace(function(0, holder="a"), number=number) for number in range(20)]
    seen = [replace(each, address=replace(PF, bus=each.number)) for each in functions]
    assert "VF 15: guest 'a', and 4 more; stop" in refused(card(*seen), kind=InUseError)
    assert sriov.MOST_NAMED == 16
