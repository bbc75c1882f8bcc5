"""Operations as the journal holds them."""

from __future__ import annotations

import json

import pytest

from libvirt_vepa.errors import NewerStateError
from libvirt_vepa.known import from_record
from libvirt_vepa.operations import (
    KNOWN,
    AwaitNode,
    CreateMacvtap,
    CreateTap,
    DisableIpv6,
    JoinBridge,
    Operation,
    ReceiveAllMulticast,
    SetUp,
    TakeLease,
)

UUID = "11111111-2222-3333-4444-555555555555"
SAMPLES = {
    TakeLease("mac", "52:54:00:aa:bb:cc", UUID, "web"): "reserve mac 52:54:00:aa:bb:cc for guest 'web'",
    SetUp("eth0"): "put eth0 up",
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
    JoinBridge("vp0", "br-lan"): "make vp0 a port of bridge br-lan",
    AwaitNode("vp0"): "wait for the character device of vp0",
}


def test_there_is_a_sample_of_every_operation():
    assert {type(sample) for sample in SAMPLES} == set(KNOWN.values())


def test_every_operation_is_known_by_its_name():
    ours = {kind for kind in Operation.__subclasses__() if kind.__module__ == Operation.__module__}
    assert set(KNOWN.values()) == ours
    assert all(name == kind.__name__ for name, kind in KNOWN.items())


@pytest.mark.parametrize("operation", SAMPLES, ids=lambda operation: type(operation).__name__)
def test_an_operation_comes_back_from_its_record_through_json(operation):
    assert from_record(json.loads(json.dumps(operation.record()))) == operation


@pytest.mark.parametrize(("operation", "text"), SAMPLES.items())
def test_what_an_operation_says_of_itself(operation, text):
    assert operation.describe() == text


@pytest.mark.parametrize(
    "record",
    [
        {"operation": "LeaseVf", "pf": "eth0"},
        {"device": "vp0"},
        {"operation": "SetUp"},
        {"operation": "SetUp", "device": "vp0", "seconds": 1},
        {"operation": "__class__", "device": "vp0"},
        {"operation": "SetUp", "dev\nice": "vp0"},
    ],
)
def test_a_record_of_another_version_is_not_guessed_at(record):
    with pytest.raises(NewerStateError, match=r"not known here.*install the libvirt-vepa that wrote it") as caught:
        from_record(record)
    assert len(str(caught.value).splitlines()) == 1


def test_only_what_a_running_guest_does_not_notice_is_mendable():
    assert {kind for kind in KNOWN.values() if kind.mendable} == {SetUp, DisableIpv6, ReceiveAllMulticast, JoinBridge}
