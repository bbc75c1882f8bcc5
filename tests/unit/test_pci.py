# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""PCI functions in a tree like /sys, in layouts that real hosts have."""

from __future__ import annotations

import re
from functools import partial

import pytest

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.pci import VirtualFunction
from libvirt_vepa.model.address import PciAddress
from tests.support.pci_tree import Tree
from tests.support.sleeps import sleeps

SHORT = 0.05


def at(text: str) -> PciAddress:
    return PciAddress.parse(text)


def test_a_card_with_two_ports_has_two_physical_functions(tree: Tree) -> None:
    for port in (0, 1):
        folder = tree.function(f"0000:81:00.{port}", "ixgbe")
        tree.netdev(folder, f"ens1f{port}")
        tree.counts(folder, 63, 2)
        for number in (0, 1):
            # Those of both ports alternate on the bus, as an 82599 has them.
            tree.vf(folder, number, f"0000:81:10.{2 * number + port}", "ixgbevf", f"vf{port}{number}")
    assert pci.function_of("ens1f0") == at("0000:81:00.0") and pci.function_of("ens1f1") == at("0000:81:00.1")
    assert pci.device_of(at("0000:81:00.1")) == "ens1f1"
    assert [vf.device for vf in pci.vfs_of(at("0000:81:00.0"))] == ["vf00", "vf01"]
    assert pci.vfs_of(at("0000:81:00.1")) == (
        VirtualFunction(0, at("0000:81:10.1"), "ixgbevf", "vf10"),
        VirtualFunction(1, at("0000:81:10.3"), "ixgbevf", "vf11"),
    )
    assert pci.physical_of(at("0000:81:10.3")) == at("0000:81:00.1")
    assert pci.physical_of(at("0000:81:00.1")) is None
    assert pci.is_vf_device("vf11") and not pci.is_vf_device("ens1f1")
    assert pci.driver_of(at("0000:81:00.0")) == "ixgbe"
    assert pci.counts(at("0000:81:00.0")) == (63, 2)


def test_one_function_with_two_ports_is_named_by_its_first(tree: Tree) -> None:
    """As a ConnectX-3 is; the second one's name comes first."""
    folder = tree.function("0000:04:00.0", "mlx4_core")
    tree.netdev(folder, "aaa", port=1)
    tree.netdev(folder, "zzz", port=0)
    assert pci.device_of(at("0000:04:00.0")) == "zzz"
    assert pci.function_of("aaa") == pci.function_of("zzz") == at("0000:04:00.0")
    assert pci.key_of("aaa") == "0000:04:00.0"


def test_vfs_may_be_on_another_bus_and_are_in_order_of_number(tree: Tree) -> None:
    """By number, where the names of the links would put the tenth before the second."""
    folder = tree.function("0000:3b:00.0", "i40e")
    addresses = [f"0000:3b:1f.{n}" for n in range(8)] + [f"0000:3c:00.{n}" for n in range(4)]
    for number, address in reversed(list(enumerate(addresses))):
        tree.vf(folder, number, address, "iavf", f"v{number}")
    assert [(vf.number, str(vf.address)) for vf in pci.vfs_of(at("0000:3b:00.0"))] == list(enumerate(addresses))


def test_a_vf_that_was_given_away_has_no_netdev(tree: Tree) -> None:
    folder = tree.function("0000:01:00.0", "igb")
    tree.vf(folder, 0, "0000:01:10.0", "vfio-pci")
    tree.vf(folder, 1, "0000:01:10.2")
    assert pci.vfs_of(at("0000:01:00.0")) == (
        VirtualFunction(0, at("0000:01:10.0"), "vfio-pci", None),
        VirtualFunction(1, at("0000:01:10.2"), "", None),
    )


def test_a_vf_in_another_namespace_has_no_netdev_here(tree: Tree) -> None:
    """The kernel shows `net` empty then, in this namespace's /sys."""
    folder = tree.function("0000:01:00.0", "igb")
    (tree.vf(folder, 0, "0000:01:10.0", "igbvf") / "net").mkdir()
    assert pci.vfs_of(at("0000:01:00.0")) == (VirtualFunction(0, at("0000:01:10.0"), "igbvf", None),)


def test_a_card_that_can_have_no_vfs(tree: Tree) -> None:
    tree.counts(tree.function("0000:01:00.0", "igb"), 0, 0)
    tree.function("0000:02:00.0", "r8169")
    assert pci.counts(at("0000:01:00.0")) == pci.counts(at("0000:02:00.0")) == (0, 0)
    assert pci.vfs_of(at("0000:01:00.0")) == ()


def test_what_is_no_pci_card_has_no_function(tree: Tree) -> None:
    (tree.root / "class/net/veth0").mkdir()
    usb = tree.root / "devices/pci0000:00/0000:00:14.0/usb1/1-1:1.0"
    usb.mkdir(parents=True)
    tree.netdev(usb, "usb0")
    tree.drive(usb, "cdc_ether")
    for name in ("veth0", "usb0", "nothing"):
        assert pci.function_of(name) is None and pci.key_of(name) == name


def test_a_function_that_is_not_there(tree: Tree) -> None:
    none = at("0000:09:00.0")
    assert pci.device_of(none) is None and pci.driver_of(none) == "" and pci.physical_of(none) is None
    assert pci.vfs_of(none) == () and pci.counts(none) == (0, 0)


