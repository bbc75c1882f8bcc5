# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a translation keeps: bytes, quotes, encodings; what is ours; and what it may cost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from lxml import etree

from libvirt_vepa.errors import XmlError
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import translate, validate
from tests.support.refusals import refusal

OURS = "<interface type='physical'><name>lan</name></interface>"
MAC = "<mac address='52:54:00:00:00:01'/>"
WRAPPER = "<p:interfaces xmlns:p='urn:libvirt-vepa:physical:1'>{}</p:interfaces>"
ROUND = (translate.to_stored, translate.to_proposed)
CPU_SECONDS = 45


def domain(devices: str = OURS, metadata: str = "", more: str = "") -> bytes:
    return f"<domain><name>web</name>{more}{metadata}<devices>{devices}</devices></domain>".encode()


def stored(request: str = "", interface: str = MAC) -> bytes:
    wrapper = WRAPPER.format(f"<p:interface alias='ua-x' name='lan' type='macvtap' {request}/>")
    ours = f"<interface type='ethernet'>{interface}<alias name='ua-x'/></interface>"
    return domain(ours, f"<metadata>{wrapper}</metadata>")


@pytest.mark.parametrize(
    "data",
    [
        b'<domain><devices><interface  type = "ethernet" ></interface></devices></domain>\r\n\n',
        b"\xef\xbb\xbf<?xml version='1.0' encoding='latin-1'?><a b='&quot;&#9;'/>",
        b"<network><interface type='physical'><name>lan</name></interface></network>",
        b"<domain><metadata><x:a xmlns:x='urn:x'><domain><devices>"
        + OURS.encode()
        + b"</devices></domain></x:a></metadata></domain>",
        b"<interface type='ethernet'><alias name='ua-physical-525400000001'/></interface>",
        b"<domain><devices><disk>" + OURS.encode() + b"</disk></devices></domain>",
        b"<interface type='physical'/> <!-- of a network -->".join((b"<network>", b"</network>")),
    ],
)
@pytest.mark.parametrize("translation", [*ROUND, lambda data, origin: translate.to_native(data, origin, ())])
def test_a_foreign_document_comes_back_to_the_byte(translation: Callable[[bytes, str], bytes], data: bytes) -> None:
    assert translation(data, "f.xml") == data


@pytest.mark.parametrize(
    ("data", "proposed"), [(domain(), True), (stored(), False), (b"<a/>", False), (OURS.encode(), True)]
)
def test_whether_a_document_holds_a_request_in_the_proposed_form(data: bytes, proposed: bool) -> None:
    assert translate.is_proposed(data, "f.xml") is proposed


def test_values_are_quoted_as_most_of_the_document_is() -> None:
    single = translate.to_stored(domain(more="<title a='it&apos;s \"x\"'/>"), "f.xml")
    assert b'="' not in single and b"""a='it&apos;s "x"'""" in single
    double = translate.to_stored(domain().replace(b"'", b'"'), "f.xml")
    assert b"='" not in double and b'<interface type="ethernet">' in double


def test_quotes_in_comments_instructions_sections_and_texts_stay() -> None:
    kept = """<!-- a="b" --><?p a="b"?><title>a="b"</title><description a='&gt;'>&lt;a b="c"&gt;</description>"""
    single = "<os a='b' c='d' e='f' g='h' i='j'/>"
    assert (single + kept).encode() in translate.to_stored(domain(more=single + kept), "f.xml")


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (
            "<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n",
            "<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n",
        ),
        ("<?xml version='1.0' encoding='latin-1'?>\n", "<?xml version='1.0' encoding='UTF-8'?>\n"),
        ("\ufeff<?xml version='1.0'?>\n", "<?xml version='1.0'?>\n"),
        ("<!DOCTYPE domain SYSTEM 'a.dtd'>\n", '<!DOCTYPE domain SYSTEM "a.dtd">\n'),
        ("<!-- a -->\n<?b c?>\n", "<!-- a -->\n<?b c?>\n"),
    ],
)
def test_what_stands_before_and_behind_the_document_stays(head: str, kept: str) -> None:
    result = translate.to_stored(
        head.encode() + domain(more="<title>ä</title>") + b"\n<!-- end -->\n\n", "f.xml"
    ).decode()
    assert result.startswith(f"{kept}<domain>") and result.endswith("</domain>\n<!-- end -->\n\n")
    assert "<title>ä</title>" in result


def test_the_proposals_spelling_comes_back_as_xml() -> None:
    data = domain("<interface type='physical'/>\n<name='lan'/> // x & y\n</interface>")
    proposed = translate.to_proposed(data, "f.xml")
    assert proposed == domain("<interface type='physical'>\n<name>lan</name>\n</interface>")
    assert etree.fromstring(translate.to_stored(data, "f.xml")).find("devices/interface").get("type") == "ethernet"


