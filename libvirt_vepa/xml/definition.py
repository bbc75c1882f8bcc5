# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The definition of a NIC as a document.

The grammar is in xslt/host.rng; what people get wrong most is told here, in words.
"""

from __future__ import annotations

from lxml import etree

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.interface import HostType, Mode, NicDefinition, check_definition_name, check_host_device_name
from libvirt_vepa.xml import definition_source
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml.document import error_at, optional_child, required_attribute, required_child, text_of

SCHEMA = "host.rng"


def read(data: bytes, origin: str) -> NicDefinition:
    """Return the definition that a document holds, in the canonical spelling or the proposal's.

    `origin` is what messages call the document. Raises XmlError, which names the line.
    """
    tree = documents.parse(data, origin)
    root = tree.getroot()
    with error_at(root, origin):
        if not _is_physical(root):
            raise XmlError(
                "this is not the definition of a physical interface", "begin with <interface type='physical'>"
            )
    _clear_text(root, origin)
    _split_modes(root, origin)
    device, mac, address = definition_source.source(root, origin)
    kind = text_of(required_child(root, "type", origin), origin, _host_type)
    definition = NicDefinition(
        name=required_attribute(root, "name", origin, check_definition_name),
        device=device,
        type=kind,
        modes=tuple(text_of(element, origin, Mode.parse) for element in root.iterchildren("mode")),
        bridge=_bridge(root, origin),
        mac=mac,
        address=address,
        vf=definition_source.settings(root, kind, origin),
        vf_range=definition_source.vf_range(root, origin),
        vf_count=definition_source.vf_count(root, origin),
    )
    documents.validate(tree, SCHEMA, origin)
    return definition


def is_physical(data: bytes, origin: str) -> bool:
    """Tell whether a document defines a physical interface, rightly or not. Raises XmlError where it is no XML."""
    return _is_physical(documents.parse(data, origin).getroot())


def _is_physical(root: etree._Element) -> bool:
    return bool(root.tag == "interface" and root.get("type") == "physical")


def _clear_text(root: etree._Element, origin: str) -> None:
    """Refuse text between the elements; the proposal's remarks (`// …`) are taken out of the tree."""
    for node in (root, *root.iterchildren()):
        text = (node.text if node is root else node.tail) or ""
        stray = [piece.strip() for piece in text.splitlines() if piece.strip() and not piece.strip().startswith("//")]
        if stray:
            with error_at(node, origin):
                raise XmlError(f"text '{stray[0]}' is not expected here", "remove it, or make it a comment")
        if node is root:
            node.text = None
        else:
            node.tail = None


def _split_modes(root: etree._Element, origin: str) -> None:
    """Rewrite every <mode> as canonical ones: `a|b` as two, a synonym as what it means, an empty one as none."""
    seen: set[Mode] = set()
    for element in root.findall("mode"):
        words = text_of(element, origin, str)
        with error_at(element, origin):
            modes = [Mode.parse(word.strip()) for word in words.split("|")] if words else []
            for index, mode in enumerate(modes):
                if mode in seen or mode in modes[:index]:
                    raise XmlError(f"mode {mode.value} is listed twice", "list each mode once")
        seen.update(modes)
        for mode in modes:
            single = etree.Element("mode", element.attrib)
            single.text, single.sourceline = mode.value, element.sourceline
            element.addprevious(single)
        if not element.attrib or modes:
            root.remove(element)


def _bridge(root: etree._Element, origin: str) -> str | None:
    element = optional_child(root, "bridge", origin)
    return None if element is None else required_attribute(element, "name", origin, check_host_device_name)


def _host_type(text: str) -> HostType:
    if "|" in text:
        raise XmlError(f"more than one type given: '{text}'", "name the one type that this NIC is")
    if not text:
        raise XmlError("the type is empty", "use ethernet, sr-iov or vmdq")
    return HostType.parse(text)


def write(definition: NicDefinition) -> bytes:
    """Return a definition as a canonical document, quoted as libvirt quotes."""
    lines = [
        *definition_source.write_source(definition, _quoted),
        f"<type>{definition.type.value}</type>",
        *(f"<mode>{mode.value}</mode>" for mode in definition.modes),
        *([f"<bridge name={_quoted(definition.bridge)}/>"] if definition.bridge else []),
        *definition_source.write_vfs(definition),
    ]
    content = "".join(f"  {line}\n" for line in lines)
    return f"<interface type='physical' name={_quoted(definition.name)}>\n{content}</interface>\n".encode()


def _quoted(text: str) -> str:
    return "'" + text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;") + "'"
