# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a host cannot give is refused in one line before anything is touched."""

from __future__ import annotations

import re
import shlex

import pytest

from libvirt_vepa.model.interface import Request
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.host_fixture import World, ask, device, guest, mac, uuid

OTHER_NAME = "choose another name in <target dev=…/>"
WHERE = f"interface {mac(1)}: "
TAP = ask(1, kind="tap")


def refused(world: World, *requests: Request) -> str:
    """Return why a guest with these requests is not started, without its beginning."""
    text = world.refused(guest(1, *requests or (ask(1),)))
    assert text.startswith(WHERE)
    return text.removeprefix(WHERE)


def test_a_name_that_nobody_defined(world: World) -> None:
    text = world.refused(guest(1, ask(1, name="wan")))
    assert text.startswith("no physical interface 'wan' is defined on this host; ")


def test_no_such_nic(world: World) -> None:
    world.define("lan", "eth9")
    assert refused(world) == (
        "'lan' is NIC eth9, which does not exist on this host; "
        "see 'ip link' and load its driver, or define 'lan' by the name that it has now"
    )


@pytest.mark.parametrize("nic", ["lo", "tun9"])
def test_what_is_no_ethernet(world: World, nic: str) -> None:
    run("ip", "tuntap", "add", "tun9", "mode", "tun")
    world.define("lan", nic)
    assert refused(world) == f"'lan' is {nic}, which is not an Ethernet device; define 'lan' with the name of a NIC"


def test_a_macvtap_on_a_port_of_a_bridge(world: World, bridge: str) -> None:
    assert refused(world) == (
        "NIC eth1 is a port of bridge br-lan, and a macvtap cannot share it; "
        "ask for <type>tap</type>, or take it out with 'ip link set eth1 nomaster'"
    )


@pytest.mark.parametrize("mode", ["vepa", "bridge", "pepa"])
def test_a_macvtap_on_a_nic_that_belongs_to_another(world: World, mode: str) -> None:
    run(*["ip", "link", "add", "link", "eth1", "name", "first", "type", "macvtap", "mode", "passthru"])
    assert refused(world, ask(1, mode=mode)) == (
        "NIC eth1 belongs to first alone (mode passthru); stop the guest that uses first"
    )


def test_a_tap_without_a_bridge(world: World) -> None:
    assert refused(world, TAP) == (
        "a tap needs a Linux bridge that NIC eth1 is a port of; "
        "make one with 'ip link set eth1 master BRIDGE', or ask for <type>macvtap</type>"
    )


def test_a_bridge_that_does_not_exist(world: World, bridge: str) -> None:
    world.define("lan", "eth1", "<bridge name='br9'/>")
    assert refused(world, TAP) == (
        "'lan' names bridge br9, which does not exist; "
        "make it with 'ip link add br9 type bridge' and 'ip link set eth1 master br9'"
    )


def test_a_bridge_that_does_not_have_the_nic(world: World) -> None:
    run("ip", "link", "add", "br9", "type", "bridge")
    world.define("lan", "eth1", "<bridge name='br9'/>")
    assert refused(world, TAP) == (
        "a tap needs a Linux bridge that NIC eth1 is a port of; "
        "make one with 'ip link set eth1 master br9', or ask for <type>macvtap</type>"
    )


def test_a_bridge_other_than_the_nics(world: World, bridge: str) -> None:
    run("ip", "link", "add", "br9", "type", "bridge")
    world.define("lan", "eth1", "<bridge name='br9'/>")
    assert refused(world, TAP) == (
        "NIC eth1 is a port of bridge br-lan, but 'lan' names bridge br9; "
        "move it with 'ip link set eth1 master br9', or change the definition"
    )


@pytest.mark.parametrize("mode", ["vepa", "pepa"])
def test_a_tap_in_a_mode_that_only_a_macvtap_has(world: World, mode: str) -> None:
    assert refused(world, ask(1, kind="tap", mode=mode)) == (
        f"a tap cannot have mode {mode}; ask for bridge, or for <type>macvtap</type>"
    )


