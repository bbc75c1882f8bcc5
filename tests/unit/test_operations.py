# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations as the journal holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Never

import pytest

from libvirt_vepa.errors import KernelError, NewerStateError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel.rtnetlink import Link, Netlink
from libvirt_vepa.lifecycle import executor
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.model.interface import Guest
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
from libvirt_vepa.operations.registry import FORMER, KNOWN, from_record
from libvirt_vepa.operations.source_filter import DropReflectedFrames, UpdateVfMacSet
from libvirt_vepa.operations.vf import SetVf, SetVfMac, SetVfMtu, SetVfVlan
from libvirt_vepa.planning.planner import Plan
from libvirt_vepa.store.shared_settings import SharedSetting
from libvirt_vepa.store.store import Store

MAC = "52:54:00:aa:bb:cc"
PF, VF = NicKey("0000:01:00.0"), NicKey("0000:01:10.6")
UUID = "11111111-2222-3333-4444-555555555555"
SAMPLES = {
    AcquireLease("mac", "52:54:00:aa:bb:cc", UUID, "web"): "reserve mac 52:54:00:aa:bb:cc for guest 'web'",
    SetLinkUp("eth0"): "put eth0 up",
    CreateMacvtap("vp0", "eth0", "52:54:00:aa:bb:cc", "vepa", None): (
        "create macvtap vp0 on eth0: mode vepa, MAC 52:54:00:aa:bb:cc"
    ),
    CreateMacvtap("vp0", "eth0", "52:54:00:aa:bb:cc", "private", 1400): (
        "create macvtap vp0 on eth0: mode private, MAC 52:54:00:aa:bb:cc, MTU 1400"
    ),
    CreateTap("vp0", "fe:54:00:aa:bb:cc", False, 1500): "create tap vp0: MAC fe:54:00:aa:bb:cc, MTU 1500",
    CreateTap("vp0", "fe:54:00:aa:bb:cc", True, 9000): "create tap vp0: MAC fe:54:00:aa:bb:cc, MTU 9000, multi-queue",
    DisableIpv6("vp0"): "disable the host's IPv6 on vp0",
    ReceiveAllMulticast("vp0"): "receive all multicast on vp0",
    JoinBridge("vp0", "br-lan", "eth0", PF): "make vp0 a port of bridge br-lan",
    WaitForTapNode("vp0"): "wait for the character device of vp0",
    CreateVfs("eth0", PF, 4, "lan"): "make 4 VFs of eth0",
    RemoveVfs("eth0", PF, 4, "lan"): "remove the 4 VFs of eth0",
    HoldSharedSetting("hwmode", "eth0", PF, "vepa", UUID, "web"): (
        "have the embedded switch of eth0, if in use, in vepa while a guest needs it"
    ),
    VerifyOffload("vp0", "eth0", MAC): "see that eth0 forwards to vp0 in hardware",
    SetVfMtu(VF, 9000, 1500): f"set MTU 9000 of {VF}",
    SetVfMac("eth0", 3, VF, MAC, "00:00:00:00:00:00", 1500): f"set VF 3 of eth0 ({VF}) to MAC {MAC}",
    SetVfVlan("eth0", 3, VF, 42, 5, "802.1ad", 0, 0, "802.1Q"): "set VF 3 of eth0 to vlan 42 qos 5 proto 802.1ad",
    SetVf("eth0", 3, VF, "spoofchk", False, True): "set VF 3 of eth0 to spoofchk off",
    SetVf("eth0", 3, VF, "state", "enable", "auto"): "set VF 3 of eth0 to state enable",
    SetVf("eth0", 3, VF, "max_tx_rate", 100, 0): "set VF 3 of eth0 to max_tx_rate 100",
    UpdateVfMacSet("eth0", PF, MAC): f"have the filters of eth0 know {MAC}, and the MACs of all other VFs",
    DropReflectedFrames("eth0", PF, VF, MAC, False): f"let VF {VF} of eth0 hear nothing from {MAC} itself",
    DropReflectedFrames("eth0", PF, VF, MAC, True): (
        f"let VF {VF} of eth0 hear nothing from {MAC} itself, nor from other VFs"
    ),
}


