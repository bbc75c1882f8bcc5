"""From what people write to what libvirt stores, and back: the sheets of xslt/, run with lxml.

What a sheet cannot know is given to it (a MAC that is generated), and what it cannot say well is
checked here first; guest.rng has the last word on the structure. A document in which nothing has
to change comes back as it was, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
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

NAMESPACES = {"physical": NAMESPACE, "rng": "http://relaxng.org/ns/structure/1.0"}
SCHEMA = "guest.rng"
# Other programs may keep a whole domain in the metadata; that is theirs.
DOMAINS = "(//domain | //inactiveDomain)[not(ancestor::metadata)]"
REQUESTS = "metadata/physical:interfaces/physical:interface"
NEWER = "metadata/*[starts-with(namespace-uri(), 'urn:libvirt-vepa:physical:') and namespace-uri() != $known]"
# More NICs than any machine has slots for. It bounds what a document can cost, and the sheets' recursion.
MOST = 1000
DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?(<\?xml\s[^>]*\?>)")
ENCODING = re.compile(rb"(encoding\s*=\s*['\"])(?!(?i:utf-8)['\"])[^'\"]*")
# How libxml2 writes XML: it escapes every '<', '>' and '"' inside a value.
TOKEN = re.compile(rb"<!--.*?-->|<\?.*?\?>|<[^>]*>", re.DOTALL)
ATTRIBUTE = re.compile(rb'="([^"]*)"')
# What libvirt keeps of an alias: USER_ALIAS_PREFIX and USER_ALIAS_CHARS in its domain_conf.c.
ALIAS = re.compile(r"ua-[A-Za-z0-9_-]+")
DERIVED = re.compile(f"({ALIAS_PREFIX}|{DEVICE_PREFIX})[0-9a-f]{{12}}")
MEANINGLESS = {
    "source": "remove it: <name> says which NIC is meant, and the host knows what that is",
    "virtualport": "remove it: libvirt has no virtual ports on such an interface",
    "port": "remove it: target mode='pepa' keeps guests apart",
    "mode": "write it as in <target mode='vepa'/>",
    "vlan": "remove it: it is not built yet",
    "vf": "remove it: it is not built yet",
}


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
    if ours is None:
        return data
    for interface in ours:
        with _of(interface, origin):
            _check_request(interface)
    return _run("proposed.xsl", tree, data)


def to_native(data: bytes, origin: str, hosts: Iterable[HostInterface]) -> bytes:
    """Return the document with libvirt's own direct and bridge interfaces, for hosts without the hook.

    `hosts` are the definitions of that host. Raises XmlError as `to_stored`, and where a name is
    not among them or does not give what is asked.
    """
    tree, ours = _read(data, origin)
    if ours is None:
        return data
    _check(ours, origin)
    known = {host.name: host for host in hosts}
    for interface in ours:
        with _of(interface, origin):
            _check_native(interface, known)
    # A definition's name has no '=' and a device's no ':'.
    words = (f"{host.name}={host.device}:{host.allowed[0].value}:{host.bridge or ''}" for host in known.values())
    return _run("native.xsl", tree, data, hosts=" ".join(words))


def is_proposed(data: bytes, origin: str) -> bool:
    """Tell whether a document holds a request in the proposed form. Raises XmlError where it is no XML."""
    return any(map(_is_physical, _ours(documents.parse(data, origin), origin)))


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
    """Return a document and what in it is ours; None where it has not even a request without an interface."""
    tree = documents.parse(data, origin)
    ours = _ours(tree, origin)
    return tree, ours if ours or tree.xpath(f"{DOMAINS}/{REQUESTS}/..", namespaces=NAMESPACES) else None


def _ours(tree: Any, origin: str) -> list[Any]:
    """Return the interfaces in the proposed form, and the stored ones that have a request, in document order."""
    root = tree.getroot()
    found = [root] if root.tag == "interface" and _is_physical(root) else []
    for domain in tree.xpath(DOMAINS):
        aliases = set(domain.xpath(f"{REQUESTS}/@alias", namespaces=NAMESPACES))
        interfaces = domain.findall("devices/interface")
        found += [each for each in interfaces if _is_physical(each) or _is_stored(each, aliases)]
        if found and domain.xpath(NEWER, known=NAMESPACE):
            raise XmlError("it holds requests of a newer form", "use the libvirt-vepa that wrote them", origin)
    if len(found) > MOST:
        raise XmlError(f"there are more than {MOST} physical interfaces", "use fewer", origin)
    return found


def _is_physical(interface: Any) -> bool:
    return bool(interface.get("type") == "physical")


def _is_stored(interface: Any, aliases: set[str]) -> bool:
    return interface.get("type") == "ethernet" and _given(interface, "alias", "name") in aliases


def _given(interface: Any, child: str, name: str) -> str | None:
    """Return an attribute of a child, None where there is none."""
    element = interface.find(child)
    return element.get(name) if element is not None else None


def _request(interface: Any) -> Any:
    """Return the element that says what is asked: the interface itself, or its request in the metadata."""
    if _is_physical(interface):
        return interface
    alias = _given(interface, "alias", "name")
    return interface.xpath(f"../../{REQUESTS}[@alias = $alias]", alias=alias, namespaces=NAMESPACES)[0]


def _macs(ours: list[Any]) -> str:
    return " ".join(str(MacAddress.generate()) for interface in ours if interface.find("mac") is None)


# -- the sheets


def _run(sheet: str, tree: Any, data: bytes, **parameters: str) -> bytes:
    """Run a sheet over a document; `data` is what the document was read from."""
    quoted = {name: etree.XSLT.strparam(value) for name, value in parameters.items()}
    root, result = tree.getroot(), _sheet(sheet)(tree, **quoted).getroot()
    if _canonical(result) == _canonical(root):
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


def _canonical(root: Any) -> bytes:
    text: bytes = etree.tostring(root, method="c14n")
    return text


def _quoted_as(data: bytes, text: bytes) -> bytes:
    """Return serialised XML with its attributes in single quotes if the document has most of them so, as libvirt has.

    Scripts that cut values out of `virsh dumpxml` count on that.
    """
    if data.count(b"='") <= data.count(b'="'):
        return text
    single = TOKEN.sub(lambda token: ATTRIBUTE.sub(_single, token[0]), text)
    return single if _canonical(etree.fromstring(single)) == _canonical(etree.fromstring(text)) else text


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
    """Judge each of our interfaces by itself, then that no two of a guest are given the same."""
    taken: dict[Any, set[str]] = {}
    for interface in ours:
        with _of(interface, origin):
            _check_request(interface)
            if _is_physical(interface):
                _check_children(interface, origin)
            _check_values(interface, origin)
            if _is_physical(interface):
                documents.validate(etree.ElementTree(interface), SCHEMA, origin)
                _check_derived(interface)
            devices = interface.getparent()
            claimed = taken.setdefault(devices, _claims_of_others(devices, ours))
            for claim in _claims(interface):
                if claim in claimed:
                    raise XmlError(f"{claim} is given to two devices of this guest", "make them different")
                claimed.add(claim)
