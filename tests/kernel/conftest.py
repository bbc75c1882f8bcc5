# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two NICs, called `lan` and `dmz`, and a host whose guests have all ended, and left nothing, after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel.rtnetlink import Netlink
from libvirt_vepa.store.store import Store
from tests.lab.network import Nic, nic
from tests.lab.shell import run
from tests.support.host_fixture import World, links


@pytest.fixture
def lan() -> Iterator[Nic]:
    with nic("eth1") as found:
        yield found


@pytest.fixture
def dmz() -> Iterator[Nic]:
    with nic("eth2") as found:
        yield found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """The way to the kernel; what a test makes, and does not take away, is deleted."""
    before = links()
    with Netlink() as netlink:
        yield Host(netlink, Store(tmp_path / "state"))
    for name in links().keys() - before.keys():
        run("ip", "link", "delete", name, check=False)


@pytest.fixture
def world(tmp_path: Path, lan: Nic, host: Host) -> World:
    directory = tmp_path / "definitions"
    directory.mkdir()
    found = World(tmp_path / "state", directory, host)
    found.define("lan", "eth1")
    return found


@pytest.fixture
def bridge(world: World) -> str:
    """A bridge, down, that the NIC `lan` is a port of."""
    run("ip", "link", "add", "br-lan", "type", "bridge")
    run("ip", "link", "set", "eth1", "master", "br-lan")
    return "br-lan"
