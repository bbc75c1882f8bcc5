# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Definitions that name their NIC by what it is, and that say how its VFs are to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.kernel import sysfs
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.interface import HostType, NicDefinition
from libvirt_vepa.model.vf_settings import UNSET, LinkState, VfSettings, VlanProtocol
from libvirt_vepa.proxy import interface_view
from libvirt_vepa.xml import definition
from tests.support.refusals import refusal

ETH0 = "<source dev='eth0'/>"
ADDRESS = "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>"
RANGE = "write the first and the last, as in 0-3, or one number"
DECIMAL = "in decimal without a leading 0"


def lan(content: str = "", source: str = ETH0, kind: str = "sr-iov") -> str:
    """Return a definition with the source on line 2 and the content from line 4."""
    return f"<interface type='physical' name='lan'>\n{source}\n<type>{kind}</type>\n{content}\n</interface>"


def read(text: str) -> NicDefinition:
    return definition.read(text.encode(), "f.xml")


def address(**words: str) -> str:
    parts = {"type": "pci", "bus": "0", "slot": "0", "function": "0", **words}
    content = " ".join(f"{name}='{text}'" for name, text in parts.items() if text != "none")
    return f"<source><address {content}/></source>"


def test_a_nic_by_its_mac() -> None:
    host = read(lan(source="<source mac='0:1B:21:aa:bb:cc'/>"))
    assert (host.device, host.mac, host.address) == ("", MacAddress.parse("00:1b:21:aa:bb:cc"), None)
    assert host.source == "00:1b:21:aa:bb:cc"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({}, (0, 0, 0, 0)),
        ({"domain": "0x0001", "bus": "0x0a", "slot": "0x1F", "function": "0x7"}, (1, 10, 31, 7)),
        ({"domain": "65536", "bus": "255", "slot": "10", "function": "7"}, (0x10000, 255, 10, 7)),
        ({"bus": "00", "slot": "07", "function": "000"}, (0, 0, 7, 0)),
    ],
)
def test_a_nic_by_its_pci_address_in_libvirts_numbers(words: dict[str, str], found: tuple[int, int, int, int]) -> None:
    host = read(lan(source=address(**words)))
    assert (host.device, host.mac, host.address) == ("", None, PciAddress(*found))
    assert host.source == str(PciAddress(*found))


@pytest.mark.parametrize("name", ["eth0", "x" * 127])
def test_a_nic_by_a_name_which_may_be_an_alternative_one(name: str) -> None:
    assert read(lan(source=f"<source dev='{name}'/>")).device == name
    assert read(lan(source=f"<source dev='{name}'/>")).source == name


