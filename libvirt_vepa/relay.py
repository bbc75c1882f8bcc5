"""What passes between a client of libvirt's and the daemon, with each document translated on its way.

Bytes in, bytes out: who carries them is no matter. What holds nothing of ours passes as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from libvirt_vepa import protocol, wire
from libvirt_vepa.errors import HostError, VepaError, WireError, not_installed
from libvirt_vepa.wire import Frames, Header, Message, Status, Type

# In our metadata's namespace and in interfaces of type 'physical'.
MARK = b"physical"
ORIGIN = "the document"
# VIR_ERR_XML_ERROR, VIR_ERR_OPERATION_UNSUPPORTED and VIR_FROM_DOMAIN of libvirt/virterror.h, with libvirt's words.
XML_ERROR, UNSUPPORTED = (27, "XML error: %s"), (84, "Operation not supported: %s")
FROM_DOMAIN, LEVEL_ERROR = 20, 2
# What quotes a document may be as long as one, and longer than libvirt takes.
TEXT_MAX = 4096
MINUS_ONE = b"\xff" * 4


class CutError(WireError):
    """A side has stopped to follow the protocol."""

    # What the daemon and the client still get.
    before: tuple[bytes, bytes] = b"", b""


class Relay:
    """One connection: what each side says, and what of it reaches the other."""

    def __init__(self) -> None:
        self._calls = Frames(_is_call_with_document)
        self._replies = Frames(_is_reply_with_document)
        # Replies of our own that wait for the end of a message that has begun to pass.
        self._due = bytearray()
        self._lost = 0

    @property
    def waiting(self) -> int:
        """How many bytes for the client are kept here."""
        return len(self._due)

    def take_lost(self) -> int:
        """Return how many of the client's descriptors belong to calls that were refused since the last time."""
        lost, self._lost = self._lost, 0
        return lost

    def from_client(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the daemon gets of this, and what the client gets back at once. Raises CutError."""
        if self._calls.passes(data):
            return data, self._take_due()
        ahead: list[bytes] = []
        try:
            for piece in self._calls.feed(data):
                ahead.append(piece if isinstance(piece, bytes) else self._called(piece))
        except WireError as error:
            raise _cut(error, b"".join(ahead), self._take_due()) from error
        return b"".join(ahead), self._take_due()

    def from_daemon(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the daemon gets back at once, and what the client gets of this. Raises CutError."""
        if not self._due and self._replies.passes(data):
            return b"", data
        back: list[bytes] = []
        try:
            if self._due:
                end = self._replies.missing
                self._reply(data[:end], back)
                back.append(self._take_due())
                data = data[end:]
            self._reply(data, back)
        except WireError as error:
            raise _cut(error, b"", b"".join(back)) from error
        return b"", b"".join(back)

    def _called(self, call: Message) -> bytes:
        """Return what the daemon gets of a call."""
        message = _call(call)
        if message.header.type == call.header.type:
            return message.encode()
        self._due += message.encode()
        self._lost += len(call.tail)
        return b""

    def _reply(self, data: bytes, back: list[bytes]) -> None:
        for piece in self._replies.feed(data):
            back.append(piece if isinstance(piece, bytes) else _reply(piece).encode())

    def _take_due(self) -> bytes:
        """Return the replies of our own, unless they would cut into a message."""
        if not self._due or self._replies.missing:
            return b""
        due = bytes(self._due)
        self._due.clear()
        return due


def _cut(error: WireError, to_daemon: bytes, to_client: bytes) -> CutError:
    cut = CutError(error.what, error.remedy, *error.where)
    cut.before = to_daemon, to_client
    return cut


def _is_call_with_document(header: Header) -> bool:
    return header.procedure in protocol.CALLS and (_is(header, Type.CALL) or _is(header, Type.CALL_WITH_DESCRIPTORS))


def _is_reply_with_document(header: Header) -> bool:
    # A reply names its procedure, and clients insist on that, so no call need be remembered.
    return header.procedure in protocol.REPLIES and _is(header, Type.REPLY) and header.status == Status.OK


def _is(header: Header, kind: Type) -> bool:
    return (header.program, header.version, header.type) == (protocol.PROGRAM, protocol.VERSION, kind)


def _call(message: Message) -> Message:
    """Return the call with its document as libvirt stores it, or the reply that says why that cannot be."""
    into = _refuse_request if message.header.procedure in protocol.ATTACH else _stored
    return _translated(message, protocol.CALLS[message.header.procedure], into)


def _reply(message: Message) -> Message:
    """Return the reply with its document as people write it."""
    return _translated(message, (), _proposed)


def _translated(message: Message, parts: tuple[protocol.Part, ...], into: Callable[[bytes, str], bytes]) -> Message:
    payload = message.payload
    try:
        at = protocol.document_at(parts, payload, wire.WORD.size if message.header.with_descriptors else 0)
        document = b"" if at is None else wire.string_at(payload, at)
    except WireError:
        # Whoever gets it may understand it, or say what is wrong.
        return message
    if at is None or MARK not in document:
        return message
    try:
        return replace(message, payload=wire.with_string(payload, at, into(document, ORIGIN)))
    except VepaError as error:
        code, words = UNSUPPORTED if isinstance(error, HostError) else XML_ERROR
        return error_reply(message, error, code, words)


def _stored(document: bytes, origin: str) -> bytes:
    stored: bytes = _translator().to_stored(document, origin)
    return stored


def _proposed(document: bytes, origin: str) -> bytes:
    proposed: bytes = _translator().to_proposed(document, origin)
    return proposed


def _refuse_request(document: bytes, origin: str) -> bytes:
    if _translator().is_proposed(document, origin):
        raise HostError("a physical interface cannot be attached yet", "define it, then stop and start the guest")
    return document


def _translator() -> ModuleType:
    """Load it, and with it lxml, for the first document that needs it. Raises HostError where it is not installed."""
    try:
        from libvirt_vepa import translate
    except (ImportError, SyntaxError) as error:
        raise not_installed(error) from error
    return translate


def error_reply(message: Message, error: VepaError, code: int, words: str) -> Message:
    """Return the reply that libvirt would give for an error (struct virNetMessageError), by its code and words."""
    text = str(error)[:TEXT_MAX]
    payload = b"".join(
        (
            wire.WORD.pack(code),
            wire.WORD.pack(FROM_DOMAIN),
            wire.optional((words % text).encode()),
            wire.WORD.pack(LEVEL_ERROR),
            wire.optional(None),
            wire.optional(words.encode()),
            wire.optional(text.encode()),
            wire.optional(None),
            MINUS_ONE,
            MINUS_ONE,
            wire.optional(None),
        )
    )
    return message.reply(payload, Status.ERROR)
