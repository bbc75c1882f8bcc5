# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Netlink attributes as bytes: a length, a type and a value, which may be attributes again (linux/netlink.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=HH")
NLA_TYPE_MASK = 0x3FFF


def pack(kind: int, *values: bytes) -> bytes:
    """Return an attribute of that type, padded, whose value is `values` one after the other."""
    value = b"".join(values)
    return HEADER.pack(HEADER.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def unpack(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type, without its flags, and value of the attributes in `data`."""
    while len(data) >= HEADER.size:
        length, kind = HEADER.unpack_from(data)
        yield kind & NLA_TYPE_MASK, data[HEADER.size : length]
        data = data[max(HEADER.size, (length + 3) & ~3) :]


def text(value: bytes) -> str:
    """Return the text that an attribute holds."""
    return value.rstrip(b"\0").decode("ascii", "replace")
