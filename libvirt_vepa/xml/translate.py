# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""From what people write to what libvirt stores, and back: the stylesheets of xslt/, run with lxml.

What a stylesheet cannot know is given to it (a MAC that is generated), and what cannot be meant is refused
first. A document in which nothing has to change comes back as it was, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from lxml import etree

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.interface import NicDefinition
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import validate

DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?(<\?xml\s[^>]*\?>)")
ENCODING = re.compile(rb"(encoding\s*=\s*['\"])(?!(?i:utf-8)['\"])[^'\"]*")
# How libxml2 writes XML: it escapes every '<', '>' and '"' inside a value.
TOKEN = re.compile(rb"<!--.*?-->|<\?.*?\?>|<[^>]*>", re.DOTALL)
VALUE = re.compile(rb'="([^"]*)"')

Parse = Callable[[bytes, str], Any]


def to_stored(data: bytes, origin: str) -> bytes:
    """Return the document as libvirt stores it: legal ethernet interfaces, the requests in the metadata.

    Of a document that is a single interface (hotplug) it is the interface; `split` gives the
    request too. `origin` is what messages call the document. Raises XmlError, with the line, the
    guest and the remedy, for what cannot be meant.
    """
    tree, text = documents.read(data, origin)
    ours = validate.find(tree, origin)
    if ours is None:
        return data
    validate.check(ours, origin)
    return _run("stored.xsl", tree, text, macs=_macs(ours))


def to_proposed(data: bytes, origin: str) -> bytes:
    """Return the document as people write it: the inverse of `to_stored`.

    What is written in the proposal's own spelling comes back well-formed. Raises XmlError where it
    is no XML, or where a request holds what this version does not know.
    """
    tree, text = documents.read(data, origin)
    return data if validate.find(tree, origin) is None else _run("proposed.xsl", tree, text)


def to_native(data: bytes, origin: str, hosts: Iterable[NicDefinition]) -> bytes:
    """Return the document with libvirt's own direct and bridge interfaces, for hosts without the hook.

    `hosts` are the definitions of that host. Raises XmlError as `to_stored` does, and where a name
    is not among them or does not give what is asked.
    """
    proposed = to_proposed(data, origin)
    if proposed != data:
        origin += " in the proposed form"
    tree, text = documents.read(proposed, origin)
    ours = validate.find(tree, origin)
    if ours is None:
        return proposed
    validate.check(ours, origin)
    known = {definition.name: definition for definition in hosts}
    validate.check_known(ours, origin, known)
    # A definition's name has no '=' and a device's no ':'.
    words = (
        f"{definition.name}={definition.device}:{definition.allowed[0].value}:{definition.bridge or ''}"
        for definition in known.values()
    )
    return _run("native.xsl", tree, text, hosts=" ".join(words))


def is_proposed(data: bytes, origin: str, parse: Parse = documents.parse) -> bool:
    """Tell whether a document holds a request in the proposed form. Raises XmlError where it is no XML.

    `parse` is `documents.parse_libvirts` for what libvirt has written.
    """
    return any(map(validate.is_physical, validate.find(parse(data, origin), origin) or ()))


def lines(data: bytes, origin: str) -> tuple[int, ...]:
    """Return the lines on which our interfaces begin, in document order, as the author counts. Raises XmlError."""
    return tuple(interface.sourceline for interface in validate.find(documents.parse(data, origin), origin) or ())


def split(data: bytes, origin: str) -> tuple[bytes, bytes]:
    """Return both parts of a document that is a single interface (hotplug): the legal interface, and the request.

    The request is the whole metadata element, for libvirt's metadata call. Raises XmlError.
    """
    tree, text = documents.read(data, origin)
    ours = validate.find(tree, origin)
    if not ours or ours[0] is not tree.getroot():
        raise XmlError("this is no single physical interface", "begin with <interface type='physical'>", origin)
    validate.check(ours, origin)
    macs = _macs(ours)
    return _run("stored.xsl", tree, text, macs=macs), _run("stored.xsl", tree, text, macs=macs, part="request")


def _macs(ours: list[Any]) -> str:
    return " ".join(str(MacAddress.generate()) for interface in ours if interface.find("mac") is None)


# -- the stylesheets


def _run(stylesheet: str, tree: Any, data: bytes, **parameters: str) -> bytes:
    """Run a stylesheet over a document; `data` is what the document was read from."""
    root, quoted = tree.getroot(), {name: etree.XSLT.strparam(value) for name, value in parameters.items()}
    result = _stylesheet(stylesheet)(tree, **quoted).getroot()
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
def _stylesheet(name: str) -> Any:
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
