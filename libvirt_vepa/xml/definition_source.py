# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a definition says of the hardware: which NIC it is, and how its VFs are to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.interface import HostType, NicDefinition, check_nic_name
from libvirt_vepa.model.vf_settings import VfSettings, number
from libvirt_vepa.xml.document import error_at, optional_child, required_attribute, required_child

# As libvirt reads it (virXMLPropUInt with base 0), but nothing that would be octal: 010 may be meant as 10 or 0x10.
ADDRESS_NUMBER = re.compile(r"0x[0-9A-Fa-f]{1,8}|0*[0-7]|[1-9][0-9]{0,9}")
ADDRESS_PARTS = {"domain": 2**32 - 1, "bus": 0xFF, "slot": 0x1F, "function": 7}
# TotalVFs of the SR-IOV capability has 16 bits (linux/pci_regs.h).
VFS_MOST = 2**16 - 1
RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

read_count = number("count", 1, VFS_MOST)


def source(root: Any, origin: str) -> tuple[str, MacAddress | None, PciAddress | None]:
    """Return the NIC's name, its MAC or its PCI address: one of them. Raises XmlError."""
    element = required_child(root, "source", origin)
    address = optional_child(element, "address", origin)
    mac = element.get("mac")
    if (element.get("dev") is not None) + (mac is not None) + (address is not None) > 1:
        with error_at(element, origin):
            raise XmlError("<source> names the NIC twice", "keep one of dev, mac and <address>")
    if mac is not None:
        return "", required_attribute(element, "mac", origin, MacAddress.of_station), None
    if address is not None:
        return "", None, _address(address, origin)
    return required_attribute(element, "dev", origin, check_nic_name), None, None


def _address(element: Any, origin: str) -> PciAddress:
    required_attribute(element, "type", origin, _is_pci)
    parts = {}
    for name, most in ADDRESS_PARTS.items():
        if name != "domain" or element.get(name) is not None:
            parts[name] = required_attribute(element, name, origin, _part(name, most))
    return PciAddress(**{"domain": 0, **parts})


def _is_pci(text: str) -> None:
    if text != "pci":
        raise XmlError(f"'{text}' is no type of address that a NIC has", "write type='pci'")


def _part(name: str, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        found = ADDRESS_NUMBER.fullmatch(text)
        value = int(text, 16 if text.startswith("0x") else 10) if found else most + 1
        if value > most:
            what = f"{name} '{text}' is no number from 0 to {most:#x}"
            raise XmlError(what, "write it in hexadecimal behind 0x, or in decimal without a leading 0")
        return value

    return read


def settings(root: Any, kind: HostType, origin: str) -> VfSettings:
    """Return what the NIC's VFs are set to. Raises XmlError, also where a NIC of that kind has none."""
    vf, vlan = _of_vfs(root, "vf", kind, origin), _of_vfs(root, "vlan", kind, origin)
    found = VfSettings()
    if vf is not None:
        with error_at(vf, origin):
            found = VfSettings.parse({name: text for name, text in vf.items() if name not in ("range", "count")})
        _holds_no_more(vf, origin, attributes=vf.attrib)
    if vlan is not None:
        tag = _tag(vlan, origin)
        found = required_attribute(tag, "id", origin, lambda text: VfSettings.parse({}, text)).merged_over(found)
    return found


def _of_vfs(root: Any, tag: str, kind: HostType, origin: str) -> Any | None:
    element = optional_child(root, tag, origin)
    if element is not None and kind is not HostType.SRIOV:
        with error_at(element, origin):
            raise XmlError(f"<{tag}> is about VFs, and type {kind.value} has none", "remove it, or use type sr-iov")
    return element


def _tag(vlan: Any, origin: str) -> Any:
    """Return the tag of a VLAN in libvirt's form, of which a VF can have one that the guest does not see."""
    tags = vlan.findall("tag")
    with error_at(vlan, origin):
        if len(tags) != 1:
            raise XmlError("a VF is in one VLAN", "write one <tag id='…'/> in it")
        if vlan.get("trunk") is not None or tags[0].get("nativeMode") is not None:
            raise XmlError("a VF has no trunk and no native VLAN", "write it as in <vlan><tag id='42'/></vlan>")
    _holds_no_more(vlan, origin, children=("tag",))
    _holds_no_more(tags[0], origin, attributes=("id",))
    return tags[0]


def _holds_no_more(element: Any, origin: str, attributes: Collection[str] = (), children: Collection[str] = ()) -> None:
    """Refuse what an element has beside these, which libxml2 would report as the element itself."""
    with error_at(element, origin):
        for name in element.attrib:
            if name not in attributes:
                raise XmlError(f"<{element.tag}> has no attribute '{name}'", "remove it")
        if "".join(element.xpath("text()")).strip():
            raise XmlError(f"text is not expected in <{element.tag}>", "remove it, or make it a comment")
    for child in element.iterchildren("*"):
        with error_at(child, origin):
            if child.tag not in children:
                raise XmlError(f"<{child.tag}> is not expected in <{element.tag}>", "remove it")


def vf_range(root: Any, origin: str) -> tuple[int, int] | None:
    """Return the first and the last VF that guests may have, None where it is any. Raises XmlError."""
    vf = root.find("vf[@range]")
    return None if vf is None else required_attribute(vf, "range", origin, _range)


def vf_count(root: Any, origin: str) -> int | None:
    """Return how many VFs are made where there are none. Raises XmlError."""
    vf = root.find("vf[@count]")
    return None if vf is None else required_attribute(vf, "count", origin, read_count)


def _range(text: str) -> tuple[int, int]:
    found = RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last <= VFS_MOST:
        raise XmlError(f"'{text}' is no range of VFs", "write the first and the last, as in 0-3, or one number")
    return first, last


# -- and as it is written, without indent


def write_source(definition: NicDefinition, quoted: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines of <source>."""
    if definition.address is None:
        word = f"mac={quoted(str(definition.mac))}" if definition.mac else f"dev={quoted(definition.device)}"
        yield f"<source {word}/>"
        return
    at_ = definition.address
    yield "<source>"
    # As libvirt writes it (virPCIDeviceAddressFormat).
    yield (
        f"  <address type='pci' domain='{at_.domain:#06x}' bus='{at_.bus:#04x}'"
        f" slot='{at_.slot:#04x}' function='{at_.function:#x}'/>"
    )
    yield "</source>"


def write_vfs(definition: NicDefinition) -> Iterator[str]:
    """Yield the lines about VFs, none where there is nothing to say."""
    words = dict(definition.vf.to_attributes)
    if definition.vf_count is not None:
        words = {"count": str(definition.vf_count), **words}
    if definition.vf_range:
        first, last = definition.vf_range
        words = {"range": f"{first}-{last}" if last > first else str(first), **words}
    if words:
        yield "<vf " + " ".join(f"{name}='{text}'" for name, text in words.items()) + "/>"
    if definition.vf.vlan is not None:
        yield from ("<vlan>", f"  <tag id='{definition.vf.vlan}'/>", "</vlan>")
