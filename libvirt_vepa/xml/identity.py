# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who a guest is, from a document that libvirt has written, whatever else stands in it: no parser is needed.

Nothing that its owner can write is read: libvirt has name and UUID before all else
(virDomainDefFormatInternalSetRootName), and escapes what stands in texts.
"""

from __future__ import annotations

from libvirt_vepa.errors import XmlError

ORIGIN = "the guest's XML"
# What virBufferEscapeString writes. An ampersand last: what it begins is no escape then.
ESCAPES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))


def read(data: bytes) -> tuple[str, str]:
    """Return the UUID and the name of the guest that a domain's XML describes. Raises XmlError without a UUID."""
    uuid = _text(data, b"uuid")
    if not uuid:
        raise XmlError("<uuid> is missing", "give the domain's XML as libvirt writes it", ORIGIN)
    return uuid, name_of(data)


def name_of(data: bytes) -> str:
    """Return the guest's name, "" where there is none."""
    text = _text(data, b"name")
    for escape, character in ESCAPES:
        text = text.replace(escape, character)
    return text


def _text(data: bytes, tag: bytes) -> str:
    return data.partition(b"<%s>" % tag)[2].partition(b"<")[0].decode(errors="replace")
