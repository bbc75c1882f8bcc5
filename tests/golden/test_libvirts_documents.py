# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's own test documents: nothing in them is ours, and so nothing in them may change."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from libvirt_vepa.errors import XmlError
from libvirt_vepa.xml import translate
from tests.support.golden_cases import SHEETS, clear_blanks

FOLDER = SHEETS.parent / "build" / "libvirt-tests"
# libvirt 9.0.0 has 3564, 469 of them with interfaces of a guest; later ones have more.
LEAST_DOCUMENTS, LEAST_INTERFACES = 3000, 400
DIRECTIONS: dict[str, Callable[[bytes, str], bytes]] = {
    "stored": translate.to_stored,
    "proposed": translate.to_proposed,
    "native": lambda data, origin: translate.to_native(data, origin, ()),
}
# What a request may keep of an interface of any type.
KEPT = {
    element.get("name")
    for element in etree.parse(str(SHEETS / "guest.rng")).xpath(
        "//r:define[@name = 'libvirt']//r:element", namespaces={"r": "http://relaxng.org/ns/structure/1.0"}
    )
}
NS = {"physical": "urn:libvirt-vepa:physical:1"}


@cache
def corpus() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(FOLDER.rglob("*.xml"))}


@pytest.fixture(autouse=True)
def documents_are_here() -> None:
    if not FOLDER.is_dir():
        pytest.skip("libvirt's test documents are not here: tests/lab/prepare check")


def is_xml(data: bytes) -> bool:
    try:
        etree.fromstring(data)
    except etree.XMLSyntaxError:
        return False
    return True


def test_there_are_as_many_as_libvirt_has() -> None:
    assert len(corpus()) >= LEAST_DOCUMENTS


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_foreign_documents_come_back_to_the_byte(direction: str) -> None:
    refused = []
    for path, data in corpus().items():
        try:
            assert DIRECTIONS[direction](data, path.name) == data, path
        except XmlError as error:
            refused.append(path)
            assert str(error).startswith(f"{path.name}, line "), path
            assert len(str(error).splitlines()) == 1 and "; " in str(error), path
    assert refused == [path for path, data in corpus().items() if not is_xml(data)]
    assert len(refused) < 10


def requested(data: bytes) -> bytes | None:
    """Return a document with every interface of its guests turned into a request; None where it has none."""
    root = etree.fromstring(data)
    interfaces = root.xpath("(//domain | //inactiveDomain)/devices/interface[not(ancestor::metadata)]")
    for number, interface in enumerate(interfaces):
        mac = f"52:54:00:01:{number // 256:02x}:{number % 256:02x}"
        kept = list({child.tag: child for child in interface if child.tag in KEPT}.values())
        interface.attrib.clear()
        interface.set("type", "physical")
        interface[:] = [
            element("name", "lan"),
            element("type", "macvtap"),
            element("target", mode="vepa"),
            element("mac", address=mac),
            *kept,
        ]
        interface.text = "\n      "
    return etree.tostring(root.getroottree()) if interfaces else None


def element(tag: str, text: str | None = None, **attributes: str) -> etree._Element:
    made = etree.Element(tag, attributes)
    made.text = text
    return made


def rest(data: bytes) -> bytes:
    """Return a document without interfaces and requests, and without blanks."""
    root = etree.fromstring(data)
    for each in root.xpath("//interface | //physical:interfaces", namespaces=NS):
        each.getparent().remove(each)
    for metadata in root.findall(".//metadata"):
        if not len(metadata):
            metadata.getparent().remove(metadata)
    text: bytes = etree.tostring(clear_blanks(root))
    return text


def as_value(node: etree._Element) -> tuple[Any, ...]:
    """Return an element as a value that can be compared, blank text and the order of attributes left out."""
    text = [(each or "").strip() for each in (node.text, node.tail)]
    return (node.tag, *text, sorted(node.attrib.items()), [as_value(child) for child in node])


def test_requests_come_back_and_the_rest_is_untouched() -> None:
    number = 0
    for path, data in corpus().items():
        proposed = requested(data) if is_xml(data) else None
        if proposed is None:
            continue
        number += 1
        stored = translate.to_stored(proposed, path.name)
        again = translate.to_proposed(stored, path.name)
        assert b"physical:interface " in stored and stored != proposed, path
        assert b"'physical'" not in stored and b'"physical"' not in stored, path
        assert rest(stored) == rest(proposed), path
        assert as_value(etree.fromstring(again)) == as_value(etree.fromstring(proposed)), path
        assert translate.to_stored(stored, path.name) == stored, path
    assert number >= LEAST_INTERFACES