def test_a_virtio_card_is_a_function_and_its_netdev_is_found(tree: Tree) -> None:
    virtio = tree.function("0000:00:03.0", "virtio-pci") / "virtio0"
    tree.netdev(virtio, "eth0")
    assert pci.function_of("eth0") == at("0000:00:03.0")
    assert pci.device_of(at("0000:00:03.0")) == "eth0"


def test_the_number_of_vfs_is_written(tree: Tree) -> None:
    folder = tree.function("0000:01:00.0", "igb")
    tree.counts(folder, 7, 0)
    pci.set_count(at("0000:01:00.0"), 4)
    assert pci.counts(at("0000:01:00.0")) == (7, 4)


def test_a_driver_that_makes_no_vfs_without_a_word_is_told_of(tree: Tree) -> None:
    """As bnxt_en does while the NIC is down."""
    folder = tree.function("0000:01:00.0", "bnxt_en")
    tree.counts(folder, 7, 0)
    (folder / "sriov_numvfs").unlink()
    (folder / "sriov_numvfs").symlink_to("/dev/null")
    with pytest.raises(KernelError, match=r"^0000:01:00\.0 was to have 4 VFs, and has 0; see the kernel's log"):
        pci.set_count(at("0000:01:00.0"), 4)


def test_a_number_of_vfs_that_cannot_be_written_is_told_of(tree: Tree) -> None:
    folder = tree.function("0000:01:00.0", "igb")
    tree.counts(folder, 7, 0)
    (folder / "sriov_numvfs").unlink()
    with pytest.raises(KernelError) as caught:
        pci.set_count(at("0000:01:00.0"), 4)
    assert str(caught.value) == (
        "cannot give 0000:01:00.0 4 VFs: No such file or directory; "
        "the card can have 7; where it has some already they must go first"
    )
    assert not (folder / "sriov_numvfs").exists()


def test_waiting_for_what_is_there_is_no_wait(tree: Tree) -> None:
    folder = tree.function("0000:01:00.0", "igb")
    tree.vf(folder, 0, "0000:01:10.0", "igbvf", "v0")
    for addresses in ((at("0000:01:10.0"),), ()):
        assert not sleeps(partial(pci.await_devices, addresses, 60))


def test_the_wait_is_bounded_and_names_what_is_missing(tree: Tree) -> None:
    folder = tree.function("0000:01:00.0", "igb")
    tree.vf(folder, 0, "0000:01:10.0", "igbvf", "v0")
    tree.vf(folder, 1, "0000:01:10.2", "vfio-pci")
    tree.vf(folder, 2, "0000:01:10.4")
    said = "no network device of 0000:01:10.2 (driver vfio-pci), 0000:01:10.4 (driver none) appeared in 0.05 seconds; "
    with pytest.raises(KernelError, match=f"^{re.escape(said)}"):
        pci.await_devices(tuple(vf.address for vf in pci.vfs_of(at("0000:01:00.0"))), SHORT)


def test_a_function_is_unbound_and_bound(tree: Tree) -> None:
    folder = tree.function("0000:01:00.0", "igb")
    tree.vf(folder, 0, "0000:01:10.0", "igbvf", "v0")
    assert pci.rebind(at("0000:01:10.0"), SHORT) == "v0"
    home = tree.root / "bus/pci/drivers/igbvf"
    assert [(home / name).read_text() for name in ("unbind", "bind")] == ["0000:01:10.0"] * 2


def test_a_function_without_a_driver_gets_the_kernels(tree: Tree) -> None:
    probe = tree.root / "bus/pci/drivers_probe"
    probe.touch()
    tree.vf(tree.function("0000:01:00.0", "igb"), 0, "0000:01:10.0", name="v0")
    assert pci.rebind(at("0000:01:10.0"), SHORT) == "v0"
    assert probe.read_text() == "0000:01:10.0"


def test_a_driver_that_cannot_be_taken_is_told_of(tree: Tree) -> None:
    tree.vf(tree.function("0000:01:00.0", "igb"), 0, "0000:01:10.0", "igbvf", "v0")
    (tree.root / "bus/pci/drivers/igbvf/unbind").unlink()
    with pytest.raises(KernelError) as caught:
        pci.rebind(at("0000:01:10.0"), SHORT)
    assert str(caught.value) == (
        "cannot take driver igbvf from 0000:01:10.0: No such file or directory; "
        "see the kernel's log, and bind the driver by hand"
    )


def test_a_function_without_a_driver_is_probed(tree: Tree) -> None:
    asked = tree.root / "bus/pci/drivers_probe"
    asked.touch()
    pci.probe(at("0000:01:10.0"))
    assert asked.read_text() == "0000:01:10.0"


def test_a_function_whose_netdev_does_not_come_back_is_told_of(tree: Tree) -> None:
    tree.vf(tree.function("0000:01:00.0", "igb"), 0, "0000:01:10.0", "igbvf")
    with pytest.raises(KernelError, match=r"^no network device of 0000:01:10.0 \(driver igbvf\) appeared"):
        pci.rebind(at("0000:01:10.0"), SHORT)
