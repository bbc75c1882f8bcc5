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
# The arguments of each procedure: `?` may be missing.
ARGUMENTS = {
    10: "xml flags",
    11: "xml",
    136: "string xml flags",
    185: "domain xml flags",
    232: "domain string ?xml flags",
    233: "string ?xml flags",
    236: "string xml flags",
    309: "xml flags",
    350: "xml flags",
    389: "domain ?xml flags",
    411: "domain xml flags",
}
# The same of those that are about a single device.
CHANGES = {8: "domain xml", 13: "domain xml", 160: "domain xml flags", 161: "domain xml flags", 174: "domain xml flags"}
REPLIES = {14, 135, 186, 235, 388, 412}
OPTIONAL = sorted(number for number, words in ARGUMENTS.items() if "?xml" in words)


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
        length, *words = struct.unpack_from(">7I", data)
        end = length + (descriptors(data) or 0)
        assert 28 <= length <= end <= len(data), (length, len(data))
        yield Frame(*words, data[28:length], data[length:end])
        data = data[end:]


def string(text: bytes) -> bytes:
    padded = text.ljust((len(text) + 3) // 4 * 4, b"\0")
    return struct.pack(">I", len(text)) + padded


def domain(name: bytes = b"web") -> bytes:
    return string(name) + bytes(range(16)) + struct.pack(">i", -1)


def arguments(procedure: int, document: bytes | None, text: bytes = b"/a file") -> tuple[bytes, bytes]:
    """Return what stands before the document (and the word that tells it is there), and the whole payload."""
    before, payload = b"", b""
    for word in (ARGUMENTS | CHANGES)[procedure].split():
        if word.endswith("xml"):
            payload += b"" if word == "xml" else struct.pack(">I", document is not None)
            before = payload
            payload += b"" if document is None else string(document)
        else:
            payload += {"domain": domain(text), "string": string(text), "flags": b"\0\0\0\x05"}[word]
    return before, payload


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
