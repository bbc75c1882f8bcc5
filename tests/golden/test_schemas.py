"""The schemas: what they take, what they do not, and that no declaration in them is without a golden case."""

from __future__ import annotations

import pytest
from lxml import etree

from libvirt_vepa import definitions, documents
from libvirt_vepa.model import HostInterface, HostType, Mode
from tests.golden.cases import BARE, HOSTS, NAMES, SHEETS, document, requests, source, xmllint

RELAXNG = "{http://relaxng.org/ns/structure/1.0}"
WORDS = "{urn:libvirt-vepa:words}wrong"
GUEST = etree.parse(str(SHEETS / "guest.rng"))
HOST = etree.parse(str(SHEETS / "host.rng"))


def asked(name: str) -> bytes:
    """Return what the case's author wrote, made well-formed."""
    kind = source(name)
    return documents.read(document(name, "proposed" if kind == "edited" else kind), name)[1]


REQUESTS = [
    request
    for data in (*map(asked, NAMES), *(document(name, "proposed") for name in (*NAMES, BARE)))
    for request in requests(data)
]
FULL = HostInterface("lan", "eth0", HostType.SRIOV, (Mode.BRIDGE, Mode.VEPA, Mode.PEPA), "br0")
DEFINITIONS = [
    definitions.write(host) for host in (*HOSTS, FULL, HostInterface("_.a+b-c", "a&b", HostType.VMDQ, bridge="<b"))
]
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
            "<vlan><tag id='1'/></vlan>",
            "<vf/>",
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
]


def test_there_are_requests_in_all_documents():
    assert len(REQUESTS) > 50


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (GUEST, [etree.tostring(request) for request in REQUESTS], NO_REQUESTS),
        (HOST, DEFINITIONS, NO_DEFINITIONS),
    ],
    ids=["guest.rng", "host.rng"],
)
def test_both_validators_take_what_is_right_and_nothing_else(schema, good, bad, tmp_path):
    every = [*good, *(text.encode() for text in bad)]
    expected = [number < len(good) for number, _ in enumerate(every)]
    relaxng = etree.RelaxNG(schema)
    assert [relaxng.validate(etree.fromstring(data)) for data in every] == expected
    assert xmllint(schema.docinfo.URL.rpartition("/")[2], every, tmp_path) == expected


def declared(schema, kind):
    return {each.get("name") for each in schema.iter(RELAXNG + kind)} - {None}


def test_every_element_that_a_request_may_have_is_in_some_golden_case():
    assert declared(GUEST, "element") - {"interface"} == {
        child.tag for request in REQUESTS for child in request.iterchildren(etree.Element)
    }


def test_every_attribute_that_a_request_declares_is_in_some_golden_case():
    ours = [each for request in REQUESTS for each in (request, *request.iterchildren("target", "mac", "alias"))]
    assert declared(GUEST, "attribute") == {name for each in ours for name in each.attrib}


def test_every_word_that_a_request_may_say_is_in_some_golden_case():
    target = [request.find("target") for request in REQUESTS if request.find("target") is not None]
    modes = {element.get("mode") for element in target} - {None}
    assert modes == {"vepa", "pepa", "bridge", "veb", "private"}
    assert {(request.findtext("type") or "").strip() for request in REQUESTS} == {"", "macvtap", "tap"}


def test_every_declaration_of_a_host_is_in_a_definition():
    found = [each for data in DEFINITIONS for each in etree.fromstring(data).iter()]
    assert declared(HOST, "element") == {each.tag for each in found}
    assert declared(HOST, "attribute") == {name for each in found for name in each.attrib}
    words = {value.text for value in HOST.iter(RELAXNG + "value")}
    assert words == {"physical"} | {each.text for each in found if each.tag in ("type", "mode")}


@pytest.mark.parametrize("word", list(GUEST.iter(WORDS)), ids=lambda word: word.get("where")[:40])
def test_what_is_said_in_words_finds_nothing_in_a_right_request(word):
    assert word.get("what") and word.get("remedy")
    assert not [found for request in REQUESTS for found in request.xpath(word.get("where"))]
