# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is asked of a NIC beside its name: other names, its address, who hears what, and what it can do by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libvirt_vepa.errors import KernelError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel.rtnetlink import Feature, Link
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.interface import HostType, NicDefinition
from libvirt_vepa.model.vf_settings import VfSettings
from libvirt_vepa.proxy import interface_view
from tests.lab.network import Nic
from tests.lab.shell import run

LONG = "the-second-port-of-the-card-in-slot-3"
FEATURE = "tx-checksum-ip-generic"
FIXED = "l2-fwd-offload"
UNKNOWN = "52:54:00:00:00:99"


def ip(text: str) -> None:
    run("ip", *text.split())


@pytest.fixture
def link(lan: Nic, host: Host) -> Link:
    return host.netlink.get("eth1")


@pytest.mark.parametrize("name", ["short", LONG])
def test_a_device_is_found_by_another_name_and_has_its_own(link: Link, host: Host, name: str) -> None:
    assert host.netlink.find(name) is None
    ip(f"link property add dev eth1 altname {name}")
    assert host.netlink.find(name) == link
    ip(f"link property del dev eth1 altname {name}")
    assert host.netlink.find(name) is None


def test_a_nic_is_found_by_its_address_and_nothing_on_it_is(link: Link, host: Host) -> None:
    ip(f"link add link eth1 name inside1 address {link.mac} type macvlan mode passthru")
    ip(f"link add br-lan address {link.mac} type bridge")
    assert link.mac is not None
    assert host.netlink.with_mac(link.mac) == (host.netlink.find("eth1"),)
    assert host.netlink.with_mac(MacAddress.parse(UNKNOWN)) == ()


def test_two_nics_of_one_address_are_both_told_of(link: Link, dmz: Nic, host: Host) -> None:
    ip(f"link set eth2 address {link.mac}")
    assert link.mac is not None
    assert {found.name for found in host.netlink.with_mac(link.mac)} == {"eth1", "eth2"}


def test_clients_see_a_nic_by_whatever_its_definition_gives(link: Link, host: Host) -> None:
    ip(f"link property add dev eth1 altname {LONG}")
    named, other = NicDefinition("lan", LONG, HostType.ETHERNET), NicDefinition("lan", "eth9", HostType.ETHERNET)
    given, nobodys = replace(named, device="", mac=link.mac), replace(named, device="", mac=MacAddress.parse(UNKNOWN))
    for active, state in ((False, "down"), (True, "up")):
        ip(f"link set eth1 {state}")
        seen = interface_view.Nic("lan", str(link.mac).encode(), active)
        # The switch behind it has a port that is up.
        assert [interface_view.shown(each) for each in (named, given)] == [seen, seen]
    assert interface_view.shown(nobodys) == interface_view.shown(other) == interface_view.Nic("lan")


def test_clients_see_no_nic_where_two_have_the_address(link: Link, dmz: Nic) -> None:
    ip(f"link set eth2 address {link.mac}")
    assert interface_view.shown(NicDefinition("lan", "", HostType.ETHERNET, mac=link.mac)) == interface_view.Nic("lan")


@pytest.mark.parametrize("address", ["192.0.2.1/24", "169.254.1.1/16", "2001:db8::1/64"])
def test_an_address_of_the_hosts_is_seen(link: Link, host: Host, address: str) -> None:
    before = host.netlink.with_addresses()
    assert link.index not in before
    ip(f"address add {address} dev eth1")
    assert host.netlink.with_addresses() == before | {link.index}


def test_the_address_of_ipv6_on_every_link_is_none(link: Link, dmz: Nic, host: Host) -> None:
    ip("address add fe80::1/64 dev eth1")
    dmz.give("192.0.2.2/24")
    assert link.index not in host.netlink.with_addresses()


