# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The boundary to the kernel on a real driver: igb, which refuses some of what is asked, and says which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel import pci
from libvirt_vepa.kernel.rtnetlink import Feature, Link, Netlink
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from tests.lab.network import Nic
from tests.lab.shell import ip_json, run

SECONDS = 60
OFFLOAD = "l2-fwd-offload"
GUEST = MacAddress.parse("52:54:00:aa:bb:cc")
NOTHING = MacAddress.parse("00:00:00:00:00:00")


@pytest.fixture(scope="module")
def netlink() -> Iterator[Netlink]:
    with Netlink() as found:
        yield found


@pytest.fixture
def physical(pair: tuple[Nic, str, str], netlink: Netlink) -> Iterator[Link]:
    """The card with two VFs, as a driver has it at first, and again after the test."""
    link = netlink.get(pair[0].device)
    yield link
    plain = VfSettings(vlan=0, spoofchk=True, trust=False, max_tx_rate=0)
    for number in (0, 1):
        netlink.set_vf(link, number, plain)
        netlink.set_vf_mac(link, number, NOTHING)


@pytest.fixture
def address(physical: Link) -> PciAddress:
    found = pci.function_of(physical.name)
    assert found is not None
    return found


def shown(link: Link, number: int) -> dict[str, Any]:
    """Return a VF as iproute2 shows it."""
    found: dict[str, Any] = ip_json("link", "show", "dev", link.name)[0]["vfinfo_list"][number]
    return found


def test_the_functions_of_the_card(pair: tuple[Nic, str, str], address: PciAddress) -> None:
    assert pci.driver_of(address) == "igb"
    assert (
        pci.counts(address) == (7, 2) and pci.physical_of(address) is None and pci.device_of(address) == pair[0].device
    )
    vfs = pci.vfs_of(address)
    assert [(vf.number, vf.driver, vf.device) for vf in vfs] == [(0, "igbvf", pair[1]), (1, "igbvf", pair[2])]
    assert all(pci.physical_of(vf.address) == address for vf in vfs)
    pci.await_devices(tuple(vf.address for vf in vfs), 0)


@pytest.mark.parametrize("count", [8, 1])
def test_a_number_of_vfs_that_the_kernel_refuses(address: PciAddress, count: int) -> None:
    with pytest.raises(KernelError, match=f"cannot give {address} {count} VFs: .*; the card can have 7; where it"):
        pci.set_count(address, count)
    assert pci.counts(address) == (7, 2)


def test_a_nic_is_found_by_its_makers_address_and_a_vf_is_not(
    pair: tuple[Nic, str, str], physical: Link, netlink: Netlink
) -> None:
    assert physical.mac is not None
    run("ip", "link", "set", physical.name, "address", "02:00:00:00:00:77")
    try:
        assert [link.name for link in netlink.with_mac(physical.mac)] == [physical.name]
        assert netlink.with_mac(MacAddress.parse("02:00:00:00:00:77")) == ()
    finally:
        run("ip", "link", "set", physical.name, "address", str(physical.mac))
    virtual = netlink.get(pair[1]).mac
    assert virtual is not None and netlink.with_mac(virtual) == ()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (VfSettings(vlan=42), {"vlan_list": [{"vlan": 42}]}),
        (VfSettings(vlan=42, qos=3), {"vlan_list": [{"vlan": 42, "qos": 3}]}),
        (VfSettings(spoofchk=False), {"spoofchk": False}),
        (VfSettings(trust=True), {"trust": True}),
        (VfSettings(max_tx_rate=100), {"tx_rate": 100, "rate": {"max_tx": 100, "min_tx": 0}}),
    ],
)
def test_a_setting_is_as_iproute2_shows_it(
    physical: Link, netlink: Netlink, settings: VfSettings, told: dict[str, Any]
) -> None:
    other, before = shown(physical, 0), shown(physical, 1)
    netlink.set_vf(physical, 1, settings)
    assert shown(physical, 1) == before | told and shown(physical, 0) == other
    (_, vf) = netlink.vfs(physical)
    assert vf.settings == settings.merged_over(vf.settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (VfSettings(vlan=42, proto=VlanProtocol.DOT1AD), "vlan 42 qos 0 proto 802.1ad of VF 1 of card1: Protocol not"),
        (VfSettings(state=LinkState.ENABLE), "state enable of VF 1 of card1: Operation not supported"),
        (VfSettings(min_tx_rate=10), "min_tx_rate 10 max_tx_rate 0 of VF 1 of card1: Invalid argument"),
        (VfSettings(max_tx_rate=100000), "min_tx_rate 0 max_tx_rate 100000 of VF 1 of card1: Invalid argument"),
    ],
)
def test_what_igb_cannot_do_is_refused_by_it(physical: Link, netlink: Netlink, settings: VfSettings, said: str) -> None:
    before = netlink.vfs(physical)
    with pytest.raises(KernelError, match=f"^cannot set {said}"):
        netlink.set_vf(physical, 1, settings)
    assert netlink.vfs(physical) == before


