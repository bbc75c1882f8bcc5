# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The requests in a guest's metadata as libvirt's metadata call gives and takes them: one element, its names bare.

libvirt takes the namespace off what it gives and puts it on what it takes, as it is told in the call
(virXMLExtractNamespaceXML, virXMLInjectNamespace).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from libvirt_vepa.model.interface import NAMESPACE
from libvirt_vepa.model.vf_settings import READERS, VfSettings
from libvirt_vepa.xml import document as documents

ORIGIN = "the guest's metadata"
INTERFACE = "the interface"
WRAPPER = "interfaces"
# A request's elements, and the attributes and children that each may have, each of them once.
REQUEST, VLAN, TAG, VF = (f"{{{NAMESPACE}}}{name}" for name in ("interface", "vlan", "tag", "vf"))
# What a device is to be, by the word for it in the request of an interface that is attached to a running guest; and
# which child and attribute of an interface say it, at a start.
DEVICE = {
    "mac": ("mac", "address"),
    "device": ("target", "dev"),
    "mtu": ("mtu", "size"),
    "queues": ("driver", "queues"),
    "outbound": ("bandwidth/outbound", "average"),
}
KNOWN = {
    REQUEST: ({"alias", "name", "type", "mode", *DEVICE}, {VLAN, VF}),
    VLAN: (set(), {TAG}),
    TAG: ({"id"}, set()),
    VF: (set(READERS), set()),
}


def read(wrapper: bytes | None) -> dict[str, bytes]:
    """Return the requests by their alias, each an element of its own. Raises XmlError."""
    if wrapper is None:
        return {}
    root = documents.parse(wrapper, ORIGIN).getroot()
    return {child.get("alias", ""): _bare(child) for child in root if isinstance(child.tag, str)}


def write(requests: dict[str, bytes]) -> bytes | None:
    """Return the requests as one element, None where there are none: libvirt removes it then."""
    if not requests:
        return None
    return b"<%s>%s</%s>" % (WRAPPER.encode(), b"".join(requests.values()), WRAPPER.encode())


def without_device(request: bytes) -> bytes:
    """Return a request without what it says of the device: the form of a guest that does not run. Raises XmlError."""
    element = documents.parse(request, ORIGIN).getroot()
    for name in DEVICE:
        element.attrib.pop(name, None)
    return _bare(element)


def _bare(element: Any) -> bytes:
    """Return an element without a namespace. One of a later version, which may hold more, keeps what it holds."""
    bare = etree.Element(etree.QName(element).localname, dict(element.attrib))
    bare.extend(etree.fromstring(_bare(child)) for child in element if isinstance(child.tag, str))
    text: bytes = etree.tostring(bare)
    return text


def kept(domain: bytes) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the requests that a domain's XML holds, and those of them that have an interface. Raises XmlError."""
    root = documents.parse_libvirts(domain, ORIGIN).getroot()
    wrapper = root.find(f"metadata/{{{NAMESPACE}}}{WRAPPER}")
    requests = read(None if wrapper is None else etree.tostring(wrapper, with_tail=False))
    aliases = _aliases(root, "")
    return requests, {alias: text for alias, text in requests.items() if alias in aliases}


def aliases_of(domain: bytes, name: str = "") -> tuple[str, ...]:
    """Return the aliases of a domain's interfaces, or of those with that alias or MAC. Raises XmlError."""
    return _aliases(documents.parse_libvirts(domain, ORIGIN).getroot(), name)


def _aliases(root: Any, name: str) -> tuple[str, ...]:
    interfaces = root.iterfind("devices/interface")
    found = ((_attribute(each, "alias", "name"), _attribute(each, "mac", "address")) for each in interfaces)
    return tuple(alias for alias, mac in found if name in ("", alias, mac))


def name_of(interface: bytes) -> str | None:
    """Return the alias that an interface has, or else its MAC, None where it has neither. Raises XmlError."""
    root = documents.parse(interface, INTERFACE).getroot()
    if root.tag != "interface":
        return None
    return _attribute(root, "alias", "name") or _attribute(root, "mac", "address").lower() or None


def device_of(domain: bytes, alias: str) -> tuple[str, str] | None:
    """Return MAC and device of the interface with an alias, None where the domain has none. Raises XmlError."""
    interfaces = documents.parse_libvirts(domain, ORIGIN).getroot().iterfind("devices/interface")
    found = next((each for each in interfaces if _attribute(each, "alias", "name") == alias), None)
    return None if found is None else (_attribute(found, "mac", "address"), _attribute(found, "target", "dev"))


def _attribute(interface: Any, child: str, attribute: str) -> str:
    element = interface.find(child)
    return "" if element is None else str(element.get(attribute, ""))


# -- what one request says


def unknown_part(request: Any) -> str | None:
    """Return the first thing that a request says and that is not known here, None where there is none.

    A request that says more is never half understood: the rest may be what keeps the guest, or others, safe.
    """
    return next(_unknown(request), None)


def _unknown(element: Any) -> Iterator[str]:
    attributes, children = KNOWN[element.tag]
    yield from sorted(set(element.attrib) - attributes)
    seen: set[str] = set()
    for child in element.iterchildren("*"):
        if child.tag not in children - seen:
            yield child.tag
            return
        seen.add(child.tag)
        yield from _unknown(child)


def vf_settings(request: Any) -> VfSettings:
    """Return what a request that is known asks of a VF, its VLAN too. Raises XmlError for what nobody can mean."""
    vlan, vf = request.find(VLAN), request.find(VF)
    tag = None if vlan is None else vlan.find(TAG)
    number = None if vlan is None else "" if tag is None else tag.get("id", "")
    return VfSettings.parse({} if vf is None else vf.attrib, number)
