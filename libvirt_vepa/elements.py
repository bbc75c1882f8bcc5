# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The elements of a definition, each read with an error that names its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from libvirt_vepa import documents
from libvirt_vepa.errors import XmlError

EXAMPLES = {
    "source": "<source dev='eth0'/>",
    "address": "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>",
    "type": "<type>ethernet</type>",
    "bridge": "<bridge name='br0'/>",
    "vlan": "<vlan><tag id='42'/></vlan>",
    "tag": "<tag id='42'/>",
}

Value = TypeVar("Value")


@contextmanager
def at(element: Any, origin: str) -> Iterator[None]:
    """Say of an error that it is about this element's line."""
    try:
        yield
    except XmlError as error:
        raise error.within(documents.line(origin, element.sourceline)) from None


def only(parent: Any, tag: str, origin: str) -> Any:
    """Return the one child of that name."""
    found = optional(parent, tag, origin)
    with at(parent, origin):
        if found is None:
            raise XmlError(f"<{tag}> is missing", f"write {EXAMPLES[tag]}")
    return found


def optional(parent: Any, tag: str, origin: str) -> Any | None:
    """Return the one child of that name, None where there is none."""
    found = parent.findall(tag)
    if len(found) > 1:
        with at(found[1], origin):
            raise XmlError(f"<{tag}> stands there twice", "keep one of them")
    return found[0] if found else None


def attribute(element: Any, name: str, origin: str, read_value: Callable[[str], Value]) -> Value:
    """Read an attribute that must be there."""
    with at(element, origin):
        text = element.get(name)
        if text is None:
            example = EXAMPLES.get(element.tag, "<interface type='physical' name='lan'>")
            raise XmlError(f"<{element.tag}> has no '{name}'", f"write {example}")
        return read_value(text)


def word(element: Any, origin: str, read_value: Callable[[str], Value]) -> Value:
    """Read the text of an element, comments left out."""
    with at(element, origin):
        if element.find("*") is not None:
            raise XmlError(f"<{element.tag}> has elements inside", "write only its value")
        return read_value("".join(element.xpath("text()")).strip())
