# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's document in which others have put what no parser takes: who the guest is, and what it asks, can be told."""

from __future__ import annotations

import re

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import identity, metadata, translate
from libvirt_vepa.xml.domain import read_guest
from tests.support.refusals import refusal
from tests.unit.test_domain import UUID, domain


def test_who_a_guest_is_can_be_told_of_any_document() -> None:
    assert identity.read(domain(version="2")) == (UUID, "web")
    assert identity.read(b"<domain><name>a&amp;lt;&quot;</name><uuid>u</uuid><metadata><e:z:b/>") == ("u", 'a&lt;"')
    assert refusal(identity.read, b"<domain/>", kind=XmlError).startswith("the guest's XML: <uuid> is missing; ")
    broken = (
        domain().replace(b"<name>web", b"<name>a &lt;&amp;lt;&gt; &apos;b&quot;").replace(b"</domain>", b"<e:z:b/>")
    )
    assert identity.read(broken) == (UUID, "a <&lt;> 'b\"")


# What libvirt writes of what others have told it, and no parser takes: metadata, a title with any bytes.
FOREIGN = [
    b"<metadata><e:a xmlns:e='urn:e'>\n<e:z:b/></e:a>",
    b"<metadata><e:a xmlns:e='urn:e'><![CDATA[</metadata>]]><e:z:b/><!-- </e:a> --><?x </e:a>?></e:a>",
    b"<metadata><e:a xmlns:e='urn:e'><domain><devices><interface/></devices></domain><e:z:b c='>'/></e:a>",
    b"<title>\xff</title>\n<metadata>",
    b"<description>\xef\xbf\xbf</description><metadata>",
    b"<metadata><e:a xmlns:e='urn:e'>" + b"<e:b xmlns=''/>" * 500 + b"</e:a>",
    b"<metadata><e:a xmlns:e='urn:e'>" + b"<e:b/>" * 800_000 + b"</e:a>",
    b"<metadata><e:a xmlns:e='urn:e'><e:z:b/>" + b"<m:x/>" * 700_000 + b"</e:a>",
    b"<metadata><e:a xmlns:e='urn:e' xml:id='1'><e:b xml:id='x'/><e:b xml:id='x'/></e:a>",
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=range(len(FOREIGN)))
def test_what_others_have_put_there_is_no_obstacle(foreign: bytes) -> None:
    plain = domain()
    data = plain.replace(b"<metadata>", foreign)
    assert data != plain
    assert read_guest(data) == read_guest(plain)
    assert metadata.aliases_of(data) == metadata.aliases_of(plain) != ()
    assert metadata.kept(data) == metadata.kept(plain)
    assert not translate.is_proposed(data, "f.xml", documents.parse_libvirts)


def test_a_line_is_counted_as_libvirt_has_written_it() -> None:
    def line(data: bytes) -> int:
        found = re.search(r"line (\d+)", refusal(read_guest, data, kind=XmlError))
        return int(found[1]) if found else 0

    plain = domain().replace(b"managed='no'", b"managed='yes'")
    lines = b"<metadata><e:a xmlns:e='urn:e'>\n\n<e:z:b/>\n</e:a>"
    assert line(plain.replace(b"<metadata>", lines)) == line(plain) + 3


@pytest.mark.parametrize("damage", [b"<devices>", b"<devices><a b='1' b='2'/>", b"<metadata><a></metadata><devices>"])
def test_what_is_damaged_elsewhere_is_refused(damage: bytes) -> None:
    data = (
        domain().replace(b"<devices>", damage).replace(b"</devices>", b"" if damage == b"<devices>" else b"</devices>")
    )
    assert "not well-formed XML" in refusal(read_guest, data, kind=XmlError)


@pytest.mark.parametrize("name", [b"p:interface a:b:c='1'", b"p:z:interface", b"interface"])
def test_a_request_that_is_no_xml_is_never_half_understood(name: bytes) -> None:
    plain = domain().replace(b"ua-x", b"ua-physical-1")
    data = plain.replace(b"p:interface ", name + b" ")
    assert data != plain and read_guest(plain).requests
    assert refusal(read_guest, data, kind=XmlError).startswith("guest 'web': ")


def test_of_the_authors_own_documents_nothing_is_left_out() -> None:
    for part in FOREIGN[:5]:
        data = domain().replace(b"<metadata>", part)
        assert refusal(lambda text: read_guest(text, draft=True), data, kind=XmlError)
