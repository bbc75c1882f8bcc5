# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The few XDR types that stand around an XML document (RFC 4506; remote_protocol.x of libvirt for the bounds)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from libvirt_vepa.errors import ProtocolError

STRING_MAX = 4 * 1024 * 1024
UUID_BYTES = 16
HYPER_BYTES = 8
WORD = struct.Struct(">I")
RECONNECT_REMEDY = "connect again, and report this if it happens again"
# virTypedParameterType of libvirt-common.h: how many bytes a value has, but for a string.
PARAMETER_STRING = 7
PARAMETER_BYTES = {1: 4, 2: 4, 3: 8, 4: 8, 5: 8, 6: 4}
# libvirt 11.3 takes 64 at most where a document is among them; a message could hold millions.
PARAMETERS_MAX = 1024


def skip_string(payload: bytes, at: int) -> int:
    """Return where what follows a string begins. Raises ProtocolError where the payload is too short for it."""
    return _span(payload, at)[1]


def string_at(payload: bytes, at: int) -> bytes:
    """Return the string that begins there. Raises ProtocolError where the payload is too short for it."""
    return payload[at + WORD.size : _span(payload, at)[0]]


def _span(payload: bytes, at: int) -> tuple[int, int]:
    """Return where a string's bytes end, and where what follows begins: strings are filled up to four bytes."""
    length = word_at(payload, at)
    end = at + WORD.size + length
    filled = end + -length % WORD.size
    if length > STRING_MAX or filled > len(payload):
        raise ProtocolError(f"a string of {length} bytes does not fit into its message", RECONNECT_REMEDY)
    return end, filled


def strings_at(payload: bytes, at: int, count: int) -> tuple[bytes, ...]:
    """Return strings that stand one after the other. Raises ProtocolError where the payload is too short for them."""
    found = []
    for _ in range(count):
        found.append(string_at(payload, at))
        at = skip_string(payload, at)
    return tuple(found)


def word_at(payload: bytes | bytearray, at: int) -> int:
    """Return the number that stands there. Raises ProtocolError where the payload has ended."""
    if len(payload) - at < WORD.size:
        raise ProtocolError("a message has ended too early", RECONNECT_REMEDY)
    return int(WORD.unpack_from(payload, at)[0])


def with_string(payload: bytes, at: int, text: bytes) -> bytes:
    """Return the payload with another string in the place of the one that begins there. Raises ProtocolError."""
    return payload[:at] + string(text) + payload[skip_string(payload, at) :]


def string(text: bytes) -> bytes:
    """Return a string as XDR. Raises ProtocolError where libvirt would not take one that long."""
    if len(text) > STRING_MAX:
        raise ProtocolError("the translated document is longer than the 4 MiB that libvirt takes", "make it smaller")
    return WORD.pack(len(text)) + text + b"\0" * (-len(text) % WORD.size)


def array(items: Sequence[bytes]) -> bytes:
    """Return an array of what is XDR already."""
    return WORD.pack(len(items)) + b"".join(items)


def optional(text: bytes | None) -> bytes:
    """Return a string that may be missing, as XDR."""
    return WORD.pack(0) if text is None else WORD.pack(1) + string(text)


def string_parameters(payload: bytes, at: int) -> Iterator[tuple[bytes, int]]:
    """Yield the typed parameters that are strings: what each is called, and where its value begins.

    The list of them begins there. Raises ProtocolError where it is none.
    """
    count = word_at(payload, at)
    if count > PARAMETERS_MAX:
        raise ProtocolError(f"{count} parameters are more than libvirt takes", RECONNECT_REMEDY)
    at += WORD.size
    for _ in range(count):
        field, kind_at = string_at(payload, at), skip_string(payload, at)
        kind, at = word_at(payload, kind_at), kind_at + WORD.size
        if kind == PARAMETER_STRING:
            yield field, at
            at = skip_string(payload, at)
        elif kind in PARAMETER_BYTES:
            at += PARAMETER_BYTES[kind]
        else:
            raise ProtocolError(f"a parameter of type {kind} is none of libvirt's", RECONNECT_REMEDY)
