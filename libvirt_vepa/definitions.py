"""What this host's NICs are called: /etc/libvirt/vepa/NAME.xml, one file a name.

The grammar is in xslt/host.rng; what people get wrong most is told here, in words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lxml import etree

from libvirt_vepa import documents
from libvirt_vepa.errors import HostError, VepaError, XmlError
from libvirt_vepa.model import HostInterface, HostType, Mode, check_definition_name, check_device_name

DIRECTORY = Path("/etc/libvirt/vepa")
FILES = re.compile(r"(?!\.).*\.xml")


def read(data: bytes, origin: str) -> HostInterface:
    """Return the definition that a document holds, in the canonical spelling or the proposal's.

    Raises XmlError, which names the line.
    """
    root = documents.parse(data, origin).getroot()
    with _at(origin, root):
        _check_attributes(root, {"type", "name"})
        if root.tag != "interface" or root.get("type") != "physical":
            raise XmlError(
                "this is not the definition of a physical interface", "begin with <interface type='physical'>"
            )
        if root.get("name") is None:
            raise XmlError("the interface has no name", "write <interface type='physical' name='…'>")
        name = check_definition_name(root.get("name"))
    found = _children(root, origin)
    with _at(origin, root):
        device, kind = _only(found, "source", "<source dev='…'/>"), _only(found, "type", "<type>ethernet</type>")
    return HostInterface(
        name=name,
        device=_value(device, "dev", origin, check_device_name),
        type=_value(kind, None, origin, HostType.parse),
        modes=tuple(mode for element in found["mode"] for mode in _modes(element, origin)),
        bridge=_value(found["bridge"][0], "name", origin, check_device_name) if found["bridge"] else None,
    )


def _children(root: Any, origin: str) -> dict[str, list[Any]]:
    """Sort the children by name; each but the mode may stand there once."""
    found: dict[str, list[Any]] = {"source": [], "type": [], "mode": [], "bridge": []}
    _check_text(root, root.text, origin)
    for child in root.iterchildren(tag=etree.Element):
        with _at(origin, child):
            if child.tag not in found:
                raise XmlError(f"unknown element <{child.tag}>", f"use {', '.join(found)}")
            if found[child.tag] and child.tag != "mode":
                raise XmlError(f"<{child.tag}> stands there twice", "keep one of them")
            if len(child):
                raise XmlError(f"<{child.tag}> has elements inside", "remove them")
        _check_text(child, child.tail, origin)
        found[child.tag].append(child)
    return found


def _check_text(element: Any, text: str | None, origin: str) -> None:
    """Refuse stray text; a remark in the proposal's manner (`// …`) is none."""
    stray = [piece for piece in (text or "").splitlines() if piece.strip() and not piece.strip().startswith("//")]
    if stray:
        with _at(origin, element):
            raise XmlError(f"stray text '{stray[0].strip()}'", "remove it, or make it a comment")


def _check_attributes(element: Any, known: set[str]) -> None:
    for name in element.attrib:
        if name not in known:
            raise XmlError(f"unknown attribute '{name}' of <{element.tag}>", "remove it")


def _only(found: dict[str, list[Any]], name: str, example: str) -> Any:
    if not found[name]:
        raise XmlError(f"<{name}> is missing", f"write {example}")
    return found[name][0]


def _value(element: Any, attribute: str | None, origin: str, read_value: Any) -> Any:
    """Read an element's one attribute, or its text where `attribute` is None."""
    with _at(origin, element):
        _check_attributes(element, {attribute} if attribute else set())
        text = element.get(attribute) if attribute else (element.text or "").strip()
        if text is None or (attribute and (element.text or "").strip()):
            raise XmlError(
                f"<{element.tag}> needs '{attribute}' and nothing else", f"write <{element.tag} {attribute}='…'/>"
            )
        if element.tag == "type" and "|" in text:
            raise XmlError(f"'{text}' is a choice of types", "name the one type that this NIC is")
        return read_value(text)


