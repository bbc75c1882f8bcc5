# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The words of the project: addresses, modes, names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.interface import (
    Guest,
    GuestType,
    HostType,
    Mode,
    NicDefinition,
    Request,
    check_definition_name,
    check_device_name,
    check_host_device_name,
    derived_alias,
    derived_device,
)

MAC = MacAddress.parse("52:54:00:aa:bb:cc")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("52:54:00:aa:bb:cc", "52:54:00:aa:bb:cc"),
        ("52:54:00:AA:BB:CC", "52:54:00:aa:bb:cc"),
        ("0:1E:2:03:f:a", "00:1e:02:03:0f:0a"),
    ],
)
def test_a_mac_is_read_as_libvirt_reads_it(text: str, written: str) -> None:
    assert str(MacAddress.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "52:54:00:aa:bb",
        "52:54:00:aa:bb:cc:dd",
        "52-54-00-aa-bb-cc",
        "525400aabbcc",
        "52:54:00:aa:bb:gg",
        "52:54:00:aa:bb:ccc",
        "52:54::aa:bb:cc",
        " 52:54:00:aa:bb:cc",
        "52:54:00:aa:bb:cc\n",
        "\N{ARABIC-INDIC DIGIT FIVE}2:54:00:aa:bb:cc",
    ],
)
def test_what_is_no_mac_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(XmlError, match="is not a MAC address; write six hexadecimal pairs") as caught:
        MacAddress.parse(text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "group"), [("01:00:5e:00:00:01", True), ("ff:ff:ff:ff:ff:ff", True), (str(MAC), False)]
)
def test_the_group_bit_tells_multicast(text: str, group: bool) -> None:
    assert MacAddress.parse(text).is_multicast is group


def test_only_the_zero_mac_is_zero() -> None:
    assert MacAddress.parse("0:0:0:0:0:0").is_zero
    assert not MAC.is_zero


def test_a_tap_has_the_guests_mac_with_fe_in_front() -> None:
    assert str(MAC.for_tap) == "fe:54:00:aa:bb:cc"


def test_generated_macs_are_in_libvirts_range_and_differ() -> None:
    macs = {str(MacAddress.generate()) for _ in range(50)}
    assert len(macs) > 1
    assert all(mac.startswith("52:54:00:") for mac in macs)


