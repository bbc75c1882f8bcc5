# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many at once: nothing is lost, nothing waits for ever, and nobody pays for the others."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from libvirt_vepa.model.address import NicKey
from tests.lab.network import Nic
from tests.support.host_fixture import SECONDS, World, ask, begin_here, children, device, end_here, guest, links, uuid
from tests.support.run_action import MARKS

MANY = range(1, 21)
# What would tell of others: reading of folders and files, and talk with the kernel about its devices.
CALLS = "sendto,sendmsg,recvfrom,recvmsg,openat,open,read,pread64,getdents64,ioctl"


def test_twenty_guests_start_at_once_on_one_nic_and_end_at_once(world: World) -> None:
    guests = [guest(number) for number in MANY]
    assert children(begin_here, *((world, one) for one in guests)) == [0] * len(MANY)
    assert {device(number) for number in MANY} <= links().keys()
    assert world.host.store.guests() == tuple(uuid(number) for number in MANY)
    assert len(world.host.store.leases()) == 2 * len(MANY)
    assert children(end_here, *((world, one) for one in guests)) == [0] * len(MANY)
    assert not {device(number) for number in MANY} & links().keys() and not world.files()


def test_two_starts_of_one_guest_at_once_are_one_after_the_other(world: World) -> None:
    assert children(begin_here, *[(world, guest(1))] * 4) == [0] * 4
    assert links()[device(1)]["up"] and world.host.store.guests() == (uuid(1),)
    assert world.end(guest(1)) == ()
    assert device(1) not in links() and not world.files()


def test_a_start_and_an_end_of_one_guest_at_once_agree(world: World) -> None:
    for _ in range(5):
        assert children(either, (world, True), (world, False)) == [0, 0]
        assert (device(1) in links()) is bool(world.journal(guest(1)))
    world.end(guest(1))
    assert not world.files()


def either(world: World, begins: bool) -> None:
    (begin_here if begins else end_here)(world, guest(1))


def test_opposite_orders_of_nics_do_not_deadlock(world: World, dmz: Nic) -> None:
    world.define("dmz", "eth2")
    crossed = [
        guest(number, *(ask(number, each + 1, name=name) for each, name in enumerate(names)))
        for number, names in enumerate([("lan", "dmz"), ("dmz", "lan")] * 4, start=1)
    ]
    for action in (begin_here, end_here):
        assert children(action, *((world, one) for one in crossed)) == [0] * len(crossed)
    assert not world.files()


def lock_often(world: World, *nics: str) -> None:
    for _ in range(500):
        with world.host.store.lock_nics(map(NicKey, nics), "a test"):
            pass


def test_nics_are_locked_in_one_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libvirt_vepa.store.store.LOCK_SECONDS", SECONDS / 3)
    assert children(lock_often, (world, "eth1", "eth2"), (world, "eth2", "eth1")) == [0, 0]


@pytest.mark.parametrize(("kind", "others"), [("macvtap", 50), ("tap", 50)])
def test_cost_does_not_grow_with_the_guests_that_run(
    world: World, request: pytest.FixtureRequest, tmp_path: Path, kind: str, others: int
) -> None:
    if kind == "tap":
        request.getfixturevalue("bridge")
    trace = tmp_path / "trace"
    taken = []
    for number in range(2, others + 2):
        world.begin(guest(number, ask(number, kind=kind)))
        if number in (2, others + 1):
            taken.append([traced(world, trace, action, kind) for action in ("begin", "end")])
    assert taken[0] == taken[1]
    assert all(calls.total() > 10 and calls["sendto"] for calls in taken[0])


def traced(world: World, trace: Path, action: str, kind: str) -> Counter[str]:
    """Return how often a start or an end, once it has loaded everything, makes each of the calls."""
    strace = ("strace", "-f", "-yy", "-o", str(trace), "-e", f"trace=access,{CALLS}")
    assert world.command(action, 1, *strace, kind=kind) == (0, "")
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    first, last = (next(number for number, call in enumerate(lines) if mark in call) for mark in MARKS)
    # How often a library wakes its own thread, by a socket pair, is a matter of chance.
    calls = (re.match(r"\d+ +([a-z0-9]+)\((?!\d+<UNIX)", call) for call in lines[first:last] if "EAGAIN" not in call)
    return Counter(call[1] for call in calls if call)
