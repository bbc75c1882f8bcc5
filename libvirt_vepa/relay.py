"""What passes between a client of libvirt's and the daemon, with each document translated on its way.

Bytes in, bytes out: who carries them is no matter. What holds nothing of ours passes as it came.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Relay:
    """One connection: what each side says, and what of it reaches the other."""

    def __init__(self) -> None:
        self._calls = Frames(_is_call_with_document)
        self._replies = Frames(_is_reply_with_document)
        # Replies of our own that wait for the end of a message that has begun to pass.
        self._due = bytearray()

    def from_client(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the daemon gets of this, and what the client gets back at once. Raises WireError."""
        to_daemon, to_client = bytearray(), bytearray()
        for piece in self._calls.feed(data):
            if isinstance(piece, bytes):
                to_daemon += piece
                continue
            message = _call(piece)
            side = to_daemon if message.header.type == Type.CALL else to_client
            side += message.encode()
        self._due += to_client
        return bytes(to_daemon), b"" if self._replies.missing else self._take_due()

    def from_daemon(self, data: bytes) -> bytes:
        """Return what the client gets of this. Raises WireError."""
        if not self._due:
            return self._passed(data)
        end = self._replies.missing
        rest = self._passed(data[:end])
        return rest if self._replies.missing else rest + self._take_due() + self._passed(data[end:])

    def _passed(self, data: bytes) -> bytes:
        pieces = self._replies.feed(data)
        return b"".join(piece if isinstance(piece, bytes) else _reply(piece).encode() for piece in pieces)

    def _take_due(self) -> bytes:
        due = bytes(self._due)
        self._due.clear()
        return due


def _is_call_with_document(header: Header) -> bool:
    return _is(header, Type.CALL) and header.procedure in protocol.CALLS


def _is_reply_with_document(header: Header) -> bool:
    # A reply names its procedure, and clients insist on that, so no call need be remembered.
    return _is(header, Type.REPLY) and header.status == Status.OK and header.procedure in protocol.REPLIES


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
        documents = [(at, wire.string_at(payload, at)) for at in protocol.documents_at(parts, payload)]
    except WireError:
        # Whoever gets it may understand it, or say what is wrong.
        return message
    try:
        # From the end, so that those before stay where they are.
        for at, document in reversed(documents):
            if MARK in document:
                payload = wire.with_string(payload, at, into(document, ORIGIN))
        return Message(message.header, payload)
    except VepaError as error:
        return _error(message, error)


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


def _error(message: Message, error: VepaError) -> Message:
    """Return the reply that libvirt would give for an error (struct virNetMessageError)."""
    code, words = UNSUPPORTED if isinstance(error, HostError) else XML_ERROR
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
