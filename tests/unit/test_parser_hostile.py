# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Documents that were made to burn a processor: read or refused in bounded time, whatever machine that is on."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from itertools import accumulate, takewhile

import pytest

from libvirt_vepa.errors import VepaError, XmlError
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import metadata, translate
from tests.support.refusals import refusal

PROCESS = multiprocessing.get_context("fork")
# Processor time, which the kernel bounds. Each takes a second or two; what is not bounded takes minutes, or hours.
CPU_SECONDS, WAIT_SECONDS = 60, 1000
HEAD, END = "<interface type='physical'><name>lan</name>", "</interface>"
SIZE = documents.LIMIT - 1024


def filled(unit: str, size: int = SIZE) -> str:
    """Return a unit as often as it fits; `#` in it is a number."""
    if "#" not in unit:
        return unit * (size // len(unit))
    numbered = [unit.replace("#", str(number)) for number in range(size // len(unit))]
    ends = accumulate(map(len, numbered))
    return "".join(takewhile(lambda _: next(ends) <= size, numbered))


SHAPES = {
    "comments in a comment": HEAD + filled("<!--") + END,
    "hyphens in a comment": f"{HEAD}<!--{filled('--a')}-->{END}",
    "hyphens in many comments": HEAD + filled("<!-- -- -->") + END,
    "behind an instruction that is none": f"<a b='<?'>{filled('<!--')}?>",
    "behind a section that is none": f"<a b='<![CDATA['>{filled('<!--')}]]>",
    "in the spelling of the proposal": "<d><interface type='physical'/>\n<name='lan'/>"
    + filled("<!--")
    + "</interface></d>",
    "ampersands": HEAD + filled("&") + END,
    "brackets": HEAD + filled("<") + END,
    "ends of sections": HEAD + filled("]]>") + END,
    "quotes of attributes": f"{HEAD}<a b='{filled('<c d=')}'/>{END}",
    "unknown prefixes of attributes": HEAD + filled("<a m:x=''/>") + END,
    "names": HEAD + filled("<a#/>") + END,
    "names of attributes": HEAD + filled("<a b#=''/>") + END,
    "different names for all": HEAD + filled("<a xml:id='x#'/>") + END,
    "prefixes deep down": f"<m:r xmlns:m='u'>{'<a>' * 200_000}{'<m:x/>' * 300_000}{'</a>' * 200_000}</m:r>",
    "names that are none": HEAD + filled("<a xml:id='1'/>") + END,
    "one name for all": HEAD + filled("<a xml:id='x'/>") + END,
    "colons in names": HEAD + filled("<a:b:c/>") + END,
    "unknown prefixes": HEAD + filled("<a:b/>") + END,
    "unknown entities of a document type": f"<!DOCTYPE interface SYSTEM 'x'>{HEAD}{filled('&a;')}{END}",
    "entities that grow": "<!DOCTYPE a [<!ENTITY a 'aaaaaaaa'>"
    + filled("<!ENTITY a# '&a;&a;'>", 4096)
    + "]><a>&a9;</a>",
    "attributes of a document type": "<!DOCTYPE a ["
    + filled("<!ATTLIST a b# CDATA 'c'>", SIZE // 2)
    + "]><a>"
    + filled("<a/>", SIZE // 2)
    + "</a>",
    "attributes": HEAD + "<a " + filled("a#='' ") + "/>" + END,
    "attributes just allowed": HEAD + ("<a " + filled("a#='' ", 3390) + "/>") * 1200 + END,
    "namespaces": HEAD + "<a " + filled("xmlns:a#='u' ") + "/>" + END,
    "namespaces just allowed": HEAD
    + filled("<a xmlns:a#='u'>", 3900)
    + filled("<a0:b/>", SIZE // 2)
    + "</a>" * len(filled("<a xmlns:a#='u'>", 3900).split(">")[1:])
    + END,
    "namespaces deep down": HEAD
    + "".join("<a " + filled(f"xmlns:a{n}x#='u' ", 128) + ">" for n in range(240))
    + filled("<a0x0:b/>", SIZE // 2)
    + "</a>" * 240
    + END,
    "relative namespaces": HEAD + filled("<a xmlns='b'/>") + END,
    "blanks that are not known": HEAD + filled("<a xml:space='b'/>") + END,
    "instructions with colons": HEAD + filled("<?a:b ?>") + END,
    "depth": HEAD + filled("<a>") + END,
    "open sections": HEAD + filled("<![CDATA[") + END,
}
READERS: dict[str, Callable[[bytes], object]] = {
    "a request": lambda data: translate.to_stored(data, "f.xml"),
    "libvirt's own": metadata.aliases_of,
}


def read(data: bytes, reader: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    try:
        READERS[reader](data)
    except VepaError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", SHAPES)
def test_four_mib_of_it_cost_seconds(name: str, reader: str) -> None:
    data = SHAPES[name].encode()
    assert len(data) <= documents.LIMIT
    process = PROCESS.Process(target=read, args=(data, reader))
    process.start()
    process.join(WAIT_SECONDS)
    assert process.exitcode == 0, f"{name}: ended with {process.exitcode}, after {CPU_SECONDS} s at most"


def test_what_only_looks_like_attributes_is_read() -> None:
    text = '<a b="' + "c='' " * 2000 + '">' + 'd="" ' * 2000 + "<![CDATA[" + "e='' " * 2000 + "]]></a>"
    assert documents.parse(text.encode(), "f.xml").getroot().get("b").startswith("c='' ")


def test_attributes_are_counted_and_the_line_is_named() -> None:
    for number in (500, 501):
        attributes = " ".join(f"a{n}=''" for n in range(number))
        data = f"<a>\n<b {attributes}/></a>".encode()
        if number == 500:
            assert len(documents.parse(data, "f.xml").getroot()[0].attrib) == number
    assert refusal(documents.parse, data, "f.xml", kind=XmlError) == (
        "f.xml, line 2: an element has more than 500 attributes; use fewer"
    )


def test_a_warning_ends_no_document() -> None:
    data = b"<a xmlns:b='relative'>" + b" " * 100_000 + b"<c/></a>"
    assert documents.parse(data, "f.xml").getroot()[0].tag == "c"


@pytest.mark.parametrize("word", ["xmlns", "xml:id"])
def test_namespaces_and_identifiers_are_counted(word: str) -> None:
    data = "<a>" + f"<b {word}='c'/>" * 1001 + "</a>"
    text = refusal(documents.parse, data.encode(), "f.xml", kind=XmlError)
    assert text == f"f.xml: the document has '{word}' more than 1000 times; use fewer"


def test_hyphens_in_a_comment_are_refused_with_their_line() -> None:
    data = b"<a>\n<!-- a -->\n<!-- -- --></a>"
    text = refusal(documents.parse, data, "f.xml", kind=XmlError)
    assert text.startswith("f.xml, line 3: not well-formed XML: Double hyphen within comment: ")
    assert documents.parse(b"<a>" + b"<!-- - -->" * 1000 + b"</a>", "f.xml")


def test_an_identifier_that_is_none_makes_no_error() -> None:
    assert documents.parse(b"<a xml:id='1'/>", "f.xml").getroot().tag == "a"
