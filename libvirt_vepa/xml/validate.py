# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a document asks: which of its interfaces are ours, and what nobody can mean by them.

The grammar of a request is in xslt/guest.rng, with words for what people get wrong most. What one
request cannot know of the others is said here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from lxml import etree

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.interface import (
    ALIAS_PREFIX,
    DEVICE_NAME_BYTES,
    DEVICE_PREFIX,
    NAMESPACE,
    GuestType,
    Mode,
    NicDefinition,
    check_definition_name,
    check_device_name,
    derived_alias,
    derived_device,
)
from libvirt_vepa.model.vf_settings import ATTRIBUTES, VLAN, VfSettings
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import metadata

SCHEMA = "guest.rng"
WORDS = "{urn:libvirt-vepa:words}wrong"
# Other programs may keep a whole domain in the metadata; that is theirs.
DOMAINS = "(//domain | //inactiveDomain)[not(ancestor::metadata)]"
WRAPPER = f"metadata/{{{NAMESPACE}}}interfaces"
REQUESTS = f"{WRAPPER}/{metadata.REQUEST}"
NEWER = f"metadata/*[starts-with(namespace-uri(), 'urn:libvirt-vepa:physical:') and namespace-uri() != '{NAMESPACE}']"
# More than any document has that means something. They bound what one can cost: how deep the stylesheets
# recurse, and their time, which grows with the square of what stands side by side.
MOST_INTERFACES = 256
MOST_DOMAINS = 16
MOST_NODES = 512
MOST_DEVICES = 8192
DERIVED = re.compile(f"({ALIAS_PREFIX}|{DEVICE_PREFIX})[0-9a-f]{{12}}")
VALUES = (
    ("name", check_definition_name),
    ("type", GuestType.parse),
    ("target/@mode", Mode.parse),
    ("target/@dev", check_device_name),
    ("mac/@address", MacAddress.of_station),
    ("vlan/tag/@id", ATTRIBUTES[VLAN].read),
)


# -- what is ours


def find(tree: Any, origin: str) -> list[Any] | None:
    """Return a document's interfaces that are ours, proposed or stored; None where nothing is ours at all.

    Raises XmlError for what is in a newer form, and for more than can be meant.
    """
    root = tree.getroot()
    domains = tree.xpath(DOMAINS)
    ours = [root] if root.tag == "interface" and is_physical(root) else []
    for domain in domains:
        aliases = {request.get("alias") for request in domain.iterfind(REQUESTS)} - {None}
        interfaces = domain.findall("devices/interface")
        ours += [each for each in interfaces if is_physical(each) or _is_stored(each, aliases)]
        for newer in _newer(domain) if ours else ():
            place = documents.line(origin, newer.sourceline)
            raise XmlError("a request is in a form not known here", "use the libvirt-vepa that wrote it", place)
    if not ours and all(domain.find(WRAPPER) is None for domain in domains):
        return None
    _check_size(ours, domains, origin)
    return ours


def _newer(domain: Any) -> Iterator[Any]:
    yield from domain.xpath(NEWER)
    yield from filter(metadata.unknown_part, domain.iterfind(REQUESTS))


def is_physical(interface: Any) -> bool:
    """Tell whether an interface is a request in the proposed form."""
    return bool(interface.get("type") == "physical")


def _is_stored(interface: Any, aliases: set[str]) -> bool:
    return interface.get("type") == "ethernet" and _given(interface, "alias", "name") in aliases


def _given(interface: Any, child: str, name: str) -> str | None:
    """Return an attribute of a child, None where there is none."""
    element = interface.find(child)
    return element.get(name) if element is not None else None


def _check_size(ours: list[Any], domains: list[Any], origin: str) -> None:
    for found, most, what in (
        (ours, MOST_INTERFACES, "physical interfaces"),
        (domains, MOST_DOMAINS, "domains"),
    ):
        if len(found) > most:
            raise XmlError(f"there are more than {most} {what}", "use fewer", origin)
    children = [child for domain in domains for child in domain.iterfind("*")]
    for elements, number, most in (
        (ours, "count(.//node()) + count(.//@*)", MOST_NODES),
        (domains, "count(node())", MOST_NODES),
        ((child for child in children if child.tag == "metadata"), "count(node())", MOST_NODES),
        ((child for child in children if child.tag == "devices"), "count(node())", MOST_DEVICES),
    ):
        for element in elements:
            if element.xpath(number) > most:
                place = documents.line(origin, element.sourceline)
                raise XmlError(f"<{element.tag}> has more than {most} parts", "make it smaller", place)


# -- what cannot be meant


@contextmanager
def _of(interface: Any, origin: str) -> Iterator[None]:
    """Say of an XmlError that comes out of this block which line and which guest it is about."""
    try:
        yield
    except XmlError as error:
        where = error.where or (documents.line(origin, interface.sourceline),)
        name = interface.xpath("string(ancestor::*[self::domain or self::inactiveDomain][1]/name)")
        raise XmlError(error.what, error.remedy, *where, *([f"guest '{name}'"] if name else [])) from None


