# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's protocol a second time, written from remote_protocol.x and virnetprotocol.x with nothing of the package."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PROGRAM, QEMU_PROGRAM, KEEPALIVE = 0x20008086, 0x20008087, 0x6B656570
CALL, REPLY, EVENT, STREAM, CALL_WITH_FDS, REPLY_WITH_FDS = range(6)
OK, ERROR, CONTINUE = range(3)
LONGEST = 33554432 + 4
# The arguments of each procedure: `?` may be missing; `parameters` have documents among others, called so.
ARGUMENTS = {
    10: "xml flags",
    11: "xml",
    108: "?string hyper ?string hyper xml",
    136: "string xml flags",
    148: "hyper ?string hyper xml",
    185: "domain xml flags",
    213: "domain ?xml hyper ?string hyper",
    214: "string ?string hyper ?string hyper xml",
    215: "string hyper ?string hyper xml",
    216: "domain ?xml string ?string ?string hyper ?string hyper",
    232: "domain string ?xml flags",
    233: "string ?xml flags",
    236: "string xml flags",
    302: "domain parameters:destination_xml flags",
    303: "parameters:destination_xml string flags",
    304: "parameters:persistent_xml string flags",
    305: "domain ?string parameters:persistent_xml string flags",
    309: "xml flags",
    350: "xml flags",
    389: "domain ?xml flags",
    411: "domain xml flags",
    440: "domain parameters:dxml flags",
    441: "parameters:dxml flags",
}
# The same of those that are about a single device.
CHANGES = {8: "domain xml", 13: "domain xml", 160: "domain xml flags", 161: "domain xml flags", 174: "domain xml flags"}
REPLIES = {14, 135, 186, 235, 388, 412}
OPTIONAL = sorted(number for number, words in ARGUMENTS.items() if "?xml" in words or ":" in words)


class Frame(NamedTuple):
    """A message, and behind it one byte for each descriptor that comes with it."""

    program: int
    version: int
    procedure: int
    type: int
    serial: int
    status: int
    payload: bytes
    tail: bytes = b""

    def pack(self) -> bytes:
        return struct.pack(">7I", 28 + len(self.payload), *self[:6]) + self.payload + self.tail


class Error(NamedTuple):
    """struct virNetMessageError; `dom` and `net` are never sent."""

    code: int
    domain: int
    message: bytes | None
    level: int
    str1: bytes | None
    str2: bytes | None
    str3: bytes | None
    int1: int
    int2: int


def call(procedure: int, payload: bytes = b"", serial: int = 1, kind: int = CALL) -> Frame:
    return Frame(PROGRAM, 1, procedure, kind, serial, OK, payload)


def reply(procedure: int, payload: bytes = b"", serial: int = 1, status: int = OK) -> Frame:
    return Frame(PROGRAM, 1, procedure, REPLY, serial, status, payload)


def with_descriptors(frame: Frame, count: int) -> Frame:
    """Return the call or reply as the one that this many descriptors come with."""
    kind = {CALL: CALL_WITH_FDS, REPLY: REPLY_WITH_FDS}[frame.type]
    return frame._replace(type=kind, payload=struct.pack(">I", count) + frame.payload, tail=bytes(count))


def descriptors(data: bytes) -> int | None:
    """Return how many descriptors come with the message that begins there, as far as one can see; None if none may."""
    if len(data) < 28 or struct.unpack_from(">I", data, 16)[0] not in (CALL_WITH_FDS, REPLY_WITH_FDS):
        return 0
    if struct.unpack_from(">I", data)[0] < 32:
        return None
    count = int.from_bytes(data[28:32]) if len(data) >= 32 else 0
    return count if count <= 32 else None


def frames(data: bytes) -> Iterator[Frame]:
    """Yield the whole frames that data consists of."""
    while data:
        length, program, version, procedure, kind, serial, status = struct.unpack_from(">7I", data)
        end = length + (descriptors(data) or 0)
        assert 28 <= length <= end <= len(data), (length, len(data))
        yield Frame(program, version, procedure, kind, serial, status, data[28:length], data[length:end])
        data = data[end:]


def string(text: bytes) -> bytes:
    padded = text.ljust((len(text) + 3) // 4 * 4, b"\0")
    return struct.pack(">I", len(text)) + padded


def domain(name: bytes = b"web") -> bytes:
    return string(name) + bytes(range(16)) + struct.pack(">i", -1)


def arguments(procedure: int, document: bytes | None, text: bytes = b"/a file") -> tuple[bytes, bytes]:
    """Return what stands before the document (and the word that tells it is there), and the whole payload."""
    before, payload = b"", b""
    plain = {"domain": domain(text), "string": string(text), "hyper": bytes(range(8)), "flags": b"\0\0\0\x05"}
    plain["?string"] = struct.pack(">I", bool(text)) + (string(text) if text else b"")
    for word in (ARGUMENTS | CHANGES)[procedure].split():
        if word.startswith("parameters:"):
            ahead, whole = parameters(word.removeprefix("parameters:"), document, text)
            before, payload = payload + ahead, payload + whole
        elif word.endswith("xml"):
            payload += b"" if word == "xml" else struct.pack(">I", document is not None)
            before = payload
            payload += b"" if document is None else string(document)
        else:
            payload += plain[word]
    return before, payload


def parameters(name: str, document: bytes | None, text: bytes) -> tuple[bytes, bytes]:
    """Return typed parameters of all seven types, a document among them if given, and what stands before that."""
    values = (b"\0\0\0\x01", b"\0\0\0\x02", bytes(8), bytes(range(8)), bytes(8), b"\0\0\0\x01")
    others = [parameter(b"bandwidth", number, value) for number, value in enumerate(values, 1)]
    before, after = b"".join(others[:4]) + parameter(b"uri", 7, string(text)), b"".join(others[4:])
    if document is None:
        return b"", struct.pack(">I", 7) + before + after
    before = struct.pack(">I", 8) + before + parameter(name.encode(), 7, b"")
    return before, before + string(document) + after


def parameter(field: bytes, kind: int, value: bytes) -> bytes:
    """remote_typed_param."""
    return string(field) + struct.pack(">I", kind) + value


def error(payload: bytes) -> Error:
    """Return what a client understands of an error reply; there must be nothing behind it."""
    at = 0

    def number() -> int:
        nonlocal at
        at += 4
        return int(struct.unpack_from(">i", payload, at - 4)[0])

    def text() -> bytes | None:
        nonlocal at
        if not number():
            return None
        length = number()
        value = payload[at : at + length]
        assert len(value) == length <= 4 * 1024 * 1024
        at += (length + 3) // 4 * 4
        return value

    code, source, message, level = number(), number(), text(), number()
    assert number() == 0, "a domain stands there"
    values = Error(code, source, message, level, text(), text(), text(), number(), number())
    assert number() == 0 and at == len(payload), "a network stands there, or more"
    return values


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Yield the data in pieces of these sizes, again and again."""
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size
