# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The schemas: what they take, what they do not, and that no declaration in them is without a golden case."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from lxml import etree

from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.interface import HostType, Mode, NicDefinition
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from libvirt_vepa.xml import definition
from libvirt_vepa.xml import document as documents
from tests.support.golden_cases import BARE, HOSTS, NAMES, SHEETS, document, requests, source, xmllint

RELAXNG = "{http://relaxng.org/ns/structure/1.0}"
WORDS = "{urn:libvirt-vepa:words}wrong"
GUEST = etree.parse(str(SHEETS / "guest.rng"))
HOST = etree.parse(str(SHEETS / "host.rng"))
# What both of them include.
COMMON = etree.parse(str(SHEETS / "vf.rng"))


def asked(name: str) -> bytes:
    """Return what the case's author wrote, made well-formed."""
    kind = source(name)
    return documents.read(document(name, "proposed" if kind == "edited" else kind), name)[1]


REQUESTS = [
    request
    for data in (*map(asked, NAMES), *(document(name, "proposed") for name in (*NAMES, BARE)))
    for request in requests(data)
]
LOW = VfSettings(4094, 0, VlanProtocol.DOT1Q, False, True, LinkState.DISABLE, 0, 2**32 - 1)
FULL = NicDefinition("lan", "eth0", HostType.SRIOV, (Mode.BRIDGE, Mode.VEPA, Mode.PEPA), "br0", vf=LOW, vf_range=(0, 3))
BY_MAC = NicDefinition("mac", "", HostType.SRIOV, mac=MacAddress.parse("0:1b:21:aa:bb:cc"), vf_count=65535)
BY_ADDRESS = NicDefinition("address", "", HostType.SRIOV, address=PciAddress(2**32 - 1, 0xFF, 0x1F, 7), vf_range=(9, 9))
DEFINITIONS = [
    *map(
        definition.write,
        (
            *HOSTS,
            FULL,
            BY_MAC,
            BY_ADDRESS,
            replace(BY_MAC, vf=VfSettings(1, 7, VlanProtocol.DOT1AD, True, False, LinkState.AUTO)),
            replace(BY_ADDRESS, vf=VfSettings(state=LinkState.ENABLE), address=PciAddress(0, 1, 2, 3)),
            NicDefinition("_.a+b-c", "a&b", HostType.VMDQ, bridge="<b"),
            NicDefinition("long", "x" * 127, HostType.ETHERNET),
        ),
    ),
    b"<interface type='physical' name='lan'><vf/><source><address type='pci' bus='255' slot='31' function='00'/>"
    b"</source><type>sr-iov</type></interface>",
]
WRONG_SETTINGS = (
    "spoofchk='yes'",
    "trust=''",
    "state='up'",
    "min_tx_rate='4294967296'",
    "max_tx_rate='-1'",
    "max_tx_rate='01'",
    "qos='8'",
    "proto='802.1q'",
    "vlan='1'",
)
NO_REQUESTS = [
    "<interface type='physical'/>",
    "<interface type='ethernet'><name>lan</name></interface>",
    "<interface type='physical' name='lan'><name>lan</name></interface>",
    "<interface type='physical' trustGuestRxFilters='maybe'><name>lan</name></interface>",
    *(
        f"<interface type='physical'><name>lan</name>{content}</interface>"
        for content in (
            "<source dev='eth0'/>",
            "<virtualport type='802.1Qbh'/>",
            "<port isolated='yes'/>",
            "<type>tap</type><vlan><tag id='1'/></vlan>",
            "<type>tap</type><vf trust='on'/>",
            "<vlan/>",
            "<vlan><tag/></vlan>",
            "<vlan><tag id='1'/><tag id='2'/></vlan>",
            "<vlan trunk='yes'><tag id='1'/></vlan>",
            "<vlan><tag id='1' nativeMode='tagged'/></vlan>",
            "<vlan>1</vlan>",
            "<vlan><tag id='1'/></vlan><vlan><tag id='1'/></vlan>",
            *(f"<vlan><tag id='{number}'/></vlan>" for number in ("", "0", "4095", "4100", "01", "0x1", "-1", "a")),
            *(f"<vf {wrong}/>" for wrong in WRONG_SETTINGS),
            "<vf range='0-3'/>",
            "<vf count='1'/>",
            "<vf trust='on'/><vf state='auto'/>",
            "<mode>vepa</mode>",
            "<name>wan</name>",
            "<type>tap</type><type>tap</type>",
            "<type>macvlan</type>",
            "<type>macvtap</type><filterref filter='clean-traffic'/>",
            "<filterref filter='clean-traffic'/>",
            "<target mode='vepa|bridge'/>",
            "<target mode='passthru'/>",
            "<target managed='no'/>",
            "<target dev='sixteen-letters.'/>",
            "<target dev='a/b'/>",
            "<target dev='a b'/>",
            "<target dev='-f'/>",
            "<target dev='$(reboot)'/>",
            "<target dev=';halt'/>",
            "<mac/>",
            "<mac address='52:54:00:00:00'/>",
            "<mac address='52:54:00:00:00:00' type='odd'/>",
            "<alias name='net0'/>",
            "<alias name='ua-a b'/>",
            "<model type='virtio'/><model type='e1000'/>",
            "<unknown/>",
            "<other:model xmlns:other='urn:example:other'/>",
        )
    ),
    *(
        f"<interface type='physical'><name>{name}</name></interface>"
        for name in ("", "../x", "$(x)", "a b", "a/b", ".a", "x" * 65)
    ),
]
NO_DEFINITIONS = [
    "<interface type='physical' name='lan'><type>ethernet</type></interface>",
    "<interface type='physical' name='lan'><source dev='eth0'/></interface>",
    "<interface type='physical'><source dev='eth0'/><type>ethernet</type></interface>",
    "<interface type='physical' name='../x'><source dev='eth0'/><type>ethernet</type></interface>",
    "<interface type='ethernet' name='lan'><source dev='eth0'/><type>ethernet</type></interface>",
    "<interface type='physical' name='lan'><source dev='a/b'/><type>ethernet</type></interface>",
    "<interface type='physical' name='lan'><source dev='eth0'/><type>sriov</type></interface>",
    "<interface type='physical' name='lan'><source dev='eth0'/><type>ethernet</type><mode>veb</mode></interface>",
    "<interface type='physical' name='lan'><source dev='eth0'/><type>ethernet</type><mode>a|b</mode></interface>",
    "<interface type='physical' name='lan'><source dev='eth0'/><type>ethernet</type><mtu size='1'/></interface>",
    *(
        f"<interface type='physical' name='lan'><source dev='eth0'/><type>{kind}</type>{child}</interface>"
        for kind in ("ethernet", "vmdq")
        for child in ("<vf trust='on'/>", "<vlan><tag id='1'/></vlan>")
    ),
    *(
        f"<interface type='physical' name='lan'>{source}<type>sr-iov</type></interface>"
        for source in (
            f"<source dev='{'x' * 128}'/>",
            "<source/>",
            "<source dev='eth0' mac='00:1b:21:aa:bb:cc'/>",
            "<source mac='00:1b:21:aa:bb'/>",
            "<source dev='eth0'><address type='pci' bus='1' slot='0' function='0'/></source>",
            "<source><address bus='1' slot='0' function='0'/></source>",
            "<source><address type='pci' bus='1' slot='0'/></source>",
            *(
                f"<source><address type='pci' bus='{bus}' slot='{slot}' function='{function}'/></source>"
                for bus, slot, function in (("0x100", "0", "0"), ("010", "0", "0"), ("0", "32", "0"), ("0", "0", "8"))
            ),
        )
    ),
    *(
        f"<interface type='physical' name='lan'><source dev='eth0'/><type>sr-iov</type><vf {wrong}/></interface>"
        for wrong in (*WRONG_SETTINGS, "range='0-'", "range='a'", "count='0'", "count='65536'")
    ),
]