def test_names_are_derived_from_the_mac() -> None:
    assert derived_device(MAC) == "vp525400aabbcc"
    assert derived_alias(MAC) == "ua-physical-525400aabbcc"
    assert check_device_name(derived_device(MAC))


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("vepa", Mode.VEPA),
        ("pepa", Mode.PEPA),
        ("bridge", Mode.BRIDGE),
        ("veb", Mode.BRIDGE),
        ("private", Mode.PEPA),
    ],
)
def test_modes_and_their_synonyms(text: str, mode: Mode) -> None:
    assert Mode.parse(text) is mode


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (Mode.parse, "passthru", "unknown mode 'passthru'; use vepa, pepa or bridge"),
        (Mode.parse, "VEPA", "unknown mode 'VEPA'; use vepa, pepa or bridge"),
        (Mode.parse, "vepa|bridge", "unknown mode 'vepa|bridge'; use vepa, pepa or bridge"),
        (Mode.parse, "", "unknown mode ''; use vepa, pepa or bridge"),
        (HostType.parse, "sriov", "unknown type 'sriov'; use ethernet, sr-iov or vmdq"),
        (GuestType.parse, "macvlan", "unknown type 'macvlan'; use macvtap or tap"),
    ],
)
def test_an_unknown_word_is_refused_with_the_known_ones(
    parse: Callable[[str], object], text: str, message: str
) -> None:
    with pytest.raises(XmlError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_the_types_have_the_proposals_names() -> None:
    assert [kind.value for kind in HostType] == ["ethernet", "sr-iov", "vmdq"]
    assert [kind.value for kind in GuestType] == ["macvtap", "tap"]
    assert [HostType.parse(kind.value) for kind in HostType] == list(HostType)


@pytest.mark.parametrize(("mode", "kernel"), [(Mode.VEPA, "vepa"), (Mode.PEPA, "private"), (Mode.BRIDGE, "bridge")])
def test_the_kernels_names_of_the_modes(mode: Mode, kernel: str) -> None:
    assert mode.kernel == kernel


def lan(*modes: Mode) -> NicDefinition:
    return NicDefinition("lan", "eth0", HostType.ETHERNET, modes)


@pytest.mark.parametrize(
    ("modes", "guest_type", "asked", "gets"),
    [
        ((), GuestType.MACVTAP, None, Mode.VEPA),
        ((Mode.BRIDGE, Mode.VEPA), GuestType.MACVTAP, None, Mode.BRIDGE),
        ((Mode.PEPA,), GuestType.MACVTAP, None, Mode.PEPA),
        ((), GuestType.TAP, None, Mode.BRIDGE),
        ((Mode.VEPA,), GuestType.TAP, None, Mode.BRIDGE),
        ((), GuestType.MACVTAP, Mode.PEPA, Mode.PEPA),
        ((), GuestType.TAP, Mode.VEPA, Mode.VEPA),
    ],
)
def test_the_mode_that_a_request_gets(
    modes: tuple[Mode, ...], guest_type: GuestType, asked: Mode | None, gets: Mode
) -> None:
    assert lan(*modes).mode_for(guest_type, asked) is gets


def test_a_definition_without_modes_allows_all() -> None:
    assert lan().allowed == (Mode.VEPA, Mode.PEPA, Mode.BRIDGE)
    assert lan(Mode.BRIDGE).allowed == (Mode.BRIDGE,)


@pytest.mark.parametrize("name", ["eth0", "a", "x" * 15, "vp525400aabbcc", "eth0.100", "br-lan", "_x", ".x", "0"])
def test_a_name_that_a_guests_device_may_have(name: str) -> None:
    assert check_device_name(name) == name
    assert check_host_device_name(name) == name


# Each was a device of a guest once, and stood in a command to paste.
@pytest.mark.parametrize("name", ["$(reboot)", ";halt", "`id`", "-f", "*", "a+b", "a'b", "~", "#", "a\\b", "a&b"])
def test_a_name_that_only_a_device_of_the_host_may_have(name: str) -> None:
    assert check_host_device_name(name) == name
    with pytest.raises(XmlError) as caught:
        check_device_name(name)
    assert str(caught.value) == (
        f"'{name}' cannot be the name of a guest's device; "
        "use up to 15 letters, digits, '_', '.' or '-', not beginning with '-'"
    )


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "x" * 16, "a/b", "../x", "a b", "a\nb", "a\tb", "a:1", "tap%d", "ä", "é" * 8, "a\0", "a\x7f"],
)
def test_a_device_name_that_the_kernel_or_libvirt_would_not_take(name: str) -> None:
    with pytest.raises(XmlError, match="cannot be the name of a network device; use 1 to 15 characters") as caught:
        check_host_device_name(name)
    with pytest.raises(XmlError, match="cannot be the name of a guest's device; use up to 15 letters"):
        check_device_name(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["lan", "LAN_2", "0", "a.b", "a+b-c", "x" * 64, "_"])
def test_a_definition_name(name: str) -> None:
    assert check_definition_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".lan", "-lan", "+x", "../x", "a/b", "a b", "$(x)", "a\n", "x" * 65, "ä"]
)
def test_a_hostile_definition_name(name: str) -> None:
    with pytest.raises(XmlError, match="cannot be the name of a physical interface") as caught:
        check_definition_name(name)
    assert len(str(caught.value).splitlines()) == 1


def test_how_messages_name_a_guest_and_an_interface() -> None:
    request = Request("ua-x", "lan", GuestType.MACVTAP, None, MAC, "vp0", line=0)
    assert request.where == "interface 52:54:00:aa:bb:cc"
    assert Guest("web", "", (request,)).where == "guest 'web'"
    assert (
        Request("ua-x", "lan", GuestType.TAP, None, MAC, "vp0", line=7).where == "interface 52:54:00:aa:bb:cc (line 7)"
    )


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        lan().device = "eth1"  # type: ignore[misc]  # it is frozen