def test_a_tap_with_the_mac_of_a_hosts_side(world: World, bridge: str) -> None:
    text = world.refused(guest(1, ask(1, kind="tap", mac="fe:54:00:00:01:01")))
    assert text == (
        "interface fe:54:00:00:01:01: a MAC that begins with fe, as fe:54:00:00:01:01 does, is for the host's side "
        "of a tap; give the guest another MAC, as in 52:54:00:aa:bb:cc"
    )


def test_a_mode_that_the_definition_does_not_allow(world: World) -> None:
    world.define("lan", "eth1", "<mode>bridge</mode><mode>pepa</mode>")
    assert refused(world, ask(1, mode="vepa")) == "mode vepa is not allowed on 'lan'; ask for bridge or pepa"


def test_an_mtu_above_the_nics(world: World) -> None:
    assert refused(world, ask(1, mtu=1501)) == (
        "MTU 1501 is more than the 1500 of NIC eth1; ask for 1500 at most, or raise it with 'ip link set eth1 mtu 1501'"
    )


@pytest.mark.parametrize("mtu", [0, 67])
def test_an_mtu_below_ethernets(world: World, mtu: int) -> None:
    assert refused(world, ask(1, mtu=mtu)) == f"MTU {mtu} is less than Ethernet's 68; ask for 68 to 1500"


@pytest.mark.parametrize("queues", [0, 257])
@pytest.mark.parametrize("kind", ["macvtap", "tap"])
def test_queues_that_cannot_be_had(world: World, kind: str, queues: int) -> None:
    assert refused(world, ask(1, kind=kind, queues=queues)) == f"invalid queue count {queues}; ask for 1 to 256"


def test_the_mac_of_the_nic_itself(world: World) -> None:
    run("ip", "link", "set", "eth1", "address", mac(1))
    assert refused(world) == f"{mac(1)} is the MAC of NIC eth1 itself; give the guest a MAC of its own"


def test_a_mac_that_another_guest_has_on_any_nic(world: World, dmz: Nic) -> None:
    world.define("dmz", "eth2")
    world.begin(guest(2, ask(1, name="dmz", device="other")))
    assert refused(world) == (
        f"mac {mac(1)} is in use by guest 'web2' ({uuid(2)}); choose another mac, or stop that guest"
    )


def test_another_guests_device_is_not_called_removable(world: World) -> None:
    world.begin(guest(2, ask(2, device="shared")))
    assert refused(world, ask(1, device="shared")) == (
        f"device shared is in use by guest 'web2' ({uuid(2)}); choose another device, or stop that guest"
    )


@pytest.mark.parametrize("kind", ["macvtap", "tap"])
def test_a_tap_that_exists_and_is_no_guests(world: World, kind: str) -> None:
    name = device(1)
    run("ip", "tuntap", "add", name, "mode", "tap")
    assert refused(world, ask(1, kind=kind, mode="bridge", device=name)) == (
        f"device {name} exists and is not this guest's; {OTHER_NAME}, "
        f"or remove it if nothing uses it ('ip link delete {name}')"
    )


@pytest.mark.parametrize("name", ["lo", "eth2", "spare", "tun9", "br7"])
@pytest.mark.parametrize("kind", ["macvtap", "tap"])
def test_no_removal_is_suggested_of_what_is_no_guests(world: World, dmz: Nic, kind: str, name: str) -> None:
    run("ip", "link", "property", "add", "dev", "eth2", "altname", "spare")
    run("ip", "tuntap", "add", "tun9", "mode", "tun")
    run("ip", "link", "add", "br7", "type", "bridge")
    assert refused(world, ask(1, kind=kind, mode="bridge", device=name)) == (
        f"device {name} exists and is not this guest's; {OTHER_NAME}"
    )


# -- a guest's device in the place of a NIC