def test_there_are_requests_in_all_documents() -> None:
    assert len(REQUESTS) > 50


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (GUEST, [etree.tostring(request) for request in REQUESTS], NO_REQUESTS),
        (HOST, DEFINITIONS, NO_DEFINITIONS),
    ],
    ids=["guest.rng", "host.rng"],
)
def test_both_validators_take_what_is_right_and_nothing_else(
    schema: etree._ElementTree, good: list[bytes], bad: list[str], tmp_path: Path
) -> None:
    every = [*good, *(text.encode() for text in bad)]
    expected = [number < len(good) for number, _ in enumerate(every)]
    relaxng = etree.RelaxNG(schema)
    assert [relaxng.validate(etree.fromstring(data)) for data in every] == expected
    assert xmllint(schema.docinfo.URL.rpartition("/")[2], every, tmp_path) == expected


VLAN, VF = "<vlan><tag id='4'/></vlan>", "<vf trust='on'/>"
IN_ANY_ORDER = (
    (
        GUEST,
        "<interface type='physical'>",
        ("<name>lan</name>", "<type>macvtap</type>", "<model type='virtio'/>"),
    ),
    (HOST, "<interface type='physical' name='lan'>", ("<source dev='a'/>", "<type>sr-iov</type>", "<mode>vepa</mode>")),
)


