# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""XML as it comes from people, files and libvirt, read without trust.

UTF-8 only, no entities, no file and no network behind a document, and a bound on its size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from lxml import etree

from libvirt_vepa.errors import HostError, XmlError
from libvirt_vepa.xml import precheck
from libvirt_vepa.xml.legacy_syntax import repair

# REMOTE_STRING_MAX in libvirt's remote_protocol.x: no longer document passes through libvirt.
LIMIT = 4 * 1024 * 1024
# What no XML may hold, as XML 1.0 has it in its production Char.
NO_CHARACTER = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# Of errors about xml:id, which make no document ill-formed. (Without `collect_ids` lxml would load external subsets.)
IDENTIFIERS = (etree.ErrorDomains.DTD, etree.ErrorDomains.VALID)
# libxml2 counts no further in an element; with what it notes beside that, a text that was read whole has right numbers.
LINES = 65534
EXTRA = "Extra content at the end of the document"
# libxml2's words for what does not follow a schema, and ours. The first of its messages that has
# a counterpart here tells most; the others only say what is around the culprit.
READABLE = (
    (
        r"(?:Extra|Did not expect) element (\S+) (?:in interleave|there)",
        "<{0}> is not expected here, or stands there twice",
    ),
    (r"Element (\S+) has extra content: text", "text is not expected in <{0}>"),
    (r"Element (\S+) has extra content: (\S+)", "<{1}> is not expected in <{0}>"),
    (r"Invalid attribute (\S+) for element (\S+)", "<{1}> has no attribute '{0}'"),
    (r"Element (\S+) failed to validate attributes", "an attribute of <{0}> is missing or has a wrong value"),
    (r"Element (\S+) failed to validate content", "the content of <{0}> is not as it should be"),
    (r"Expecting an element (\S+), got nothing", "<{0}> is missing"),
    (r"Expecting element (\S+), got (\S+)", "<{1}> stands where <{0}> should"),
    (r"Value element (\S+) has child elements", "<{0}> has elements inside"),
)
# What messages show of an element that is missing, or of an attribute of it.
EXAMPLES = {
    "source": "<source dev='eth0'/>",
    "address": "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>",
    "type": "<type>ethernet</type>",
    "bridge": "<bridge name='br0'/>",
    "vlan": "<vlan><tag id='42'/></vlan>",
    "tag": "<tag id='42'/>",
}

Value = TypeVar("Value")


def parse(data: bytes, origin: str) -> etree._ElementTree:
    """Return the document as `read` does, without its text."""
    return read(data, origin)[0]


def read(data: bytes, origin: str) -> tuple[etree._ElementTree, bytes]:
    """Return the document as an lxml tree, with comments, CDATA sections and blanks as they were, and its text.

    `origin` is what messages call it. What is not well-formed gets a second chance in the
    proposal's own spelling, and the text is the repaired one then. Raises XmlError, with the line,
    where that does not help either; it tells what was wrong in what the author wrote, not in what
    the repair made of it.
    """
    _refuse(precheck.find_fault(data, LIMIT), data, origin)
    try:
        return _parse(data, origin), data
    except XmlError as error:
        first = error
    repaired = repair(data)
    if repaired != data:
        try:
            return _parse(repaired, origin), repaired
        except XmlError:
            pass
    raise first


def parse_libvirts(data: bytes, origin: str) -> etree._ElementTree:
    """Return a domain's document as libvirt has written it, also where what others have put there is no XML.

    libvirt writes the metadata that it was given, `<z:b/>` for one, as `<e:z:b/>` (virXMLInjectNamespace), and a title
    with any bytes; and what it writes may be of any size. Raises XmlError for other errors, and where it is not whole.
    """
    text = NO_CHARACTER.sub("\ufffd", data.decode(errors="replace")).encode()
    _refuse(precheck.find_burden(text), text, origin)
    return _parse(text, origin, tolerated=(*IDENTIFIERS, etree.ErrorDomains.NAMESPACE))


def line(origin: str, number: int) -> str:
    """Return how messages name a line of a document."""
    return f"{origin}, line {number}"


@contextmanager
def error_within(places: tuple[str, ...]) -> Iterator[None]:
    """Say of an XmlError that comes out of this block that it is about this place, outermost first."""
    try:
        yield
    except XmlError as error:
        raise XmlError(error.what, error.remedy, *places, *error.where) from None


def _refuse(fault: precheck.Fault | None, data: bytes, origin: str) -> None:
    """Raise XmlError for what must not reach the parser."""
    if fault:
        number = None if fault.at is None else data.count(b"\n", 0, fault.at) + 1
        raise XmlError(fault.what, fault.remedy, origin if number is None else line(origin, number))


