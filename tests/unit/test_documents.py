# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Documents from people, read without trust: what is no XML, what is too much, and what must never be opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lxml import etree

from libvirt_vepa.errors import HostError, XmlError
from libvirt_vepa.xml import document as documents
from tests.support.entities import BOMB, ENTITY
from tests.support.refusals import refusal

UTF8 = "write the document in UTF-8, as libvirt requires"
UTF16 = "f.xml: the document is in UTF-16 or UTF-32; write it in UTF-8, as libvirt requires"


def refused(data: bytes | str) -> str:
    return refusal(documents.parse, data if isinstance(data, bytes) else data.encode(), "f.xml", kind=XmlError)


@pytest.mark.parametrize(
    ("data", "line"),
    [("", 1), ("no XML", 1), ("<a>", 1), ("<a>\n<b>\n</a>", 3), ("<a>\n&unknown;</a>", 2), ("<a b='1' b='2'/>", 1)],
)
def test_what_is_no_xml_is_refused_with_its_line(data: str, line: int) -> None:
    text = refused(data)
    assert text.startswith(f"f.xml, line {line}: not well-formed XML: ")
    assert text.endswith("; correct it there")
    assert "column" not in text


def test_two_documents_in_one_have_their_own_remedy() -> None:
    assert refused("<a/>\n<b/>").endswith("; keep one element at the outermost level")


def test_the_message_is_about_the_authors_text() -> None:
    text = refused("<d>\n<interface type='physical'/>\n<name='lan'/>\n</interface>\n<open>\n</d>")
    assert text.startswith("f.xml, line 3: not well-formed XML: ")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("head", ["", "<?xml version='1.0' encoding='UTF-16'?>"])
def test_utf_16_and_32_are_refused(encoding: str, head: str) -> None:
    assert refused(f"{head}<domain/>".encode(encoding)) == UTF16


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("<a>\nb\u00e4</a>".encode("latin-1"), f"f.xml, line 2: byte 0xe4 is not UTF-8; {UTF8}"),
        (b"<a>\n\n\xed\xa0\x80</a>", f"f.xml, line 3: byte 0xed is not UTF-8; {UTF8}"),
        (b"<a>\xc0\xbc</a>", f"f.xml, line 1: byte 0xc0 is not UTF-8; {UTF8}"),
        (b"<a>\n\0</a>", "f.xml, line 2: a NUL byte stands in the text; remove it; the file may be damaged"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_line(data: bytes, message: str) -> None:
    assert refused(data) == message


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-7", "IBM037", "latin-1"])
def test_every_document_is_read_as_utf_8_whatever_it_declares(encoding: str) -> None:
    data = f"<?xml version='1.0' encoding='{encoding}'?><a>ä +ADw-b/+AD4-</a>".encode()
    assert documents.parse(data, "f.xml").getroot().text == "ä +ADw-b/+AD4-"


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ("<!DOCTYPE a [<!ENTITY e 'text'>]><a>&e;</a>", 1),
        ("<!DOCTYPE a [\n<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>", 2),
        ("<!DOCTYPE a [\n\n<!ENTITY % e SYSTEM 'http://127.0.0.1:9/x'> %e;]><a/>", 3),
        ("\ufeff<?xml version='1.0'?>\n<!-- a -->\n<!DOCTYPE a [<!ENTITY e 'text'>]><a/>", 3),
        (BOMB, 2),
    ],
    ids=["internal", "file", "parameter", "behind a comment", "bomb"],
)
def test_whoever_declares_an_entity_is_refused(document: str, line: int) -> None:
    assert refused(document) == f"f.xml, line {line}: {ENTITY}"


@pytest.mark.parametrize("place", ["<a>&e;</a>", "<a b='&e;'/>"])
def test_an_entity_from_a_document_type_elsewhere_is_refused_too(place: str) -> None:
    assert "'e' not defined" in refused(f"<!DOCTYPE a SYSTEM 'file:///nowhere.dtd'>\n{place}")


def test_a_document_type_alone_is_no_offence() -> None:
    assert documents.parse(b"<!DOCTYPE a SYSTEM 'file:///nowhere.dtd'><a/>", "f.xml").getroot().tag == "a"


@pytest.mark.parametrize(
    "document",
    [
        "<!DOCTYPE a SYSTEM '{fifo}'><a/>",
        "<?xml-stylesheet href='{fifo}' type='text/xsl'?><a/>",
        "<a><i:include xmlns:i='http://www.w3.org/2001/XInclude' href='{fifo}' parse='text'/></a>",
        "<a xmlns:x='http://www.w3.org/2001/XMLSchema-instance' x:noNamespaceSchemaLocation='{fifo}'/>",
    ],
)
def test_nothing_that_a_document_names_is_opened(bounded: None, document: str, tmp_path: Path) -> None:
    """To open a FIFO that nobody writes to blocks."""
    os.mkfifo(tmp_path / "fifo")
    assert documents.parse(document.format(fifo=tmp_path / "fifo").encode(), "f.xml").getroot().tag == "a"


def test_the_bound_on_the_size_is_libvirts_own() -> None:
    fits = b"<a>" + b" " * (documents.LIMIT - 7) + b"</a>"
    assert len(fits) == 4 * 1024 * 1024
    assert documents.parse(fits, "f.xml").getroot().tag == "a"
    message = "f.xml: the document is larger than 4 MiB; make it smaller: libvirt takes no larger one either"
    assert refused(fits + b"\n") == message


def test_what_is_nested_too_deeply_is_refused() -> None:
    assert "not well-formed XML: Excessive depth" in refused("<a>" * 3000 + "</a>" * 3000)


def test_nothing_of_a_document_is_lost() -> None:
    data = b"<?p i?><!-- a --><a>\n<![CDATA[<&]]> <b/>\t<!-- c --></a><!-- d -->"
    tree, text = documents.read(data, "f.xml")
    assert text is data
    assert etree.tostring(tree.getroot()) == b"<a>\n<![CDATA[<&]]> <b/>\t<!-- c --></a>"
    assert len([*tree.getroot().itersiblings(preceding=True)]) == 2


def test_lines_beyond_65535_are_counted() -> None:
    tree = documents.parse(b"<a>" + b"\n" * 70000 + b"<b/></a>", "f.xml")
    assert tree.getroot()[0].sourceline == 70001


def test_what_is_mended_comes_with_its_text() -> None:
    data = b"<d>\n<interface type='physical'/> // a & b\n<name='lan'/>\n</interface></d>"
    tree, text = documents.read(data, "f.xml")
    assert text == b"<d>\n<interface type='physical'>\n<name>lan</name>\n</interface></d>"
    assert tree.findtext("interface/name") == "lan"


def test_an_installation_without_its_data_is_told() -> None:
    assert refusal(documents.data_file, "nothing.rng", kind=HostError).endswith(
        "nothing.rng is missing; install libvirt-vepa again"
    )