@pytest.mark.parametrize(
    ("content", "vf", "vf_range", "vf_count"),
    [
        ("", UNSET, None, None),
        ("<vf/>", UNSET, None, None),
        ("<vf range='0-3' count='4'/>", UNSET, (0, 3), 4),
        ("<vf range='2'/>", UNSET, (2, 2), None),
        ("<vf range='07-65535' count='65535'/>", UNSET, (7, 65535), 65535),
        (
            "<vf spoofchk='off' state='enable' qos='0'/>",
            VfSettings(None, 0, None, False, None, LinkState.ENABLE),
            None,
            None,
        ),
        ("<vlan>\n<tag id='42'/>\n</vlan>", VfSettings(42), None, None),
        ("<vlan><tag id='1'/></vlan><vf proto='802.1ad'/>", VfSettings(1, proto=VlanProtocol.DOT1AD), None, None),
    ],
)
def test_how_vfs_are_to_be(
    content: str, vf: VfSettings, vf_range: tuple[int, int] | None, vf_count: int | None
) -> None:
    host = read(lan(content))
    assert (host.vf, host.vf_range, host.vf_count) == (vf, vf_range, vf_count)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("<source/>", "<source> has no 'dev'; write <source dev='eth0'/>"),
        *(
            (source, "<source> names the NIC twice; keep one of dev, mac and <address>")
            for source in (
                "<source dev='eth0' mac='00:1b:21:aa:bb:cc'/>",
                f"<source dev='eth0'>{ADDRESS}</source>",
                f"<source mac='00:1b:21:aa:bb:cc'>{ADDRESS}</source>",
            )
        ),
        (f"<source>{ADDRESS}{ADDRESS}</source>", "<address> stands there twice; keep one of them"),
        ("<source mac='a'/>", "'a' is not a MAC address; write six hexadecimal pairs, as in 52:54:00:aa:bb:cc"),
        (
            "<source mac='01:00:5e:00:00:01'/>",
            "01:00:5e:00:00:01 is not the MAC of a single station; give a unicast MAC, as in 52:54:00:aa:bb:cc",
        ),
        (
            f"<source dev='{'x' * 128}'/>",
            f"'{'x' * 128}' cannot be the name of a network device; "
            "use 1 to 127 characters without blanks, '/', ':' or '%'",
        ),
        *(
            (address(**{name: "none"}), f"<address> has no '{name}'; write {ADDRESS}")
            for name in ("type", "bus", "slot", "function")
        ),
        (address(type="usb"), "'usb' is no type of address that a NIC has; write type='pci'"),
        *(
            (
                address(**{name: text}),
                f"{name} '{text}' is no number from 0 to {most}; write it in hexadecimal behind 0x, or {DECIMAL}",
            )
            for name, text, most in (
                ("domain", "0x100000000", "0xffffffff"),
                ("domain", "4294967296", "0xffffffff"),
                ("bus", "0x100", "0xff"),
                ("bus", "010", "0xff"),
                ("bus", "0a", "0xff"),
                ("bus", "", "0xff"),
                ("slot", "32", "0x1f"),
                ("slot", "-1", "0x1f"),
                ("function", "8", "0x7"),
                ("function", "0x", "0x7"),
            )
        ),
    ],
)
def test_which_nic_cannot_be_told(source: str, message: str) -> None:
    assert refusal(read, lan(source=source), kind=XmlError) == f"f.xml, line 2: {message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<vf spoofchk='yes'/>", "spoofchk 'yes' is neither on nor off; write one of them"),
        *(
            (f"<vf range='{text}'/>", f"'{text}' is no range of VFs; {RANGE}")
            for text in ("3-0", "", "0-65536", "0-", "0,1", "-1")
        ),
        ("<vf count='0'/>", "count '0' is no number from 1 to 65535; write one in decimal digits"),
        ("<vf count='all'/>", "count 'all' is no number from 1 to 65535; write one in decimal digits"),
        (
            "<vf vlan='1'/>",
            "a VF has no setting 'vlan'; use spoofchk, trust, state, min_tx_rate, max_tx_rate, qos, proto",
        ),
        (
            "<vf min_tx_rate='2' max_tx_rate='1'/>",
            "min_tx_rate 2 is above max_tx_rate 1; lower the one or raise the other",
        ),
        ("<vf/><vf/>", "<vf> stands there twice; keep one of them"),
        ("<vlan><tag id='1'/></vlan><vlan/>", "<vlan> stands there twice; keep one of them"),
        ("<vlan/>", "a VF is in one VLAN; write one <tag id='…'/> in it"),
        ("<vlan><tag id='1'/><tag id='2'/></vlan>", "a VF is in one VLAN; write one <tag id='…'/> in it"),
        *(
            (content, "a VF has no trunk and no native VLAN; write it as in <vlan><tag id='42'/></vlan>")
            for content in (
                "<vlan trunk='yes'><tag id='1'/></vlan>",
                "<vlan trunk='no'><tag id='1'/></vlan>",
                "<vlan><tag id='1' nativeMode='tagged'/></vlan>",
            )
        ),
        ("<vlan><tag/></vlan>", "<tag> has no 'id'; write <tag id='42'/>"),
        ("<vlan><tag id='1'>a</tag></vlan>", "text is not expected in <tag>; remove it, or make it a comment"),
        ("<vlan>// a<tag id='1'/></vlan>", "text is not expected in <vlan>; remove it, or make it a comment"),
        ("<vlan a='b'><tag id='1'/></vlan>", "<vlan> has no attribute 'a'; remove it"),
        ("<vlan><tag id='1' a='b'/></vlan>", "<tag> has no attribute 'a'; remove it"),
        ("<vlan><b/><tag id='1'/></vlan>", "<b> is not expected in <vlan>; remove it"),
        ("<vlan><tag id='1'><b/></tag></vlan>", "<b> is not expected in <tag>; remove it"),
        ("<vf><b/></vf>", "<b> is not expected in <vf>; remove it"),
        ("<vf>a</vf>", "text is not expected in <vf>; remove it, or make it a comment"),
        ("<vlan><tag id='4095'/></vlan>", "VLAN '4095' is no number from 1 to 4094; write one in decimal digits"),
    ],
)
def test_what_vfs_cannot_be_set_to(content: str, message: str) -> None:
    assert refusal(read, lan(content), kind=XmlError) == f"f.xml, line 4: {message}"