@pytest.mark.parametrize(("schema", "head", "others"), IN_ANY_ORDER, ids=["guest.rng", "host.rng"])
def test_what_is_about_vfs_may_stand_anywhere_but_once(
    schema: etree._ElementTree, head: str, others: tuple[str, ...]
) -> None:
    relaxng = etree.RelaxNG(schema)
    right = ((VLAN,), (VF,), (VLAN, VF))
    for more in (*right, (VF, VF), (VLAN, VLAN, VF)):
        for children in permutations((*others, *more)):
            found = relaxng.validate(etree.fromstring(f"{head}{''.join(children)}</interface>"))
            assert found == (more in right), children


def declared(schema: etree._ElementTree, kind: str) -> set[str]:
    return {each.get("name") for part in (schema, COMMON) for each in part.iter(RELAXNG + kind)} - {None}


def test_golden_cases_have_every_element_of_a_request() -> None:
    found = [child for request in REQUESTS for child in request.iterchildren(etree.Element)]
    tags = [tag for request in REQUESTS for tag in request.iterfind("vlan/tag")]
    assert declared(GUEST, "element") - {"interface"} == {each.tag for each in (*found, *tags)}


def test_golden_cases_have_every_attribute_of_a_request() -> None:
    ours = [each for request in REQUESTS for each in (request, *request.iterchildren("target", "mac", "alias", "vf"))]
    ours += [tag for request in REQUESTS for tag in request.iterfind("vlan/tag")]
    assert declared(GUEST, "attribute") == {name for each in ours for name in each.attrib}


def test_golden_cases_have_every_word_of_a_request() -> None:
    target = [request.find("target") for request in REQUESTS if request.find("target") is not None]
    modes = {element.get("mode") for element in target} - {None}
    assert modes == {"vepa", "pepa", "bridge", "veb", "private"}
    assert {(request.findtext("type") or "").strip() for request in REQUESTS} == {"", "macvtap", "tap"}


def test_every_declaration_of_a_host_is_in_a_definition() -> None:
    found = [each for data in DEFINITIONS for each in etree.fromstring(data).iter()]
    assert declared(HOST, "element") == {each.tag for each in found}
    assert declared(HOST, "attribute") == {name for each in found for name in each.attrib}
    words = {value.text for part in (HOST, COMMON) for value in part.iter(RELAXNG + "value")}
    said = {each.text for each in found if each.tag in ("type", "mode")}
    said |= {text for each in found if each.tag == "vf" for text in each.attrib.values() if text in words}
    assert words == {"physical", "pci"} | said


@pytest.mark.parametrize("word", list(GUEST.iter(WORDS)), ids=lambda word: word.get("where")[:40])
def test_what_is_said_in_words_finds_nothing_in_a_right_request(word: etree._Element) -> None:
    assert word.get("what") and word.get("remedy")
    assert not [found for request in REQUESTS for found in request.xpath(word.get("where"))]