def test_a_macs_way_to_the_netdev_is_a_rebind(physical: Link, netlink: Netlink, address: PciAddress) -> None:
    vf = pci.vfs_of(address)[1]
    before = netlink.get(vf.device or "")
    netlink.set_vf_mac(physical, 1, GUEST)
    assert netlink.vfs(physical)[1].mac == GUEST and netlink.get(before.name).mac == before.mac != GUEST
    after = netlink.get(pci.rebind(vf.address, SECONDS))
    assert after.mac == GUEST and after.index != before.index
    netlink.set_vf_mac(physical, 1, NOTHING)
    assert netlink.vfs(physical)[1].mac == NOTHING


def test_a_vf_whose_driver_was_taken_away_gets_it_again(address: PciAddress) -> None:
    vf = pci.vfs_of(address)[0]
    run("sh", "-c", f"echo {vf.address} >/sys/bus/pci/drivers/igbvf/unbind")
    assert pci.vfs_of(address)[0].driver == "" and pci.device_of(vf.address) is None
    assert pci.rebind(vf.address, SECONDS) == pci.device_of(vf.address)
    assert pci.driver_of(vf.address) == "igbvf"


def test_a_vf_in_another_network_namespace_has_no_netdev_here(address: PciAddress) -> None:
    vf = pci.vfs_of(address)[0]
    run("ip", "netns", "add", "other")
    try:
        run("ip", "link", "set", vf.device or "", "netns", "other")
        assert pci.driver_of(vf.address) == "igbvf" and pci.device_of(vf.address) is None
        with pytest.raises(KernelError, match=rf"^no network device of {vf.address} \(driver igbvf\) appeared in 0"):
            pci.await_devices((vf.address,), 0.1)
        run("ip", "-n", "other", "link", "set", vf.device or "", "netns", "1")
        pci.await_devices((vf.address,), SECONDS)
    finally:
        run("ip", "netns", "delete", "other")


def test_the_embedded_switch_takes_a_mode(physical: Link, netlink: Netlink) -> None:
    for mode in ("vepa", "veb", "vepa"):
        netlink.set_switch_mode(physical, mode)
        assert netlink.switch_mode(physical) == mode
        assert f"hwmode {mode.upper()}" in run("bridge", "-d", "link", "show", "dev", physical.name).stdout
    assert netlink.switch_mode(netlink.get("plain")) is None


def test_a_feature_is_what_ethtool_says(card: Nic, netlink: Netlink) -> None:
    link = netlink.get(card.device)
    for on in (True, False):
        netlink.set_feature(link, OFFLOAD, on)
        assert netlink.feature(link, OFFLOAD) == Feature(on, fixed=False)
        said = "on" if on else "off"
        assert f"{OFFLOAD}: {said}\n" in run("ethtool", "-k", card.device).stdout
    assert netlink.feature(netlink.get("plain"), OFFLOAD) == Feature(on=False, fixed=True)


def test_a_card_without_devlink_is_legacy(netlink: Netlink, address: PciAddress) -> None:
    assert netlink.eswitch(address) == "legacy"
