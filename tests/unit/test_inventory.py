# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is looked up of a card, in a tree like /sys, beside a kernel that says the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libvirt_vepa.host import sriov_inventory
from libvirt_vepa.host.sriov_inventory import NicHardware
from libvirt_vepa.kernel.link import Link
from libvirt_vepa.kernel.rtnetlink import Netlink
from libvirt_vepa.model.address import MacAddress, NicKey, PciAddress
from libvirt_vepa.model.interface import HostType
from libvirt_vepa.store.shared_settings import SharedSetting
from libvirt_vepa.store.store import Lease, Store
from tests.support.pci_tree import Tree

PF, VF = PciAddress.parse("0000:01:00.0"), PciAddress.parse("0000:01:10.0")
UUID, OTHER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
NIC = Link("eth0", 7, "", None, True, True, 1500)


@dataclass
class Kernel(Netlink):
    """What netlink tells of one card in switchdev, and how often it was asked for the host's addresses."""

    asked: list[str] = field(default_factory=list)

    def eswitch(self, _address: PciAddress) -> str:
        return "switchdev"

    def switch_mode(self, _link: Link) -> str:
        return "vepa"

    def vfs(self, _link: Link) -> tuple[()]:
        return ()

    def find(self, name: str) -> Link:
        return Link(name, 9, "", MacAddress.parse("02:00:00:00:00:09"), True, True, 1500)

    def with_addresses(self) -> frozenset[int]:
        self.asked.append("addresses")
        return frozenset({9})


def look(kinds: set[HostType], store: Store, kernel: Kernel | None = None) -> NicHardware:
    return sriov_inventory.inspect(NIC, kinds, UUID, kernel or Kernel(), store)


@pytest.fixture
def card(tree: Tree) -> Path:
    folder = tree.function(str(PF), "mlx5_core")
    tree.netdev(folder, "eth0")
    tree.counts(folder, 8, 0)
    return folder


def test_switchdev_is_seen_before_there_are_vfs(card: Path, tmp_path: Path) -> None:
    assert look({HostType.SRIOV, HostType.ETHERNET}, Store(tmp_path / "state")).eswitch == "switchdev"


def test_the_mode_of_a_switch_that_may_come_is_asked_for(card: Path, tree: Tree, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    assert look({HostType.ETHERNET}, store).switch_mode == "vepa"
    tree.counts(card, 0, 0)
    assert look({HostType.ETHERNET}, store).switch_mode is None


def test_a_guests_own_vf_is_free_for_it(card: Path, tree: Tree, tmp_path: Path) -> None:
    store, kernel = Store(tmp_path / "state"), Kernel()
    tree.counts(card, 8, 3)
    for number in range(3):
        tree.vf(card, number, f"0000:01:10.{number}", "mlx5_core", f"vf{number}")
    store.acquire(Lease("vf", str(VF), UUID, "web"))
    store.acquire(Lease("vf", "0000:01:10.1", OTHER, "db"))
    store.shared.save(SharedSetting("l2-fwd-offload", NicKey(PF), "off", "on", {UUID: "web", OTHER: "db"}))
    seen = look({HostType.SRIOV}, store, kernel)
    assert [each.user for each in seen.functions] == ["", "guest 'db'", "vf2 has an address of the host's"]
    assert seen.users == ("VF 1: guest 'db'", "VF 2: vf2 has an address of the host's", "VMDq: guest 'db'")
    assert kernel.asked == ["addresses"]
