"""From what people write to what libvirt stores, and back: the sheets of xslt/, run with lxml.

What a sheet cannot know is given to it (a MAC that is generated), and what it cannot say well
is checked here first. A document that holds nothing of ours comes back as it was, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree

from libvirt_vepa import documents
from libvirt_vepa.errors import XmlError
from libvirt_vepa.model import (
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

WRAPPER = f"{{{NAMESPACE}}}interfaces"
PROPOSED = (
    "/interface[@type='physical'] | //*[self::domain or self::inactiveDomain]/devices/interface[@type='physical']"
)
STORED = "//*[self::domain or self::inactiveDomain]/metadata/physical:interfaces"
# What libvirt keeps as an alias on every interface (virDomainDeviceAliasIsUserAlias, user alias pattern).
ALIAS = re.compile(r"ua-[A-Za-z0-9_-]+")
MEANINGLESS = {
    "source": "the NIC is named by <name>, and what that is the host decides",
    "virtualport": "libvirt has no virtual ports on such an interface",
    "port": "isolation is what mode='pepa' gives",
    "filterref": "libvirt filters taps, not macvtaps",
    "vlan": "it is not built yet",
    "vf": "it is not built yet",
}


def to_stored(data: bytes, origin: str) -> bytes:
    """Return the document as libvirt stores it: legal ethernet interfaces, the requests in the metadata.

    Raises XmlError, with the guest, the interface's line and the remedy, for what cannot be
    meant. `origin` is what messages call the document.
    """
    tree = documents.parse(data, origin)
    if not tree.xpath(PROPOSED) and not _stored(tree):
        return data
    _check_all(tree, origin)
    missing = tree.xpath(f"count(({PROPOSED})[not(mac)])")
    macs = " ".join(str(MacAddress.generate()) for _ in range(int(missing)))
    return _run("stored.xsl", tree, data, macs=macs)


def to_proposed(data: bytes, origin: str) -> bytes:
    """Return the document as people write it: the inverse of `to_stored`. Raises XmlError where it is no XML."""
    tree = documents.parse(data, origin)
    return _run("proposed.xsl", tree, data) if _stored(tree) else data


def to_native(data: bytes, origin: str, hosts: Iterable[HostInterface]) -> bytes:
    """Return the document with libvirt's own direct and bridge interfaces, for hosts without the hook.

    `hosts` are the definitions of that host. Raises XmlError where a name is not among them.
    """
    proposed = to_proposed(data, origin)
    tree = documents.parse(proposed, origin)
    if not tree.xpath(PROPOSED):
        return data
    _check_all(tree, origin)
    known = {host.name: host for host in hosts}
    for interface in tree.xpath(PROPOSED):
        with documents.at(_place(interface, origin)):
            _check_native(interface, known)
    words = (f"{host.name}={host.device},{host.allowed[0].value},{host.bridge or ''}" for host in known.values())
    return _run("native.xsl", tree, proposed, hosts=" ".join(words))


def is_proposed(data: bytes, origin: str) -> bool:
    """Tell whether a document holds a request in the proposed form. Raises XmlError where it is no XML."""
    return bool(documents.parse(data, origin).xpath(PROPOSED))


def split(data: bytes, origin: str) -> tuple[bytes, bytes]:
    """Return both parts of a document that is a single interface (hotplug): the legal interface, and the request.

    The request is the whole metadata element, for libvirt's metadata call. Raises XmlError.
    """
    tree = documents.parse(data, origin)
    _check_all(tree, origin)
    macs = str(MacAddress.generate())
    return tuple(_run("stored.xsl", tree, data, macs=macs, part=part) for part in ("interface", "request"))  # type: ignore[return-value]


def _stored(tree: Any) -> list[Any]:
    found: list[Any] = tree.xpath(STORED, namespaces={"physical": NAMESPACE})
    return found


def _run(sheet: str, tree: Any, data: bytes, **parameters: str) -> bytes:
    """Run a sheet; the result begins and ends as the document did."""
    transform = etree.XSLT(etree.parse(str(documents.data_file(sheet))))
    result = transform(tree, **{name: etree.XSLT.strparam(value) for name, value in parameters.items()})
    encoding = tree.docinfo.encoding or "UTF-8"
    declared = data.lstrip().startswith(b"<?xml")
    text: bytes = etree.tostring(result, encoding=encoding, xml_declaration=declared)
    return text.rstrip(b"\n") + (b"\n" if data.endswith(b"\n") else b"")


# -- what cannot be meant


def _place(interface: Any, origin: str) -> tuple[str, ...]:
    """Return how messages name an interface: its document and line, and its guest."""
    line = documents.line(origin, interface.sourceline)
    domain = next(interface.iterancestors("domain", "inactiveDomain"), None)
    name = domain.findtext("name") if domain is not None else None
    return (line, f"guest '{name}'") if name else (line,)


def _check_all(tree: Any, origin: str) -> None:
    seen: dict[Any, set[str]] = {}
    schema = etree.RelaxNG(etree.parse(str(documents.data_file("guest.rng"))))
    for interface in tree.xpath(PROPOSED):
        with documents.at(_place(interface, origin)):
            _check(interface)
            for key in _identity(interface):
                _check_unique(key, seen.setdefault(interface.getparent(), _others(interface)))
            if not schema.validate(interface):
                entry = schema.error_log[0]
                raise XmlError(f"line {entry.line}: {entry.message}", "see xslt/guest.rng for what may stand there")


def _check(interface: Any) -> None:
    """Judge one request by itself."""
    for name in interface.attrib:
        if name not in ("type", "trustGuestRxFilters"):
            raise XmlError(f"unknown attribute '{name}' of <interface>", "remove it")
    _check_children(interface)
    kind = GuestType.parse(_text(interface, "type")) if interface.find("type") is not None else GuestType.MACVTAP
    if interface.find("filterref") is not None and kind is not GuestType.TAP:
        raise XmlError("<filterref> means nothing on a macvtap", MEANINGLESS["filterref"])
    if interface.find("name") is None:
        raise XmlError(
            "<name> is missing", "write <name>…</name>, one of the names that 'libvirt-vepa iface-list' shows"
        )
    check_definition_name(_text(interface, "name"))
    _check_target(interface.find("target"))
    _check_mac(interface.find("mac"))
    _check_alias(interface.find("alias"))


def _check_children(interface: Any) -> None:
    seen = set()
    for child in interface.iterchildren(tag=etree.Element):
        if child.tag in MEANINGLESS and child.tag != "filterref":
            raise XmlError(f"<{child.tag}> (line {child.sourceline}) means nothing here", MEANINGLESS[child.tag])
        if child.tag in seen and child.tag in ("name", "type", "target", "mac", "alias"):
            raise XmlError(f"<{child.tag}> (line {child.sourceline}) stands there twice", "keep one of them")
        if child.tag not in _known():
            raise XmlError(
                f"unknown element <{child.tag}> (line {child.sourceline})", "libvirt would drop it; remove it"
            )
        seen.add(child.tag)
    stray = [text for text in interface.xpath("text()") if text.strip() and not text.strip().startswith("//")]
    if stray:
        raise XmlError(f"stray text '{stray[0].strip()}'", "remove it, or make it a comment")


def _known() -> frozenset[str]:
    """Return the elements that the schema knows inside an interface."""
    schema = etree.parse(str(documents.data_file("guest.rng")))
    ns = {"r": "http://relaxng.org/ns/structure/1.0"}
    return frozenset(
        (*schema.xpath("//r:element/@name", namespaces=ns), *schema.xpath("//r:name/text()", namespaces=ns))
    )


def _text(interface: Any, name: str) -> str:
    return str(interface.findtext(name) or "").strip()


def _check_target(target: Any) -> None:
    if target is None:
        return
    for name in target.attrib:
        if name not in ("dev", "mode"):
            raise XmlError(f"unknown attribute '{name}' of <target>", "use mode and dev")
    if "|" in target.get("mode", ""):
        raise XmlError(
            f"'{target.get('mode')}' is a choice of modes", "ask for one, or leave it out for the host's default"
        )
    if target.get("mode") is not None:
        Mode.parse(target.get("mode"))
    if target.get("dev") is not None:
        check_device_name(target.get("dev"))


def _check_mac(mac: Any) -> None:
    if mac is None:
        return
    if mac.get("address") is None:
        raise XmlError("<mac> has no address", "write <mac address='…'/>, or leave it out and one is generated")
    address = MacAddress.parse(mac.get("address"))
    if address.is_multicast or address.is_zero:
        kind = "a multicast address" if address.is_multicast else "no address at all"
        raise XmlError(f"{address} is {kind}", "give a unicast MAC, as in 52:54:00:aa:bb:cc")


def _check_alias(alias: Any) -> None:
    if alias is not None and not ALIAS.fullmatch(alias.get("name", "")):
        raise XmlError(
            f"libvirt would not keep the alias '{alias.get('name', '')}'",
            "begin with ua- and use letters, digits, '_', '-'",
        )


def _identity(interface: Any) -> Iterator[str]:
    """Yield what an interface may not share with another of its guest: alias, MAC and device, given or derived."""
    mac, alias, target = interface.find("mac"), interface.find("alias"), interface.find("target")
    device = target.get("dev") if target is not None else None
    if mac is not None:
        address = MacAddress.parse(mac.get("address"))
        yield f"MAC {address}"
        device = device or derived_device(address)
    if alias is not None:
        yield f"alias {alias.get('name')}"
    elif mac is not None:
        yield f"alias {derived_alias(address)}"
    if device:
        yield f"device {device}"


def _others(interface: Any) -> set[str]:
    """Return what the guest's other devices already have."""
    devices = interface.getparent()
    if devices is None:
        return set()
    aliases = devices.xpath("*[not(self::interface[@type='physical'])]/alias/@name")
    names = devices.xpath("interface[@type!='physical']/target/@dev")
    return {*(f"alias {name}" for name in aliases), *(f"device {name}" for name in names)}


def _check_unique(key: str, seen: set[str]) -> None:
    if key in seen:
        raise XmlError(f"{key} is given to two devices of this guest", "make them different")
    seen.add(key)


def _check_native(interface: Any, known: dict[str, HostInterface]) -> None:
    """Judge what only the definitions tell."""
    name = _text(interface, "name")
    if name not in known:
        raise XmlError(f"no physical interface '{name}' is defined", "see 'libvirt-vepa iface-list'")
    host = known[name]
    target = interface.find("target")
    asked = Mode.parse(target.get("mode")) if target is not None and target.get("mode") else None
    kind = GuestType.parse(_text(interface, "type") or "macvtap")
    mode = host.mode_for(kind, asked)
    if mode not in host.allowed:
        allowed = " or ".join(mode.value for mode in host.allowed)
        raise XmlError(f"mode {mode.value} is not allowed on '{name}'", f"ask for {allowed}")
    if kind is GuestType.TAP and mode is not Mode.BRIDGE:
        raise XmlError(f"a tap cannot have mode {mode.value}", "ask for bridge, or for <type>macvtap</type>")
    if kind is GuestType.TAP and host.bridge is None:
        raise XmlError(f"'{name}' names no bridge for a tap", "define it with <bridge name='…'/>")