def _modes(element: Any, origin: str) -> list[Mode]:
    """Read one <mode>: a mode, several with `|` between, or nothing, which restricts nothing."""
    words = _value(element, None, origin, str)
    with _at(origin, element):
        modes = [Mode.parse(word.strip()) for word in words.split("|")] if words else []
        earlier = [mode for other in element.itersiblings("mode", preceding=True) for mode in _modes(other, origin)]
        for index, mode in enumerate(modes):
            if mode in (*earlier, *modes[:index]):
                raise XmlError(f"mode {mode.value} is listed twice", "list each mode once")
    return modes


@contextmanager
def _at(origin: str, element: Any) -> Iterator[None]:
    """Say of an error that comes out of this block, and has no place yet, that it is about this element's line."""
    try:
        yield
    except XmlError as error:
        raise error if error.where else error.within(documents.line(origin, element.sourceline)) from None


def write(host: HostInterface) -> bytes:
    """Return a definition as a canonical document."""
    root = etree.Element("interface", type="physical", name=host.name)
    etree.SubElement(root, "source", dev=host.device)
    etree.SubElement(root, "type").text = host.type.value
    for mode in host.modes:
        etree.SubElement(root, "mode").text = mode.value
    if host.bridge:
        etree.SubElement(root, "bridge", name=host.bridge)
    text: bytes = etree.tostring(root, pretty_print=True, encoding="UTF-8")
    return text


# -- the files


def define(data: bytes, origin: str, directory: Path | None = None) -> HostInterface:
    """Read a definition and keep it, in the place of an earlier one of that name.

    Raises XmlError where it cannot be read and HostError where it cannot be kept.
    """
    host = read(data, origin)
    path = _path(host.name, directory)
    beginning = path.with_name(f".{path.name}.new-{os.getpid()}")
    with _told(f"write {path}"):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            with open(beginning, "wb") as file:
                file.write(write(host))
                file.flush()
                os.fsync(file.fileno())
            beginning.replace(path)
        finally:
            beginning.unlink(missing_ok=True)
    return host


def load(name: str, directory: Path | None = None) -> HostInterface:
    """Return the definition of that name; HostError where there is none, XmlError where its file is damaged."""
    path = _path(name, directory)
    with _told(f"read {path}"):
        try:
            with open(path, "rb") as file:
                data = file.read(documents.LIMIT + 1)
        except FileNotFoundError:
            raise HostError(
                f"no physical interface '{name}' is defined on this host",
                "see 'libvirt-vepa iface-list', and define it with 'libvirt-vepa iface-define'",
            ) from None
    host = read(data, str(path))
    if host.name != name:
        raise XmlError(f"{path} defines '{host.name}'", "a file must be named after what it defines; define it anew")
    return host


def load_all(directory: Path | None = None) -> tuple[tuple[str, HostInterface | VepaError], ...]:
    """Return every name that has a file, in order, with its definition or with what is wrong with it."""
    folder = directory or DIRECTORY
    with _told(f"read {folder}"):
        try:
            names = sorted(entry.name for entry in folder.iterdir() if FILES.fullmatch(entry.name))
        except FileNotFoundError:
            return ()
    return tuple((name[:-4], _load_or_error(name[:-4], folder)) for name in names)


def _load_or_error(name: str, folder: Path) -> HostInterface | VepaError:
    try:
        return load(name, folder)
    except VepaError as error:
        return error


def undefine(name: str, directory: Path | None = None) -> None:
    """Forget a definition, damaged or not; HostError where there is none."""
    path = _path(name, directory)
    if not path.is_file():
        load(name, directory)
    with _told(f"remove {path}"):
        path.unlink()


def _path(name: str, directory: Path | None) -> Path:
    return (directory or DIRECTORY) / f"{check_definition_name(name)}.xml"


@contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"cannot {doing}: {error.strerror}", "see that you may, and that the disk is writable"
        ) from error