def check(ours: list[Any], origin: str) -> None:
    """Judge each request by itself, then that no two interfaces of a guest are given the same. Raises XmlError."""
    taken: dict[Any, set[str]] = {}
    for interface in ours:
        with _of(interface, origin):
            if is_physical(interface):
                _check_request(interface, origin)
            devices = interface.getparent()
            if devices not in taken:
                taken[devices] = _claims_of_others(devices, set(ours))
            for claim in _claims(interface):
                if claim in taken[devices]:
                    raise XmlError(f"{claim} is given to two devices of this guest", "make them different")
                taken[devices].add(claim)


def _check_request(interface: Any, origin: str) -> None:
    for path, what, remedy in _wrong():
        for found in interface.xpath(path):
            element, shown = _shown(found)
            raise XmlError(f"{shown}: {what}", remedy, documents.line(origin, element.sourceline))
    for path, check_value in VALUES:
        for found in interface.xpath(path):
            element, _ = _shown(found)
            with documents.error_within((documents.line(origin, element.sourceline),)):
                check_value(str(element.xpath("normalize-space()") if element is found else found))
    for vf in interface.iterfind("vf"):
        with documents.error_within((documents.line(origin, vf.sourceline),)):
            VfSettings.parse(vf.attrib)
    documents.validate(etree.ElementTree(interface), SCHEMA, origin)


@lru_cache
def _wrong() -> tuple[Any, ...]:
    schema = etree.parse(str(documents.data_file(SCHEMA)))
    return tuple((words.get("where"), words.get("what"), words.get("remedy")) for words in schema.iter(WORDS))


def _shown(found: Any) -> tuple[Any, str]:
    """Return the element of what an XPath found, and how messages name that: an element, an attribute or a text."""
    if etree.iselement(found):
        return found, f"<{found.tag}>"
    parent, value = found.getparent(), f"'{found.strip()}'"
    return parent, f"<{parent.tag} {found.attrname}> {value}" if found.is_attribute else value


def _claims(interface: Any) -> Iterator[str]:
    """Yield what no other interface of ours may have: the MAC, and the names that were chosen or that it gives.

    A MAC may be shared with an interface that is not ours: that is how libvirt's <teaming> works.
    """
    given = interface.find("mac")
    mac = None if given is None else MacAddress.of_station(given.get("address", ""))
    alias = _name(interface, "alias", _given(interface, "alias", "name"), derived_alias(mac) if mac else None)
    device = _name(interface, "device", _given(interface, "target", "dev"), derived_device(mac) if mac else None)
    yield from (f"{kind} {value}" for kind, value in (("MAC", mac), ("alias", alias), ("device", device)) if value)


def _name(interface: Any, kind: str, given: str | None, derived: str | None) -> str | None:
    """Return the name that an interface will have, as stored.xsl decides it."""
    if given and not DERIVED.fullmatch(given):
        return given
    if given and given != derived and is_physical(interface):
        raise XmlError(f"{kind} '{given}' is reserved for the MAC it encodes", "leave it out")
    return derived


def _claims_of_others(devices: Any, ours: set[Any]) -> set[str]:
    others = [device for device in (() if devices is None else devices) if device not in ours]
    names = {f"device {_given(device, 'target', 'dev')}" for device in others if device.tag == "interface"}
    return names | {f"alias {_given(device, 'alias', 'name')}" for device in others}


def check_known(ours: list[Any], origin: str, known: dict[str, NicDefinition]) -> None:
    """Judge what only the definitions tell, of requests that `check` has passed. Raises XmlError."""
    for interface in ours:
        with _of(interface, origin):
            _check_known(interface, known)


def _check_known(interface: Any, known: dict[str, NicDefinition]) -> None:
    name = interface.xpath("normalize-space(name)")
    if name not in known:
        raise XmlError(f"no physical interface '{name}' is defined", "see 'libvirt-vepa iface-list'")
    if interface.find("vlan") is not None or interface.find("vf") is not None:
        raise XmlError("<vlan> and <vf> need a VF, which libvirt's own interfaces do not lease", "remove them")
    definition, kind = known[name], GuestType.parse(interface.xpath("normalize-space(type)") or "macvtap")
    asked = _given(interface, "target", "mode")
    mode = definition.mode_for(kind, Mode.parse(asked) if asked else None)
    if mode not in definition.allowed:
        allowed = " or ".join(mode.value for mode in definition.allowed)
        raise XmlError(f"mode {mode.value} is not allowed on '{name}'", f"ask for {allowed}")
    if kind is GuestType.TAP and (mode is not Mode.BRIDGE or definition.bridge is None):
        raise XmlError(f"'{name}' has no bridge for a tap, or not its mode", "ask for <type>macvtap</type>")
    if kind is GuestType.MACVTAP and not 0 < len(definition.device) <= DEVICE_NAME_BYTES:
        what = f"'{name}' is {definition.source}, which libvirt's own interfaces cannot find"
        raise XmlError(what, f"define it by a device's name of up to {DEVICE_NAME_BYTES} characters")
