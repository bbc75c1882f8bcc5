# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What this host's NICs are called: /etc/libvirt/vepa/NAME.xml, one file a name.

The grammar is in xslt/host.rng; what people get wrong most is told here, in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lxml import etree

from libvirt_vepa import documents, files, hardware
from libvirt_vepa.elements import at, attribute, only, optional, word
from libvirt_vepa.errors import HostError, VepaError, XmlError
from libvirt_vepa.model import HostInterface, HostType, Mode, check_definition_name, check_device_name

DIRECTORY = Path("/etc/libvirt/vepa")
SCHEMA = "host.rng"

# -- the documents


def read(data: bytes, origin: str) -> HostInterface:
    """Return the definition that a document holds, in the canonical spelling or the proposal's.

    `origin` is what messages call the document. Raises XmlError, which names the line.
    """
    tree = documents.parse(data, origin)
    root = tree.getroot()
    with at(root, origin):
        if not _is_physical(root):
            raise XmlError(
                "this is not the definition of a physical interface", "begin with <interface type='physical'>"
            )
    _clear_text(root, origin)
    _split_modes(root, origin)
    device, mac, address = hardware.source(root, origin)
    kind = word(only(root, "type", origin), origin, _host_type)
    host = HostInterface(
        name=attribute(root, "name", origin, check_definition_name),
        device=device,
        type=kind,
        modes=tuple(word(element, origin, Mode.parse) for element in root.iterchildren("mode")),
        bridge=_bridge(root, origin),
        mac=mac,
        address=address,
        vf=hardware.settings(root, kind, origin),
        vf_range=hardware.vf_range(root, origin),
        vf_count=hardware.vf_count(root, origin),
    )
    documents.validate(tree, SCHEMA, origin)
    return host


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
            with at(node, origin):
                raise XmlError(f"text '{stray[0]}' is not expected here", "remove it, or make it a comment")
        if node is root:
            node.text = None
        else:
            node.tail = None


def _split_modes(root: etree._Element, origin: str) -> None:
    """Rewrite every <mode> as canonical ones: `a|b` as two, a synonym as what it means, an empty one as none."""
    seen: set[Mode] = set()
    for element in root.findall("mode"):
        words = word(element, origin, str)
        with at(element, origin):
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
    element = optional(root, "bridge", origin)
    return None if element is None else attribute(element, "name", origin, check_device_name)


def _host_type(text: str) -> HostType:
    if "|" in text:
        raise XmlError(f"'{text}' is a choice of types", "name the one type that this NIC is")
    if not text:
        raise XmlError("the type is empty", "use ethernet, sr-iov or vmdq")
    return HostType.parse(text)


def write(host: HostInterface) -> bytes:
    """Return a definition as a canonical document, quoted as libvirt quotes."""
    lines = [
        *hardware.write_source(host, _quoted),
        f"<type>{host.type.value}</type>",
        *(f"<mode>{mode.value}</mode>" for mode in host.modes),
        *([f"<bridge name={_quoted(host.bridge)}/>"] if host.bridge else []),
        *hardware.write_vfs(host),
    ]
    content = "".join(f"  {line}\n" for line in lines)
    return f"<interface type='physical' name={_quoted(host.name)}>\n{content}</interface>\n".encode()


def _quoted(text: str) -> str:
    return "'" + text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;") + "'"


# -- the files; where `directory` is left out, it is DIRECTORY


def define(data: bytes, origin: str, directory: Path | None = None) -> HostInterface:
    """Read a definition and keep it, in the place of an earlier one of that name.

    Raises XmlError where it cannot be read and HostError where it cannot be kept; the earlier
    one stays then.
    """
    host = read(data, origin)
    path = _path(host.name, directory)
    with files.told(f"write {path}"):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.replace(path, write(host))
    return host


def load(name: str, directory: Path | None = None) -> HostInterface:
    """Return the definition of that name; HostError where there is none, XmlError where its file is damaged."""
    path = _path(name, directory)
    with files.told(f"read {path}"), _known(name), open(path, "rb") as file:
        data = file.read(documents.LIMIT + 1)
    host = read(data, str(path))
    if host.name != name:
        raise XmlError(f"the file defines '{host.name}'", f"rename one of the two, or define '{name}' anew", str(path))
    return host


def load_all(directory: Path | None = None) -> tuple[tuple[str, HostInterface | VepaError], ...]:
    """Return every name that has a file, in order, with its definition or with what is wrong with it."""
    folder = directory or DIRECTORY
    return tuple((name, load_or_error(name, folder)) for name in names(folder))


def names(directory: Path | None = None) -> tuple[str, ...]:
    """Return every name that has a file, in order. Raises HostError where the folder cannot be read.

    Hidden files and what does not end in `.xml` (an editor's backups) are nobody's definitions.
    """
    folder = directory or DIRECTORY
    with files.told(f"read {folder}"):
        try:
            found = sorted(path.name for path in folder.iterdir() if path.is_file())
        except FileNotFoundError:
            return ()
    return tuple(name.removesuffix(".xml") for name in found if name.endswith(".xml") and not name.startswith("."))


def load_or_error(name: str, directory: Path | None = None) -> HostInterface | VepaError:
    """Return the definition of that name, or what is wrong with it."""
    try:
        return load(name, directory)
    except VepaError as error:
        return error


def dump(name: str, directory: Path | None = None) -> bytes:
    """Return the definition of that name as a canonical document; raises as `load` does."""
    return write(load(name, directory))


def undefine(name: str, directory: Path | None = None) -> None:
    """Forget a definition, damaged or not; HostError where there is none or it cannot be removed."""
    path = _path(name, directory)
    with files.told(f"remove {path}"), _known(name):
        path.unlink()


def _path(name: str, directory: Path | None) -> Path:
    return (directory or DIRECTORY) / f"{check_definition_name(name)}.xml"


@contextmanager
def _known(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise HostError(
            f"no physical interface '{name}' is defined on this host",
            "see 'libvirt-vepa iface-list', and define it with 'libvirt-vepa iface-define'",
        ) from None
