"""From what people write to what libvirt stores, and back: the sheets of xslt/, run with lxml.

What a sheet cannot know is given to it (a MAC that is generated), and what guest.rng cannot say well
is said here first. A document in which nothing has to change comes back as it was, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from lxml import etree

from libvirt_vepa import documents
from libvirt_vepa.errors import XmlError
from libvirt_vepa.model import (
    ALIAS_PREFIX,
    DEVICE_PREFIX,
    NAMESPACE,
    GuestType,
    HostInterface,
    MacAddress,
    Mode,
    check_definition_name,
    check_device_name,
    derived_alias,
    derived_device,
)

SCHEMA = "guest.rng"
WORDS = "{urn:libvirt-vepa:words}wrong"
NAMESPACES = {"physical": NAMESPACE}
# Other programs may keep a whole domain in the metadata; that is theirs.
DOMAINS = "(//domain | //inactiveDomain)[not(ancestor::metadata)]"
WRAPPER = f"metadata/{{{NAMESPACE}}}interfaces"
REQUESTS = "metadata/physical:interfaces/physical:interface"
NEWER = f"""metadata/*[starts-with(namespace-uri(), 'urn:libvirt-vepa:physical:') and namespace-uri() != '{NAMESPACE}']
    | {REQUESTS}[* or count(@*) != count(@alias | @name | @type | @mode)]"""
# More NICs than any guest has. It bounds what a document can cost, and how deep the sheets recurse.
MOST = 256
DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?(<\?xml\s[^>]*\?>)")
ENCODING = re.compile(rb"(encoding\s*=\s*['\"])(?!(?i:utf-8)['\"])[^'\"]*")
# How libxml2 writes XML: it escapes every '<', '>' and '"' inside a value.
TOKEN = re.compile(rb"<!--.*?-->|<\?.*?\?>|<[^>]*>", re.DOTALL)
VALUE = re.compile(rb'="([^"]*)"')
DERIVED = re.compile(f"({ALIAS_PREFIX}|{DEVICE_PREFIX})[0-9a-f]{{12}}")


def to_stored(data: bytes, origin: str) -> bytes:
    """Return the document as libvirt stores it: legal ethernet interfaces, the requests in the metadata.

    Of a document that is a single interface (hotplug) it is the interface; `split` gives the
    request too. `origin` is what messages call the document. Raises XmlError, with the line, the
    guest and the remedy, for what cannot be meant.
    """
    tree, ours = _read(data, origin)
    if ours is None:
        return data
    _check(ours, origin)
    return _run("stored.xsl", tree, data, macs=_macs(ours))


def to_proposed(data: bytes, origin: str) -> bytes:
    """Return the document as people write it: the inverse of `to_stored`.

    Raises XmlError where it is no XML, or where a request holds what this version does not know.
    """
    tree, ours = _read(data, origin)
    return data if ours is None else _run("proposed.xsl", tree, data)


def to_native(data: bytes, origin: str, hosts: Iterable[HostInterface]) -> bytes:
    """Return the document with libvirt's own direct and bridge interfaces, for hosts without the hook.

    `hosts` are the definitions of that host. Raises XmlError as `to_stored` does, and where a name
    is not among them or does not give what is asked.
    """
    proposed = to_proposed(data, origin)
    if proposed is not data:
        origin += " in the proposed form"
    tree, ours = _read(proposed, origin)
    if ours is None:
        return proposed
    _check(ours, origin)
    known = {host.name: host for host in hosts}
    for interface in ours:
        with _of(interface, origin):
            _check_native(interface, known)
    # A definition's name has no '=' and a device's no ':'.
    words = (f"{host.name}={host.device}:{host.allowed[0].value}:{host.bridge or ''}" for host in known.values())
    return _run("native.xsl", tree, proposed, hosts=" ".join(words))


def is_proposed(data: bytes, origin: str) -> bool:
    """Tell whether a document holds a request in the proposed form. Raises XmlError where it is no XML."""
    return any(map(_is_physical, _read(data, origin)[1] or ()))


def lines(data: bytes, origin: str) -> tuple[int, ...]:
    """Return the lines on which our interfaces begin, in document order, as the author counts. Raises XmlError."""
    return tuple(interface.sourceline for interface in _read(data, origin)[1] or ())


def split(data: bytes, origin: str) -> tuple[bytes, bytes]:
    """Return both parts of a document that is a single interface (hotplug): the legal interface, and the request.

    The request is the whole metadata element, for libvirt's metadata call. Raises XmlError.
    """
    tree, ours = _read(data, origin)
    if not ours or ours[0] is not tree.getroot():
        raise XmlError("this is no single physical interface", "begin with <interface type='physical'>", origin)
    _check(ours, origin)
    macs = _macs(ours)
    return _run("stored.xsl", tree, data, macs=macs), _run("stored.xsl", tree, data, macs=macs, part="request")


# -- what is ours


def _read(data: bytes, origin: str) -> tuple[Any, list[Any] | None]:
    """Return a document and its interfaces that are ours, proposed or stored; None where nothing is ours at all."""
    tree = documents.parse(data, origin)
    root = tree.getroot()
    ours = [root] if root.tag == "interface" and _is_physical(root) else []
    wrapped = False
    for domain in tree.xpath(DOMAINS):
        aliases = set(domain.xpath(f"{REQUESTS}/@alias", namespaces=NAMESPACES))
        interfaces = domain.findall("devices/interface")
        ours += [each for each in interfaces if _is_physical(each) or _is_stored(each, aliases)]
        wrapped = wrapped or domain.find(WRAPPER) is not None
        for newer in domain.xpath(NEWER, namespaces=NAMESPACES) if ours else ():
            place = documents.line(origin, newer.sourceline)
            raise XmlError("a request is in a form not known here", "use the libvirt-vepa that wrote it", place)
    if len(ours) > MOST:
        raise XmlError(f"there are more than {MOST} physical interfaces", "use fewer", origin)
    return tree, ours if ours or wrapped else None


def _is_physical(interface: Any) -> bool:
    return bool(interface.get("type") == "physical")


def _is_stored(interface: Any, aliases: set[str]) -> bool:
    return interface.get("type") == "ethernet" and _given(interface, "alias", "name") in aliases


def _given(interface: Any, child: str, name: str) -> str | None:
    """Return an attribute of a child, None where there is none."""
    element = interface.find(child)
    return element.get(name) if element is not None else None


def _macs(ours: list[Any]) -> str:
    return " ".join(str(MacAddress.generate()) for interface in ours if interface.find("mac") is None)


# -- the sheets


def _run(sheet: str, tree: Any, data: bytes, **parameters: str) -> bytes:
    """Run a sheet over a document; `data` is what the document was read from."""
    root, quoted = tree.getroot(), {name: etree.XSLT.strparam(value) for name, value in parameters.items()}
    result = _sheet(sheet)(tree, **quoted).getroot()
    if _text(result) == _text(root):
        return data
    # It begins and ends as the document did, but is UTF-8, as the document was read whatever it declared.
    declaration = DECLARATION.match(data)
    parts = [ENCODING.sub(rb"\1UTF-8", declaration[1])] if declaration else []
    parts += [tree.docinfo.doctype.encode()] if tree.docinfo.doctype else []
    parts += [_text(node) for node in reversed([*root.itersiblings(preceding=True)])]
    parts += [_quoted_as(data, _text(result)), *map(_text, root.itersiblings())]
    return b"\n".join(parts) + data[len(data.rstrip()) :]


@lru_cache
def _sheet(name: str) -> Any:
    return etree.XSLT(etree.parse(str(documents.data_file(name))), access_control=etree.XSLTAccessControl.DENY_ALL)


def _text(node: Any) -> bytes:
    text: bytes = etree.tostring(node, encoding="UTF-8", xml_declaration=False, with_tail=False)
    return text


def _quoted_as(data: bytes, text: bytes) -> bytes:
    """Return serialised XML with single quotes if the document has most of them so, as libvirt's own has.

    Scripts that cut values out of `virsh dumpxml` count on that.
    """
    if data.count(b"='") <= data.count(b'="'):
        return text
    single = TOKEN.sub(lambda token: token[0] if token[0][1:2] in b"!?" else VALUE.sub(_single, token[0]), text)
    return single if _text(etree.fromstring(single)) == text else text


def _single(value: re.Match[bytes]) -> bytes:
    return b"='%s'" % value[1].replace(b"'", b"&apos;").replace(b"&quot;", b'"')


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


def _check(ours: list[Any], origin: str) -> None:
    """Judge each request by itself, then that no two interfaces of a guest are given the same."""
    taken: dict[Any, set[str]] = {}
    for interface in ours:
        with _of(interface, origin):
            if _is_physical(interface):
                _check_request(interface, origin)
            devices = interface.getparent()
            claimed = taken.setdefault(devices, _claims_of_others(devices, set(ours)))
            for claim in _claims(interface):
                if claim in claimed:
                    raise XmlError(f"{claim} is given to two devices of this guest", "make them different")
                claimed.add(claim)


def _check_request(interface: Any, origin: str) -> None:
    for path, what, remedy in _wrong():
        for found in interface.xpath(path):
            element, shown = _shown(found)
            raise XmlError(f"{shown}: {what}", remedy, documents.line(origin, element.sourceline))
    for path, check in VALUES:
        for found in interface.xpath(path):
            element, _ = _shown(found)
            with documents.at((documents.line(origin, element.sourceline),)):
                check(str(element.xpath("normalize-space()") if element is found else found))
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


VALUES = (
    ("name", check_definition_name),
    ("type", GuestType.parse),
    ("target/@mode", Mode.parse),
    ("target/@dev", check_device_name),
    ("mac/@address", MacAddress.parse),
)


def _claims(interface: Any) -> Iterator[str]:
    """Yield what no other device of the guest may have: the MAC, and the names that were chosen or that it gives."""
    address = _given(interface, "mac", "address")
    mac = MacAddress.parse(address) if address else None
    alias = _name(interface, "alias", _given(interface, "alias", "name"), derived_alias(mac) if mac else None)
    device = _name(interface, "device", _given(interface, "target", "dev"), derived_device(mac) if mac else None)
    yield from (f"{kind} {value}" for kind, value in (("MAC", mac), ("alias", alias), ("device", device)) if value)


def _name(interface: Any, kind: str, given: str | None, derived: str | None) -> str | None:
    """Return the name that an interface will have, as stored.xsl decides it."""
    if given and not DERIVED.fullmatch(given):
        return given
    if given and given != derived and _is_physical(interface):
        raise XmlError(f"{kind} '{given}' is what another MAC gives", "leave it out")
    return derived


def _claims_of_others(devices: Any, ours: set[Any]) -> set[str]:
    others = [device for device in (() if devices is None else devices) if device not in ours]
    names = {f"device {_given(device, 'target', 'dev')}" for device in others if device.tag == "interface"}
    return names | {f"alias {_given(device, 'alias', 'name')}" for device in others}


def _check_native(interface: Any, known: dict[str, HostInterface]) -> None:
    """Judge what only the definitions tell."""
    name = interface.xpath("normalize-space(name)")
    if name not in known:
        raise XmlError(f"no physical interface '{name}' is defined", "see 'libvirt-vepa iface-list'")
    host, kind = known[name], GuestType.parse(interface.xpath("normalize-space(type)") or "macvtap")
    asked = _given(interface, "target", "mode")
    mode = host.mode_for(kind, Mode.parse(asked) if asked else None)
    if mode not in host.allowed:
        allowed = " or ".join(mode.value for mode in host.allowed)
        raise XmlError(f"mode {mode.value} is not allowed on '{name}'", f"ask for {allowed}")
    if kind is GuestType.TAP and (mode is not Mode.BRIDGE or host.bridge is None):
        raise XmlError(f"'{name}' has no bridge for a tap, or not its mode", "ask for <type>macvtap</type>")
