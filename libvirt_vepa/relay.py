"""What passes between a client of libvirt's and the daemon, with each document translated on its way.

Bytes in, bytes out: who carries them is no matter. What holds nothing of ours passes as it came.
"""

from __future__ import annotations

from collections.abc import Callable

from libvirt_vepa import protocol, wire
from libvirt_vepa.errors import HostError, VepaError, WireError
from libvirt_vepa.wire import Frames, Header, Message, Status, Type

# In our metadata's namespace and in interfaces of type 'physical'.
MARK = b"physical"
ORIGIN = "the document"
# VIR_ERR_XML_ERROR, VIR_ERR_OPERATION_UNSUPPORTED and VIR_FROM_DOMAIN of libvirt/virterror.h, with libvirt's words.
XML_ERROR, UNSUPPORTED = (27, "XML error: %s"), (84, "Operation not supported: %s")
FROM_DOMAIN, LEVEL_ERROR = 20, 2
MINUS_ONE = b"\xff" * 4


class Relay:
    """One connection: what each side says, and what of it reaches the other."""

    def __init__(self) -> None:
        self._calls = Frames(self._is_call_with_document)
        self._replies = Frames(self._is_reply_with_document)
        # Serial numbers of calls whose reply will be a document.
        self._asked: set[int] = set()

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
        return bytes(to_daemon), bytes(to_client)

    def from_daemon(self, data: bytes) -> bytes:
        """Return what the client gets of this. Raises WireError."""
        pieces = self._replies.feed(data)
        return b"".join(piece if isinstance(piece, bytes) else _reply(piece).encode() for piece in pieces)

    def _is_call_with_document(self, header: Header) -> bool:
        if not _is(header, Type.CALL):
            return False
        if header.procedure in protocol.REPLIES:
            self._asked.add(header.serial)
        return header.procedure in protocol.CALLS

    def _is_reply_with_document(self, header: Header) -> bool:
        if not _is(header, Type.REPLY) or header.serial not in self._asked:
            return False
        self._asked.remove(header.serial)
        return header.status == Status.OK


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
        at = protocol.document_at(parts, payload)
        document = b"" if at is None else wire.string_at(payload, at)
    except WireError:
        # Whoever gets it may understand it, or say what is wrong.
        return message
    if at is None or MARK not in document:
        return message
    try:
        return Message(message.header, wire.with_string(payload, at, into(document, ORIGIN)))
    except VepaError as error:
        return _error(message, error)


# The translator, and with it lxml, is loaded for the first document that needs it.


def _stored(document: bytes, origin: str) -> bytes:
    from libvirt_vepa import translate

    return translate.to_stored(document, origin)


def _proposed(document: bytes, origin: str) -> bytes:
    from libvirt_vepa import translate

    return translate.to_proposed(document, origin)


def _refuse_request(document: bytes, origin: str) -> bytes:
    from libvirt_vepa import translate

    if translate.is_proposed(document, origin):
        raise HostError("a physical interface cannot be attached yet", "define it, then stop and start the guest")
    return document


def _error(message: Message, error: VepaError) -> Message:
    """Return the reply that libvirt would give for an error (struct virNetMessageError)."""
    code, words = UNSUPPORTED if isinstance(error, HostError) else XML_ERROR
    text = str(error).encode()
    payload = b"".join(
        (
            wire.WORD.pack(code),
            wire.WORD.pack(FROM_DOMAIN),
            wire.optional((words % str(error)).encode()),
            wire.WORD.pack(LEVEL_ERROR),
            wire.optional(None),
            wire.optional(words.encode()),
            wire.optional(text),
            wire.optional(None),
            MINUS_ONE,
            MINUS_ONE,
            wire.optional(None),
        )
    )
    return message.reply(payload, Status.ERROR)