@pytest.mark.parametrize("kind", ["macvtap", "tap"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("eth9", "the NIC of 'dmz'"),
        ("uplink", "the NIC of 'spare'"),
        ("br-dmz", "the bridge of 'dmz'"),
        ("eth1", "the NIC of 'lan'"),
    ],
)
def test_a_device_called_as_a_definitions_nic(world: World, bridge: str, kind: str, name: str, what: str) -> None:
    """Of any definition; only that of `lan` is there. One that is damaged keeps nobody from starting."""
    world.define("dmz", "eth9", "<bridge name='br-dmz'/>")
    world.define("spare", "uplink")
    (world.directory / "damaged.xml").write_text("<interface")
    if kind == "macvtap":
        run("ip", "link", "set", "eth1", "nomaster")
    assert (
        refused(world, ask(1, kind=kind, device=name)) == f"device {name} would have the name of {what}; {OTHER_NAME}"
    )
    world.begin(guest(1, ask(1, kind=kind, device="free")))
    assert not world.end(guest(1))


def test_a_nic_that_is_a_guests_device(world: World, bridge: str) -> None:
    """A definition may come later than the guest that has its NIC's name."""
    world.begin(guest(2, ask(2, kind="tap", device="eth9")))
    world.define("dmz", "eth9")
    for kind in ("macvtap", "tap"):
        assert refused(world, ask(1, name="dmz", kind=kind)) == (
            f"'dmz' is eth9, which is the device of guest 'web2' ({uuid(2)}); "
            "define 'dmz' with the name of a NIC, or stop that guest"
        )
    world.end(guest(2))


@pytest.mark.parametrize("made", ["macvtap", "macvlan", "tap"])
def test_a_nic_that_is_of_a_kind_that_guests_have(world: World, bridge: str, made: str) -> None:
    """As what a guest of libvirt's own has on the bridge of another network."""
    if made == "tap":
        run("ip", "tuntap", "add", "eth9", "mode", "tap")
        run("ip", "link", "set", "eth9", "master", bridge)
    else:
        run("ip", "link", "add", "link", bridge, "name", "eth9", "type", made)
    world.define("dmz", "eth9")
    for kind in ("macvtap", "tap"):
        assert refused(world, ask(1, name="dmz", kind=kind)) == (
            f"'dmz' is eth9, which is a {made}, as guests have it, and no NIC; define 'dmz' with the name of a NIC"
        )


@pytest.mark.parametrize("name", ["$(reboot)", "a;halt", "`id`"])
def test_a_nics_name_is_quoted_in_a_command(world: World, name: str) -> None:
    run("ip", "link", "add", name, "type", "veth", "peer", "name", "far9")
    world.define("lan", name)
    said = refused(world, ask(1, kind="tap"))
    (command,) = re.findall(r"make one with '(.*)', or ask", said)
    assert shlex.split(command) == ["ip", "link", "set", name, "master", "BRIDGE"]


def test_one_device_for_two_interfaces(world: World) -> None:
    text = world.refused(guest(1, ask(1, 1, device="same"), ask(1, 2, device="same")))
    assert text == (
        f"interface {mac(1, 2)}: device same is another interface's of this guest; "
        "choose another name in <target dev=…/>"
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("sr-iov", "NIC eth1 has no SR-IOV; define 'lan' with <type>ethernet</type>, or see its firmware"),
        (
            "vmdq",
            "driver unknown of NIC eth1 has fixed off l2-fwd-offload; "
            "define it with <type>ethernet</type>, or use a NIC with VMDq, as with ixgbe, i40e or fm10k",
        ),
    ],
)
def test_a_nic_that_is_not_what_its_definition_says(world: World, kind: str, said: str) -> None:
    world.define("lan", "eth1", kind=kind)
    assert refused(world, ask(1)) == said


def test_the_second_interface_is_judged_before_the_first_is_made(world: World) -> None:
    world.define("dmz", "eth9")
    text = world.refused(guest(1, ask(1, 1), ask(1, 2, name="dmz")))
    assert text.startswith(f"interface {mac(1, 2)}: 'dmz' is NIC eth9, which does not exist")
