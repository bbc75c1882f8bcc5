"""libvirt's own wire: messages, and the few XDR types that stand around an XML document.

Facts: virnetprotocol.x of libvirt for the frame and its bounds, RFC 4506 for XDR.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from libvirt_vepa.errors import WireError

# VIR_NET_MESSAGE_MAX does not count the length word that begins a message.
LENGTH_BYTES = 4
MESSAGE_MAX = 32 * 1024 * 1024 + LENGTH_BYTES
STRING_MAX = 4 * 1024 * 1024
UUID_BYTES = 16
HYPER_BYTES = 8
FRAME = struct.Struct(">7I")
WORD = struct.Struct(">I")
ANEW = "connect again, and report this if it happens again"
# virTypedParameterType of libvirt-common.h: how many bytes a value has, but for a string.
PARAMETER_STRING = 7
PARAMETER_BYTES = {1: 4, 2: 4, 3: 8, 4: 8, 5: 8, 6: 4}


class Type(IntEnum):
    """What a message is (virNetMessageType); the ones that carry descriptors are left out, as none do here."""

    CALL = 0
    REPLY = 1


class Status(IntEnum):
    """How a call went (virNetMessageStatus)."""

    OK = 0
    ERROR = 1


@dataclass(frozen=True)
class Header:
    """Everything that stands before a message's payload, but for its length."""

    program: int
    version: int
    procedure: int
    type: int
    serial: int
    status: int


@dataclass(frozen=True)
class Message:
    """A whole message."""

    header: Header
    payload: bytes

    def __post_init__(self) -> None:
        """Raise WireError where it is too long."""
        if FRAME.size + len(self.payload) > MESSAGE_MAX:
            raise WireError("the message would be longer than libvirt's protocol allows", "make the document smaller")

    def encode(self) -> bytes:
        """Return the message as it goes over the wire."""
        head, length = self.header, FRAME.size + len(self.payload)
        words = (length, head.program, head.version, head.procedure, head.type, head.serial, head.status)
        return FRAME.pack(*words) + self.payload

    def reply(self, payload: bytes, status: Status = Status.OK) -> Message:
        """Return the reply to this call."""
        return Message(replace(self.header, type=Type.REPLY, status=status), payload)


class Frames:
    """Cuts what comes over a wire into messages.

    `wanted` is asked once about each message, as soon as its header is there. What it does not
    want passes in chunks, as it came, and is never kept for longer than a call of `feed`.
    """

    def __init__(self, wanted: Callable[[Header], bool]) -> None:
        self._wanted = wanted
        self._held = bytearray()
        self._passing = 0
        self._header: Header | None = None

    @property
    def missing(self) -> int:
        """How many bytes of a message that has begun to pass are still to come: what may not be cut into."""
        return self._passing

    def feed(self, data: bytes) -> Iterator[bytes | Message]:
        """Yield chunks to pass on and messages that were wanted, in order. Raises WireError for what is no message."""
        held, begin, end = self._held, 0, 0
        held += data
        try:
            while True:
                step = min(self._passing, len(held) - end)
                self._passing -= step
                end += step
                length = 0 if self._passing else self._length(end)
                if not length:
                    break
                if self._header is None:
                    self._passing = length
                elif len(held) - end < length:
                    break
                else:
                    if end > begin:
                        yield bytes(held[begin:end])
                    yield Message(self._header, bytes(held[end + FRAME.size : end + length]))
                    self._header = None
                    begin = end = end + length
            if end > begin:
                yield bytes(held[begin:end])
        finally:
            del held[:end]

    def _length(self, at: int) -> int:
        """Return the length of the message that begins there, 0 where its header is not complete; see who wants it."""
        there = len(self._held) - at
        if there < WORD.size:
            return 0
        # As soon as it is there: whoever sends a bad one may send nothing more.
        length = word_at(self._held, at)
        if not FRAME.size <= length <= MESSAGE_MAX:
            raise WireError(f"a message of {length} bytes is none of libvirt's", ANEW)
        if there < FRAME.size:
            return 0
        if self._header is None:
            header = Header(*FRAME.unpack_from(self._held, at)[1:])
            self._header = header if self._wanted(header) else None
        return length


# -- XDR


def skip_string(payload: bytes, at: int) -> int:
    """Return where what follows a string begins. Raises WireError where the payload is too short for it."""
    return _span(payload, at)[1]


def string_at(payload: bytes, at: int) -> bytes:
    """Return the string that begins there. Raises WireError where the payload is too short for it."""
    return payload[at + WORD.size : _span(payload, at)[0]]


def _span(payload: bytes, at: int) -> tuple[int, int]:
    """Return where a string's bytes end, and where what follows begins: strings are filled up to four bytes."""
    length = word_at(payload, at)
    end = at + WORD.size + length
    filled = end + -length % WORD.size
    if length > STRING_MAX or filled > len(payload):
        raise WireError(f"a string of {length} bytes does not fit into its message", ANEW)
    return end, filled


def word_at(payload: bytes | bytearray, at: int) -> int:
    """Return the number that stands there. Raises WireError where the payload has ended."""
    if len(payload) - at < WORD.size:
        raise WireError("a message has ended too early", ANEW)
    return int(WORD.unpack_from(payload, at)[0])


def with_string(payload: bytes, at: int, text: bytes) -> bytes:
    """Return the payload with another string in the place of the one that begins there. Raises WireError."""
    return payload[:at] + string(text) + payload[skip_string(payload, at) :]


def string(text: bytes) -> bytes:
    """Return a string as XDR. Raises WireError where libvirt would not take one that long."""
    if len(text) > STRING_MAX:
        raise WireError("the translated document is longer than the 4 MiB that libvirt takes", "make it smaller")
    return WORD.pack(len(text)) + text + b"\0" * (-len(text) % WORD.size)


def optional(text: bytes | None) -> bytes:
    """Return a string that may be missing, as XDR."""
    return WORD.pack(0) if text is None else WORD.pack(1) + string(text)


def string_parameters(payload: bytes, at: int) -> Iterator[tuple[bytes, int]]:
    """Yield the typed parameters that are strings: what each is called, and where its value begins.

    The list of them begins there. Raises WireError where it is none.
    """
    count = word_at(payload, at)
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
            raise WireError(f"a parameter of type {kind} is none of libvirt's", ANEW)
