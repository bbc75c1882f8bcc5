# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's own wire: the messages that go over it (virnetprotocol.x of libvirt)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from libvirt_vepa.errors import ProtocolError
from libvirt_vepa.rpc.xdr import RECONNECT_REMEDY, WORD, word_at

# VIR_NET_MESSAGE_MAX does not count the length word that begins a message.
LENGTH_BYTES = 4
MESSAGE_MAX = 32 * 1024 * 1024 + LENGTH_BYTES
# VIR_NET_MESSAGE_NUM_FDS_MAX.
DESCRIPTORS_MAX = 32
FRAME = struct.Struct(">7I")


class Type(IntEnum):
    """What a message is (virNetMessageType)."""

    CALL = 0
    REPLY = 1
    CALL_WITH_DESCRIPTORS = 4
    REPLY_WITH_DESCRIPTORS = 5


WITH_DESCRIPTORS = frozenset({Type.CALL_WITH_DESCRIPTORS, Type.REPLY_WITH_DESCRIPTORS})


class Status(IntEnum):
    """How a call went (virNetMessageStatus)."""

    OK = 0
    ERROR = 1


class Header(NamedTuple):
    """Everything that stands before a message's payload, but for its length."""

    program: int
    version: int
    procedure: int
    type: int
    serial: int
    status: int

    @property
    def with_descriptors(self) -> bool:
        """Whether the payload begins with a number, and that many bytes follow, a descriptor with each."""
        return self.type in WITH_DESCRIPTORS


@dataclass(frozen=True)
class Message:
    """A whole message; `tail` are the bytes behind it that carry its descriptors (virNetSocketSendFD)."""

    header: Header
    payload: bytes
    tail: bytes = b""

    def __post_init__(self) -> None:
        """Raise ProtocolError where it is too long."""
        if FRAME.size + len(self.payload) > MESSAGE_MAX:
            raise ProtocolError(
                "the message would be longer than libvirt's protocol allows", "make the document smaller"
            )

    def encode(self) -> bytes:
        """Return the message as it goes over the wire."""
        return FRAME.pack(FRAME.size + len(self.payload), *self.header) + self.payload + self.tail

    def reply(self, payload: bytes, status: Status = Status.OK) -> Message:
        """Return the reply to this call."""
        return Message(self.header._replace(type=Type.REPLY, status=status), payload)


class Frames:
    """Cuts what comes over a wire into messages.

    `wanted` is asked about each message, as soon as its header is there, and always says the same. What it does not
    want passes in chunks, as it came, and is never kept for longer than a call of `feed`.
    Where `procedures` are given it is asked about no others; they may become more. It is asked about nothing that is
    longer than `longest`.
    """

    def __init__(
        self,
        wanted: Callable[[Header], bool],
        procedures: Collection[int] | None = None,
        longest: int = MESSAGE_MAX,
    ) -> None:
        self._wanted = wanted
        self._longest = longest
        self._procedures = procedures
        self._held = bytearray()
        self._passing = 0
        self._header: Header | None = None

    @property
    def remaining(self) -> int:
        """How many bytes of a message that has begun to pass are still to come: what may not be cut into."""
        return self._passing

    def feed(self, data: bytes) -> Iterable[bytes | Message]:
        """Return chunks to pass on and messages that were wanted, in order; must be used up before the next call.

        Raises ProtocolError for what is no message, when everything before that has been given.
        """
        return (data,) if self.passes(data) else self._cut(data)

    def passes(self, data: bytes) -> bool:
        """Tell whether all of this passes as it is; where it does not, nothing is changed: `feed` must be given it.

        Nearly all does: the rest of what passes, whole messages that nobody wants, the beginning of one.
        """
        if self._held or self._header:
            return False
        at, end, procedures = self._passing, len(data), self._procedures
        while at < end:
            if end - at < FRAME.size:
                return False
            words = FRAME.unpack_from(data, at)
            if words[4] in WITH_DESCRIPTORS or not FRAME.size <= words[0] <= MESSAGE_MAX:
                return False
            if (procedures is None or words[3] in procedures) and self._is_wanted(Header._make(words[1:]), words[0]):
                return False
            at += words[0]
        self._passing = at - end
        return True

    def _is_wanted(self, header: Header, length: int) -> bool:
        return length <= self._longest and self._wanted(header)

    def _see_who_wants(self, header: Header, length: int) -> None:
        named = self._procedures is None or header.procedure in self._procedures
        self._header = header if named and self._is_wanted(header, length) else None

    def _cut(self, data: bytes) -> Iterator[bytes | Message]:
        there, begin = self._joined(data), 0
        try:
            while True:
                end = self._passed(there, begin)
                if end > begin:
                    yield bytes(there[begin:end])
                    begin = end
                    continue
                length = self._length(there, begin)
                if self._header is None or len(there) - begin < length:
                    return
                yield self._whole(self._header, there, begin, length)
                self._header = None
                begin += length
        finally:
            self._keep(there, begin)

    def _passed(self, there: bytes | bytearray, at: int) -> int:
        """Return the end of what nobody wants from there on."""
        while True:
            step = min(self._passing, len(there) - at)
            self._passing -= step
            at += step
            if self._passing:
                return at
            try:
                self._passing = self._length(there, at)
            except ProtocolError:  # it is raised again when what stands before it has been given
                return at
            if self._header is not None:
                self._passing = 0
            if not self._passing:
                return at

    def _joined(self, data: bytes) -> bytes | bytearray:
        """Return what is there now; only what has begun already must be put together."""
        if not self._held:
            return data
        self._held += data
        return self._held

    def _keep(self, there: bytes | bytearray, at: int) -> None:
        if there is self._held:
            del self._held[:at]
        else:
            self._held += there[at:]

    def _length(self, there: bytes | bytearray, at: int) -> int:
        """Return the length, with its tail, of the message that begins there; see who wants it.

        It is 0 where what says so is not complete.
        """
        rest = len(there) - at
        if rest < WORD.size:
            return 0
        # As soon as it is there: whoever sends a bad one may send nothing more.
        length = word_at(there, at)
        if not FRAME.size <= length <= MESSAGE_MAX:
            raise ProtocolError(f"a message of {length} bytes is none of libvirt's", RECONNECT_REMEDY)
        if rest < FRAME.size:
            return 0
        header = self._header or Header._make(FRAME.unpack_from(there, at)[1:])
        if header.with_descriptors:
            if rest < FRAME.size + WORD.size <= length:
                return 0
            length += descriptors(bytes(there[at + FRAME.size : at + min(length, FRAME.size + WORD.size)]))
        if self._header is None:
            self._see_who_wants(header, word_at(there, at))
        return length

    @staticmethod
    def _whole(header: Header, there: bytes | bytearray, at: int, length: int) -> Message:
        size = word_at(there, at)
        return Message(header, bytes(there[at + FRAME.size : at + size]), bytes(there[at + size : at + length]))


def descriptors(payload: bytes) -> int:
    """Return how many come with a message that has such a payload. Raises ProtocolError where that cannot be."""
    count = word_at(payload, 0)
    if count > DESCRIPTORS_MAX:
        raise ProtocolError(f"a message with {count} descriptors is none of libvirt's", RECONNECT_REMEDY)
    return count