def test_there_is_a_sample_of_every_operation() -> None:
    assert {type(sample) for sample in SAMPLES} == set(KNOWN.values())


def test_every_operation_is_known_by_its_name() -> None:
    ours = {kind for kind in Operation.__subclasses__() if kind.__module__.startswith("libvirt_vepa.")}
    assert set(KNOWN.values()) == ours
    assert all(name == kind.__name__ for name, kind in KNOWN.items())


@pytest.mark.parametrize("operation", SAMPLES, ids=lambda operation: type(operation).__name__)
def test_an_operation_comes_back_from_its_record_through_json(operation: Operation) -> None:
    assert from_record(json.loads(json.dumps(operation.to_record()))) == operation


def test_an_older_record_may_lack_what_has_a_default() -> None:
    old = {"operation": "JoinBridge", "device": "vp0", "bridge": "br-lan"}
    assert from_record(old) == JoinBridge("vp0", "br-lan")
    del old["bridge"]
    with pytest.raises(NewerStateError):
        from_record(old)


@pytest.mark.parametrize(("former", "name"), FORMER.items())
def test_a_record_of_an_older_version_may_have_an_older_name(former: str, name: str) -> None:
    (operation, *_) = (sample for sample in SAMPLES if type(sample).__name__ == name)
    assert from_record({**operation.to_record(), "operation": former}) == operation


@pytest.mark.parametrize(("operation", "text"), SAMPLES.items())
def test_what_an_operation_says_of_itself(operation: Operation, text: str) -> None:
    assert operation.describe() == text


@pytest.mark.parametrize(
    "record",
    [
        {"operation": "LeaseVf", "pf": "eth0"},
        {"device": "vp0"},
        {"operation": "SetLinkUp"},
        {"operation": "SetLinkUp", "device": "vp0", "seconds": 1},
        {"operation": "__class__", "device": "vp0"},
        {"operation": "SetLinkUp", "dev\nice": "vp0"},
    ],
)
def test_a_record_of_another_version_is_not_guessed_at(record: dict[str, object]) -> None:
    with pytest.raises(NewerStateError, match=r"not known here.*install the libvirt-vepa that wrote it") as caught:
        from_record(record)
    assert len(str(caught.value).splitlines()) == 1


def test_only_what_a_running_guest_does_not_notice_is_mendable() -> None:
    assert {kind for kind in KNOWN.values() if kind.reapply_safe} == {
        SetLinkUp,
        DisableIpv6,
        UpdateVfMacSet,
        ReceiveAllMulticast,
        JoinBridge,
        DropReflectedFrames,
    }


class Stubborn(Netlink):
    """A NIC that tells its embedded switch's mode and takes no other, as a driver in the middle of a reset does."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def find(self, name: str) -> Link:
        return Link(name, 7, "", None, up=True, ethernet=True, mtu=1500)

    def switch_mode(self, _link: Link) -> str:
        return "veb"

    def set_switch_mode(self, _link: Link, mode: str) -> Never:
        self.refused.append(mode)
        raise KernelError("busy", "try again")


@pytest.mark.parametrize("others", [{}, {"99999999-2222-3333-4444-555555555555": "db"}])
def test_a_guest_that_could_not_share_is_no_user(tmp_path: Path, others: dict[str, str]) -> None:
    nic, store = Stubborn(), Store(tmp_path)
    # There is a switch, for somebody has a station.
    store.shared.save(SharedSetting("l2-fwd-offload", NicKey("stubborn"), "off", "on", {UUID: "web"}))
    if others:
        store.shared.save(SharedSetting("hwmode", NicKey("stubborn"), "veb", "vepa", others))
    share = HoldSharedSetting("hwmode", "stubborn", NicKey("stubborn"), "vepa", UUID, "web")
    with pytest.raises(KernelError, match="busy"):
        executor.execute(Guest("web", UUID, ()), Plan((share,), ()), Host(nic, store))
    left = store.shared.find("hwmode", NicKey("stubborn"))
    assert nic.refused == ["vepa"] and (left.users if left else {}) == others