def test_generated_macs_are_libvirts_and_each_is_used_throughout() -> None:
    first, second = (etree.fromstring(translate.to_stored(domain(), "f.xml")) for _ in range(2))
    macs = [found.find("devices/interface/mac").get("address") for found in (first, second)]
    assert macs[0] != macs[1] and all(mac.startswith("52:54:00:") for mac in macs)
    assert first.find("devices/interface/target").get("dev") == "vp" + macs[0].replace(":", "")


@pytest.mark.parametrize("data", [b"<interface type='ethernet'/>", domain(), b"<a/>"])
def test_only_a_single_physical_interface_can_be_split(data: bytes) -> None:
    assert refusal(translate.split, data, "f.xml", kind=XmlError) == (
        "f.xml: this is no single physical interface; begin with <interface type='physical'>"
    )


@pytest.mark.parametrize("translation", ROUND)
@pytest.mark.parametrize(
    "data",
    [
        stored("vf='3'"),
        stored().replace(b"'macvtap' />", b"'macvtap'><p:mtu/></p:interface>"),
        domain(metadata="<metadata><p:interfaces xmlns:p='urn:libvirt-vepa:physical:2'/></metadata>"),
    ],
    ids=["attribute", "child", "version"],
)
def test_a_form_that_is_not_known_is_not_translated(translation: Callable[[bytes, str], bytes], data: bytes) -> None:
    assert refusal(translation, data, "f.xml", kind=XmlError) == (
        "f.xml, line 1: a request is in a form not known here; use the libvirt-vepa that wrote it"
    )


@pytest.mark.parametrize("mac", ["<mac/>", "<mac address=''/>", "<mac address='x'/>", "<mac address='1:0:0:0:0:0'/>"])
def test_a_stored_interface_with_a_bad_mac_is_refused(mac: str) -> None:
    text = refusal(translate.to_stored, stored(interface=mac), "f.xml", kind=XmlError)
    assert text.startswith("f.xml, line 1: guest 'web': ") and "MAC" in text


def filled(head: str, unit: str, tail: str) -> bytes:
    room = documents.LIMIT - len(head) - len(tail)
    return (head + unit * (room // len(unit)) + tail).encode()


def around(where: str) -> tuple[str, str]:
    """Return what stands before and behind the place of a domain that is marked in it."""
    text = domain(
        OURS.replace("</name>", "</name>{inside}") + "{devices}", "<metadata>{metadata}</metadata>", "{domain}"
    )
    head, _, tail = text.decode().partition(f"{{{where}}}")
    places = dict.fromkeys(("inside", "devices", "metadata", "domain"), "")
    return head.format(**places), tail.format(**places)


@pytest.mark.parametrize(
    ("where", "unit", "message"),
    [
        ("devices", OURS, f"f.xml: there are more than {validate.MOST_INTERFACES} physical interfaces; use fewer"),
        ("inside", "<ip/>\n", f"<interface> has more than {validate.MOST_NODES} parts; make it smaller"),
        ("inside", "<!-- -->", f"<interface> has more than {validate.MOST_NODES} parts; make it smaller"),
        ("metadata", "<a/>", f"<metadata> has more than {validate.MOST_NODES} parts; make it smaller"),
        ("metadata", WRAPPER.format(""), "the document has 'xmlns' more than 1000 times; use fewer"),
        ("devices", "<!-- -->", f"<devices> has more than {validate.MOST_DEVICES} parts; make it smaller"),
        ("domain", "<metadata/>\n", f"<domain> has more than {validate.MOST_NODES} parts; make it smaller"),
        ("domain", "<domain/>", f"f.xml: there are more than {validate.MOST_DOMAINS} domains; use fewer"),
    ],
)
@pytest.mark.parametrize("translation", ROUND)
def test_an_excessive_document_is_refused_in_bounded_time(
    bounded: None, translation: Callable[[bytes, str], bytes], where: str, unit: str, message: str
) -> None:
    head, tail = around(where)
    data = filled(head, unit, tail)
    begun = time.process_time()
    assert message in refusal(translation, data, "f.xml", kind=XmlError)
    assert time.process_time() - begun < CPU_SECONDS


@pytest.mark.parametrize("unit", ["<disk/>", "<interface/>", "<!-- -->", "<disk/>\n"])
def test_the_largest_guest_is_translated_in_bounded_time(bounded: None, unit: str) -> None:
    head, tail = around("devices")
    others = unit * ((validate.MOST_DEVICES - validate.MOST_INTERFACES) // (2 if unit.endswith("\n") else 1))
    begun = time.process_time()
    result = translate.to_stored((head + OURS * (validate.MOST_INTERFACES - 1) + others + tail).encode(), "f.xml")
    assert result.count(b"'vp5254") == validate.MOST_INTERFACES
    assert time.process_time() - begun < CPU_SECONDS


def test_a_document_of_four_mib_can_be_translated() -> None:
    text = "<title>" + "x" * (documents.LIMIT - 300) + "</title>"
    assert b"'vp5254" in translate.to_stored(domain(more=text), "f.xml")