def test_the_unicast_list_has_the_stations_of_macvlans(link: Link, dmz: Nic, host: Host) -> None:
    assert host.netlink.unicast(link) == frozenset()
    station, other = "52:54:00:00:00:07", "52:54:00:00:00:08"
    for device, mac in (("eth1", station), ("eth2", other)):
        ip(f"link set {device} up")
        ip(f"link add link {device} name on-{device} address {mac} type macvlan mode private")
        ip(f"link set on-{device} up")
    assert host.netlink.unicast(link) == {MacAddress.parse(station)}
    ip("link set on-eth1 down")
    assert host.netlink.unicast(link) == frozenset()


def test_what_a_bridge_learned_is_not_in_the_unicast_list(link: Link, host: Host) -> None:
    ip("link add br-lan type bridge")
    ip("link set eth1 master br-lan")
    run("bridge", "fdb", "add", "52:54:00:00:00:09", "dev", "eth1", "master", "static")
    assert host.netlink.unicast(link) == frozenset()


def test_a_feature_is_read_and_switched(link: Link, host: Host) -> None:
    assert host.netlink.feature(link, FEATURE) == Feature(on=True, fixed=False)
    host.netlink.set_feature(link, FEATURE, False)
    assert host.netlink.feature(link, FEATURE) == Feature(on=False, fixed=False)
    host.netlink.set_feature(link, FEATURE, True)
    assert host.netlink.feature(link, FEATURE) == Feature(on=True, fixed=False)


def test_a_fixed_feature_is_not_switched_on(link: Link, host: Host) -> None:
    assert host.netlink.feature(link, FIXED) == Feature(on=False, fixed=True)
    # It is what it is to be: nothing to complain of.
    host.netlink.set_feature(link, FIXED, False)
    with pytest.raises(KernelError) as caught:
        host.netlink.set_feature(link, FIXED, True)
    assert str(caught.value) == (
        "cannot switch l2-fwd-offload on at eth1: it is fixed there; see 'ethtool -k eth1' and the kernel's log"
    )


def test_a_feature_that_there_is_not(link: Link, host: Host) -> None:
    assert host.netlink.feature(link, "no-such-feature") is None
    with pytest.raises(KernelError, match=r"cannot switch no-such-feature on at eth1: .*bit name not found"):
        host.netlink.set_feature(link, "no-such-feature", True)


def test_a_nic_without_an_embedded_switch_has_no_mode(link: Link, host: Host) -> None:
    assert host.netlink.switch_mode(link) is None
    ip("link add br-lan type bridge")
    ip("link set eth1 master br-lan")
    assert host.netlink.switch_mode(link) is None
    with pytest.raises(KernelError) as caught:
        host.netlink.set_switch_mode(link, "vepa")
    assert str(caught.value) == (
        "cannot put the embedded switch of eth1 into vepa: Operation not supported; "
        "the kernel or the driver cannot do this; see the kernel's configuration"
    )


def test_a_nic_without_vfs_has_none_and_sets_none(link: Link, host: Host) -> None:
    assert host.netlink.vfs(link) == ()
    host.netlink.set_vf(link, 0, VfSettings())
    with pytest.raises(KernelError, match=r"cannot set spoofchk on of VF 0 of eth1: Operation not supported; "):
        host.netlink.set_vf(link, 0, VfSettings(spoofchk=True))
    with pytest.raises(KernelError, match=r"^eth1 has no VF 0; ask for one that it has"):
        host.netlink.set_vf(link, 0, VfSettings(max_tx_rate=100))


def test_a_device_that_has_gone_is_told_of(link: Link, host: Host) -> None:
    ip("link delete eth1")
    for look in (host.netlink.vfs, lambda gone: host.netlink.feature(gone, FEATURE)):
        with pytest.raises(KernelError, match=r"eth1: No such device.*; the device has gone"):
            look(link)
    assert host.netlink.unicast(link) == frozenset() and host.netlink.switch_mode(link) is None


def test_without_devlink_a_switch_is_legacy(host: Host) -> None:
    assert host.netlink.eswitch(PciAddress.parse("0000:ff:1f.7")) == "legacy"