@pytest.mark.parametrize("kind", ["ethernet", "vmdq"])
@pytest.mark.parametrize("content", ["<vf/>", "<vlan><tag id='1'/></vlan>"])
def test_only_an_sriov_nic_has_vfs(kind: str, content: str) -> None:
    what = f"<{content[1:].partition('/')[0].partition('>')[0]}> is about VFs, and type {kind} has none"
    assert refusal(read, lan(content, kind=kind), kind=XmlError) == (
        f"f.xml, line 4: {what}; remove it, or use type sr-iov"
    )


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (address(a="b"), "<address> has no attribute 'a'"),
        (f"<source>{ADDRESS}<b/></source>", "<b> is not expected in <source>"),
    ],
)
def test_what_the_schema_does_not_know(source: str, what: str) -> None:
    told = refusal(read, lan(source=source), kind=XmlError)
    assert told.startswith(f"f.xml, line 2: {what}; see the schema ")


FULL = NicDefinition(
    "lan",
    "",
    HostType.SRIOV,
    address=PciAddress(0, 1, 0x10, 3),
    vf=VfSettings(42, 5, VlanProtocol.DOT1Q, True, False, LinkState.AUTO, 100, 1000),
    vf_range=(0, 3),
    vf_count=4,
)


@pytest.mark.parametrize(
    "host",
    [
        FULL,
        NicDefinition("lan", "", HostType.ETHERNET, mac=MacAddress.parse("00:1b:21:aa:bb:cc")),
        NicDefinition("lan", "x" * 127, HostType.SRIOV, vf_range=(2, 2)),
        NicDefinition("lan", "", HostType.SRIOV, address=PciAddress(2**32 - 1, 255, 31, 7), vf_count=65535),
        NicDefinition("lan", "eth0", HostType.SRIOV, vf=VfSettings(vlan=4094)),
    ],
)
def test_what_is_written_is_read_again(host: NicDefinition) -> None:
    assert definition.read(definition.write(host), "f.xml") == host


def test_what_is_written_is_canonical() -> None:
    assert definition.write(FULL).decode() == (
        "<interface type='physical' name='lan'>\n"
        "  <source>\n"
        "    <address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='0x3'/>\n"
        "  </source>\n"
        "  <type>sr-iov</type>\n"
        "  <vf range='0-3' count='4' spoofchk='on' trust='off' state='auto' min_tx_rate='100' max_tx_rate='1000'"
        " qos='5' proto='802.1Q'/>\n"
        "  <vlan>\n"
        "    <tag id='42'/>\n"
        "  </vlan>\n"
        "</interface>\n"
    )


def test_clients_see_a_nic_that_has_no_name_in_the_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A device may be called as the files of all are.
    (tmp_path / "address").mkdir()
    monkeypatch.setattr(sysfs, "NET", tmp_path)
    assert interface_view.shown(FULL) == interface_view.Nic("lan", b"", False)
