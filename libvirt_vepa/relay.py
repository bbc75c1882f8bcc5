"""What passes between a client of libvirt's and the daemon, with each document translated on its way.

Bytes in, bytes out: who carries them is no matter. What holds nothing of ours passes as it came.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from libvirt_vepa import protocol, wire
from libvirt_vepa.errors import HostError, VepaError, WireError, XmlError, not_installed
from libvirt_vepa.hand import Hand, no_hand
from libvirt_vepa.jobs import Ask, Errand, Job, Outcome
from libvirt_vepa.wire import Frames, Header, Message, Status, Type

# In our metadata's namespace and in interfaces of type 'physical'.
MARK = b"physical"
ORIGIN = "the document"
# VIR_ERR_XML_ERROR, VIR_ERR_OPERATION_FAILED and VIR_FROM_DOMAIN of libvirt/virterror.h, with libvirt's words.
XML_ERROR, FAILED = (27, "XML error: %s"), (9, "operation failed: %s")
FROM_DOMAIN = 20
# The serials of our own calls; a client counts from 0 and does not come that far.
OWN_SERIALS, LAST_SERIAL = 0xC0000000, 0xFFFFFFFF


class Lane:
    """One direction: what passes, and what is put between whole messages of it."""

    def __init__(self, wanted: Callable[[Header], bool], handle: Callable[[Message], bytes]) -> None:
        self._frames = Frames(wanted)
        self._handle = handle
        self._due = bytearray()

    def put(self, message: Message) -> None:
        """Let a message of our own pass as soon as no other is cut in two by it. Raises WireError."""
        self._due += message.encode()

    def pass_on(self, data: bytes) -> bytes:
        """Return what passes of this. Raises WireError."""
        end = self._frames.missing if self._due else 0
        if not end:
            return self._passed(data)
        rest = self._passed(data[:end])
        return rest + self.due() + self._passed(data[end:])

    def _passed(self, data: bytes) -> bytes:
        pieces = self._frames.feed(data)
        return b"".join(piece if isinstance(piece, bytes) else self._handle(piece) for piece in pieces)

    def due(self) -> bytes:
        """Return, once, the messages of our own that may pass now."""
        if self._frames.missing:
            return b""
        due = bytes(self._due)
        self._due.clear()
        return due


@dataclass
class Running:
    """A job that has begun, the call that began it, and the hand that it has been given."""

    job: Job
    call: Message
    hand: Hand | None = None


class Relay:
    """One connection: what each side says, and what of it reaches the other.

    `open_hand` gives a job the privileged hand, anew each time; it raises HostError where there is none.
    """

    def __init__(self, open_hand: Callable[[], Hand] = no_hand) -> None:
        self._ahead = Lane(_is_call_with_document, self._call)
        self._back = Lane(self._is_wanted_reply, self._reply)
        self._open_hand = open_hand
        # Jobs that wait for the daemon, by the serial of the call of our own; and for a hand, by its descriptor.
        self._waiting: dict[int, Running] = {}
        self._errands: dict[int, Running] = {}
        self._serial = OWN_SERIALS

    @property
    def busy(self) -> bool:
        """Whether a job has begun that has not ended."""
        return bool(self._waiting or self._errands)

    @property
    def hands(self) -> tuple[int, ...]:
        """The descriptors that `from_hand` is to be called for when they can be read."""
        return tuple(self._errands)

    def from_client(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the daemon gets of this, and what the client gets back at once. Raises WireError."""
        passed = self._ahead.pass_on(data)
        return passed + self._ahead.due(), self._back.due()

    def from_daemon(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the daemon is asked for next, and what the client gets of this. Raises WireError."""
        passed = self._back.pass_on(data)
        return self._ahead.due(), passed + self._back.due()

    def from_hand(self, descriptor: int) -> tuple[bytes, bytes]:
        """Read what a hand says; return what the daemon and the client get then."""
        running = self._errands[descriptor]
        outcome = running.hand.hear() if running.hand else {}
        if outcome is not None:
            del self._errands[descriptor]
            self._go_on(running, outcome)
        return self._ahead.due(), self._back.due()

    def _call(self, message: Message) -> bytes:
        try:
            job = _job(message)
        except VepaError as error:
            self._back.put(_error(message, error))
            return b""
        if job is not None:
            self._go_on(Running(job, message), None)
            return b""
        translated = _call(message)
        if translated.header.type == Type.CALL:
            return translated.encode()
        self._back.put(translated)
        return b""

    def _is_wanted_reply(self, header: Header) -> bool:
        return _is_reply_with_document(header) or (_is(header, Type.REPLY) and header.serial in self._waiting)

    def _reply(self, message: Message) -> bytes:
        running = self._waiting.pop(message.header.serial, None)
        if running is None:
            return _reply(message).encode()
        self._go_on(running, message)
        return b""

    def _go_on(self, running: Running, came: Message | Outcome | None) -> None:
        """Let a job go on with what came, until it waits again or answers its call."""
        try:
            step = next(running.job) if came is None else running.job.send(came)
            if isinstance(step, Ask):
                self._ask(step, running)
            else:
                self._run(step, running)
            return
        except StopIteration as end:
            answer = running.call.reply(end.value.payload, end.value.header.status)
        except VepaError as error:
            answer = _error(running.call, error)
        self._back.put(answer)
        if running.hand:
            running.hand.close()

    def _ask(self, ask: Ask, running: Running) -> None:
        self._serial = self._serial + 1 if self._serial < LAST_SERIAL else OWN_SERIALS
        self._waiting[self._serial] = running
        header = Header(protocol.PROGRAM, protocol.VERSION, ask.procedure, Type.CALL, self._serial, Status.OK)
        self._ahead.put(Message(header, ask.payload))

    def _run(self, errand: Errand, running: Running) -> None:
        try:
            running.hand = running.hand or self._open_hand()
            running.hand.say(errand)
        except HostError as error:
            self._go_on(running, {"error": str(error)})
        else:
            self._errands[running.hand.fileno()] = running


def _job(message: Message) -> Job | None:
    """Return the job that a call begins, None for one that only passes. Raises XmlError or HostError."""
    begin = JOBS.get(message.header.procedure)
    if begin is None or not any(mark in message.payload for mark in begin.marks):
        return None
    try:
        job: Job | None = getattr(_loaded(begin.module), begin.function)(message)
    except WireError:
        # Whoever gets it may understand it, or say what is wrong.
        return None
    return job


def _is_call_with_document(header: Header) -> bool:
    return _is(header, Type.CALL) and (header.procedure in protocol.CALLS or header.procedure in JOBS)


def _is_reply_with_document(header: Header) -> bool:
    # A reply names its procedure, and clients insist on that, so no call need be remembered.
    return _is(header, Type.REPLY) and header.status == Status.OK and header.procedure in protocol.REPLIES


def _is(header: Header, kind: Type) -> bool:
    return (header.program, header.version, header.type) == (protocol.PROGRAM, protocol.VERSION, kind)


def _call(message: Message) -> Message:
    """Return the call with its document as libvirt stores it, or the reply that says why that cannot be."""
    parts = protocol.CALLS.get(message.header.procedure)
    return message if parts is None else _translated(message, parts, _stored)


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
    stored: bytes = _loaded("translate").to_stored(document, origin)
    return stored


def _proposed(document: bytes, origin: str) -> bytes:
    proposed: bytes = _loaded("translate").to_proposed(document, origin)
    return proposed


def _loaded(name: str) -> ModuleType:
    """Load what needs lxml, for the first document that needs it. Raises HostError where that is not installed."""
    try:
        return importlib.import_module(f"{__package__}.{name}")
    except (ImportError, SyntaxError) as error:
        raise not_installed(error) from error


def _error(message: Message, error: VepaError) -> Message:
    """Return the reply that libvirt would give for an error."""
    code, words = XML_ERROR if isinstance(error, XmlError | WireError) else FAILED
    return message.reply(protocol.error(code, FROM_DOMAIN, words, str(error)), Status.ERROR)


@dataclass(frozen=True)
class Begin:
    """Which function begins the job of a call, if one of these is in it; it may find that the call only passes."""

    module: str
    function: str
    marks: tuple[bytes, ...]


# By procedure; the marks of a detach take in what is stored, without a word of ours.
JOBS: Mapping[int, Begin] = {
    protocol.ATTACH: Begin("hotplug", "attach", (MARK,)),
    protocol.ATTACH_FLAGS: Begin("hotplug", "attach", (MARK,)),
    protocol.DETACH: Begin("hotplug", "detach", (MARK, b"<interface")),
    protocol.DETACH_FLAGS: Begin("hotplug", "detach", (MARK, b"<interface")),
    protocol.UPDATE: Begin("hotplug", "update", (MARK,)),
    protocol.DETACH_ALIAS: Begin("hotplug", "detach_alias", (b"",)),
}
