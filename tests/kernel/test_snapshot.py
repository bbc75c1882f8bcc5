# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`status` reads the kernel once: as many requests for thirty devices as for three, and what it says is as ever."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel.snapshot import Snapshot
from libvirt_vepa.lifecycle import executor, status
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.host_fixture import World, ask, device, guest, links
from tests.support.run_action import MARKS

FEW, MANY = 3, 30
LONG = "the-second-port-of-the-card-in-slot-3"
# Some of each kind that plans speak of.
DEVICES = (
    "link add x1 type veth peer name x2",
    f"link property add dev x1 altname {LONG}",
    "link property add dev x1 altname short",
    "link add link x1 name x3 address 52:54:00:00:00:01 mtu 1400 type macvtap mode private",
    "link set x3 allmulticast on",
    "link add link x1 name x4 type macvlan mode bridge",
    "link add x6 mtu 1300 type bridge",
    "link set x2 master x6 up",
    "tuntap add x7 mode tap multi_queue",
    "tuntap add x8 mode tun",
)


@pytest.fixture(params=["macvtap", "tap"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "tap":
        request.getfixturevalue("bridge")
    return str(request.param)


def requests(world: World, trace: Path, *options: str) -> tuple[int, str]:
    """Return how often `status` asks the kernel by netlink, and what it says."""
    strace = ("strace", "-f", "-yy", "-qq", "-o", str(trace), "-e", "trace=access,sendto,sendmsg,sendmmsg", *options)
    code, said = world.command("status", 0, *strace)
    calls = trace.read_text(encoding="utf-8", errors="replace")
    middle = calls.partition(MARKS[0])[2].partition(MARKS[1])[0]
    assert code == 0
    return len(re.findall(r"send\w+\(\d+<NETLINK", middle)), said


def test_status_asks_as_often_for_many_as_for_few(world: World, tmp_path: Path, kind: str) -> None:
    asked = []
    for number in range(1, MANY + 1):
        world.begin(guest(number, ask(number, kind=kind)))
        if number in (FEW, MANY):
            count, said = requests(world, tmp_path / "trace")
            assert said.splitlines() == [f"web{one} {device(one)} ok" for one in range(1, number + 1)]
            asked.append(count)
    assert 0 < asked[0] == asked[1] < FEW


def test_what_status_says_is_what_each_device_says_by_itself(world: World, kind: str) -> None:
    for number in range(1, 6):
        world.begin(guest(number, ask(number, kind=kind)))
    run("ip", "link", "set", device(1), "down")
    run("ip", "link", "set", device(2), "allmulticast", "off")
    run("ip", "link", "delete", device(3))
    run("ip", "link", "set", device(4), "address", "52:54:00:00:00:99")
    run("ip", "link", "set", device(4), "name", "away")
    run("ip", "link", "property", "add", "dev", "away", "altname", device(4))
    run("ip", "link", "set", "eth1", "name", "nic1")
    told = {row.uuid: row.drifts for row in status.interfaces(world.host)}
    for number in range(1, 6):
        journal = world.journal(guest(number))
        (use,) = journal.uses
        assert told[journal.uuid] == executor.verify(executor.operations_of(journal.split(use.alias)[1]), world.host)
    assert sum(map(bool, told.values())) == 5


def test_a_device_is_the_same_read_with_all_or_by_itself(host: Host) -> None:
    for words in DEVICES:
        run("ip", *words.split())
    index = host.netlink.get("x1").index
    with Snapshot() as seen:
        for name in (*links(), LONG, "short", "x99", "x99-is-too-long-for-a-name"):
            assert seen.find(name) == host.netlink.find(name)
        assert seen.at(index) == host.netlink.get(LONG) == seen.get("short")
        assert seen.find("x3") == replace(seen.get("x3"), kind="macvtap", mode="private", mtu=1400, all_multicast=True)
        assert seen.get("x7").multi_queue and seen.get("x2").master == seen.get("x6").index
        assert seen.at(0) is None


def test_a_device_that_came_since_is_asked_for_and_a_change_is_not_seen(host: Host, lan: Nic) -> None:
    with Snapshot() as seen:
        before = seen.get("eth1")
        run("ip", "link", "add", "x1", "type", "bridge")
        assert seen.find("x1") == host.netlink.find("x1") is not None
        run("ip", "link", "set", "eth1", "up")
        assert seen.get("eth1") == before != host.netlink.get("eth1")


def test_a_list_that_cannot_be_had_is_done_without(world: World, tmp_path: Path) -> None:
    for number in range(1, FEW + 1):
        world.begin(guest(number))
    count, said = requests(world, tmp_path / "trace")
    # The kernel is asked first for the list.
    more, same = requests(world, tmp_path / "trace", "-e", "inject=sendto:error=ENOBUFS:when=1")
    assert same == said and more > count + FEW