def _parse(data: bytes, origin: str, tolerated: Collection[int] = IDENTIFIERS) -> etree._ElementTree:
    parser = _parser()
    pieces = precheck.Pieces(data, parser, tolerated)
    try:
        tree = etree.parse(pieces, parser)
    except etree.XMLSyntaxError:
        tree = None
    # What comes behind the first one is not the author's: there the parser was given no more.
    first = next(pieces.errors(), None)
    if first or tree is None:
        what = " ".join(first.message.split()) if first else "nothing is there"
        remedy = "keep one element at the outermost level" if what == EXTRA else "correct it there"
        raise XmlError(f"not well-formed XML: {what}", remedy, line(origin, first.line if first else 1))
    # With an external document type, which is never read, an unknown entity is no error to the
    # parser: an attribute would silently lose it.
    for entry in parser.error_log:
        if entry.type == etree.ErrorTypes.WAR_UNDECLARED_ENTITY:
            raise XmlError(entry.message, "write the text itself", line(origin, entry.line))
    return tree if data.count(b"\n") < LINES else etree.ElementTree(etree.fromstring(data, _parser()))


def _parser() -> etree.XMLParser:
    # libvirt 9.0 reads every document as UTF-8, whatever encoding it declares, and so the
    # encoding is given here: bytes that mean something else in UTF-7 or EBCDIC stay what they are.
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        # Depth is bounded then, and not the size of all.
        huge_tree=False,
        # `_parse` tells which errors matter.
        recover=True,
        strip_cdata=False,
        remove_blank_text=False,
    )


def validate(tree: etree._ElementTree, schema: str, origin: str) -> None:
    """See that a document follows one of our RelaxNG schemas, named as in `data_file`.

    Raises XmlError with the line of the first thing that does not.
    """
    checker = load_schema(schema)
    if checker.validate(tree):
        return
    entries = list(checker.error_log)
    what, number = next(filter(None, map(_readable, entries)), (entries[0].message.strip(), entries[0].line))
    # libxml2 has no line for what it could not fit in between others.
    number = number or next((entry.line for entry in entries if entry.line), tree.getroot().sourceline)
    raise XmlError(what, "see the schema " + str(data_file(schema)), line(origin, number))


def _readable(entry: etree._LogEntry) -> tuple[str, int] | None:
    for pattern, text in READABLE:
        found = re.fullmatch(pattern, entry.message.strip())
        if found:
            return text.format(*found.groups()), entry.line
    return None


@lru_cache
def load_schema(name: str) -> etree.RelaxNG:
    """Return a schema, which is read once. Raises HostError where the installation is not complete."""
    return etree.RelaxNG(etree.parse(data_file(name)))


def data_file(name: str) -> Path:
    """Return the path of a stylesheet or schema; HostError where the installation is not complete.

    In a checkout they are in `xslt` beside the package. Installed, the package is PREFIX/lib/SOME/FOLDER/libvirt_vepa,
    whichever folder the Python in use looks into, and they are in PREFIX/share/libvirt-vepa.
    """
    home = Path(__file__).resolve().parents[1]
    path = home.parent / "xslt" / name
    if not path.is_file():
        path = Path(*home.parents[3:4], "share", "libvirt-vepa", name)
    if not path.is_file():
        raise HostError(f"{path} is missing", "install libvirt-vepa again")
    return path


# -- elements


@contextmanager
def error_at(element: Any, origin: str) -> Iterator[None]:
    """Say of an error that it is about this element's line."""
    try:
        yield
    except XmlError as error:
        raise error.within(line(origin, element.sourceline)) from None


def required_child(parent: Any, tag: str, origin: str) -> Any:
    """Return the one child of that name."""
    found = optional_child(parent, tag, origin)
    with error_at(parent, origin):
        if found is None:
            raise XmlError(f"<{tag}> is missing", f"write {EXAMPLES[tag]}")
    return found


def optional_child(parent: Any, tag: str, origin: str) -> Any | None:
    """Return the one child of that name, None where there is none."""
    found = parent.findall(tag)
    if len(found) > 1:
        with error_at(found[1], origin):
            raise XmlError(f"<{tag}> stands there twice", "keep one of them")
    return found[0] if found else None


def required_attribute(element: Any, name: str, origin: str, read_value: Callable[[str], Value]) -> Value:
    """Read an attribute that must be there."""
    with error_at(element, origin):
        text = element.get(name)
        if text is None:
            example = EXAMPLES.get(element.tag, "<interface type='physical' name='lan'>")
            raise XmlError(f"<{element.tag}> has no '{name}'", f"write {example}")
        return read_value(text)


def text_of(element: Any, origin: str, read_value: Callable[[str], Value]) -> Value:
    """Read the text of an element, comments left out."""
    with error_at(element, origin):
        if element.find("*") is not None:
            raise XmlError(f"<{element.tag}> has elements inside", "write only its value")
        return read_value("".join(element.xpath("text()")).strip())
