# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What passes between a client of libvirt's and the daemon, with each document translated on its way.

Bytes in, bytes out: who carries them is no matter. What holds nothing of ours passes as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from libvirt_vepa import messages, protocol
from libvirt_vepa.errors import HostError, VepaError, WireError
from libvirt_vepa.hand import Hand, no_hand
from libvirt_vepa.jobs import Ask, Errand, Job, Outcome
from libvirt_vepa.messages import MARK
from libvirt_vepa.wire import Frames, Header, Message, Status, Type

# The serials of our own calls; a client counts from 0 and does not come that far.
OWN_SERIALS, LAST_SERIAL = 0xC0000000, 0xFFFFFFFF
# What the daemon and the client get.
Both = tuple[bytes, bytes]


class CutError(WireError):
    """A side has stopped to follow the protocol."""

    # What the daemon and the client still get.
    before: Both = b"", b""


class Lane:
    """One direction: what passes, and what is put between whole messages of it."""

    def __init__(
        self, wanted: Callable[[Header], bool], procedures: Collection[int], handle: Callable[[Message], bytes]
    ) -> None:
        self._frames = Frames(wanted, procedures)
        self._handle = handle
        self._due = bytearray()

    @property
    def waiting(self) -> int:
        """How many bytes of our own wait for the end of a message."""
        return len(self._due)

    def passes(self, data: bytes) -> bool:
        """Tell whether all of this passes as it is; where not, it must be given to `pass_on`."""
        return not self._due and self._frames.passes(data)

    def put(self, message: Message) -> None:
        """Let a message of our own pass as soon as no other is cut in two by it. Raises WireError."""
        self._due += message.encode()

    def pass_on(self, data: bytes, passed: list[bytes]) -> None:
        """Append what passes of this. Raises WireError when what stands before the error has been appended."""
        end = self._frames.missing if self._due else 0
        if end:
            self._pass(data[:end], passed)
            passed.append(self.due())
        self._pass(data[end:], passed)
        # One piece alone need not be joined, which would copy it.
        if due := self.due():
            passed.append(due)

    def _pass(self, data: bytes, passed: list[bytes]) -> None:
        for piece in self._frames.feed(data):
            passed.append(piece if isinstance(piece, bytes) else self._handle(piece))

    def due(self) -> bytes:
        """Return, once, the messages of our own that may pass now."""
        if not self._due or self._frames.missing:
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
    `read_only` is whether the client opened the connection so.
    """

    def __init__(self, open_hand: Callable[[], Hand] = no_hand, read_only: bool = False) -> None:
        # The procedures whose replies are looked at: more once a job has called them.
        self._heard = set(protocol.REPLIES)
        self._ahead = Lane(_is_wanted_call, protocol.CALLS.keys() | JOBS.keys(), self._call)
        self._back = Lane(self._is_wanted_reply, self._heard, self._reply)
        # Tell whether all of this passes as it is, so that neither `from_client` nor `from_daemon` need be asked.
        self.passes_ahead, self.passes_back = self._ahead.passes, self._back.passes
        self._open_hand = open_hand
        # The daemon knows it too, and refuses what passes.
        self._passes = protocol.WRITES if read_only else frozenset()
        # Jobs that wait for the daemon, by the serial of the call of our own; and for a hand, by its descriptor.
        self._asked: dict[int, Running] = {}
        self._errands: dict[int, Running] = {}
        self._serial = OWN_SERIALS
        self._lost = 0

    @property
    def waiting(self) -> int:
        """How many bytes are kept here."""
        return self._ahead.waiting + self._back.waiting

    @property
    def busy(self) -> bool:
        """Whether a job has begun that has not ended."""
        return bool(self._asked or self._errands)

    @property
    def hands(self) -> tuple[int, ...]:
        """The descriptors that `from_hand` is to be called for when they can be read."""
        return tuple(self._errands)

    def take_lost(self) -> int:
        """Return how many of the client's descriptors belong to calls that were refused since the last time."""
        lost, self._lost = self._lost, 0
        return lost

    def from_client(self, data: bytes) -> Both:
        """Return what the daemon gets of this, and what the client gets back at once. Raises CutError."""
        if self._ahead.passes(data):
            return data, self._back.due()
        ahead: list[bytes] = []
        try:
            self._ahead.pass_on(data, ahead)
        except WireError as error:
            raise _cut(error, b"".join(ahead), self._back.due()) from error
        return b"".join(ahead), self._back.due()

    def from_daemon(self, data: bytes) -> Both:
        """Return what the daemon is asked for next, and what the client gets of this. Raises CutError."""
        if self._back.passes(data):
            return self._ahead.due(), data
        back: list[bytes] = []
        try:
            self._back.pass_on(data, back)
        except WireError as error:
            raise _cut(error, self._ahead.due(), b"".join(back)) from error
        return self._ahead.due(), b"".join(back)

    def from_hand(self, descriptor: int) -> Both:
        """Read what a hand says; return what the daemon and the client get then."""
        running = self._errands[descriptor]
        outcome = running.hand.hear() if running.hand else {}
        if outcome is not None:
            del self._errands[descriptor]
            self._go_on(running, outcome)
        return self._ahead.due(), self._back.due()

    def _call(self, call: Message) -> bytes:
        """Return what the daemon gets of a call."""
        try:
            job = None if call.header.procedure in self._passes else _job(call)
        except VepaError as error:
            self._back.put(messages.refusal(call, error))
            return b""
        if job is not None:
            self._go_on(Running(job, call), None)
            return b""
        message = messages.stored(call)
        if message.header.type == call.header.type:
            return message.encode()
        self._back.put(message)
        self._lost += len(call.tail)
        return b""

    def _is_wanted_reply(self, header: Header) -> bool:
        return messages.gives_document(header) or (header.serial in self._asked and messages.is_reply(header))

    def _reply(self, reply: Message) -> bytes:
        running = self._asked.pop(reply.header.serial, None)
        if running is None:
            return messages.proposed(reply).encode()
        self._go_on(running, reply)
        return b""

    # -- jobs

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
            answer = messages.refusal(running.call, error)
        self._back.put(answer)
        if running.hand:
            running.hand.close()

    def _ask(self, ask: Ask, running: Running) -> None:
        self._serial = self._serial + 1 if self._serial < LAST_SERIAL else OWN_SERIALS
        self._asked[self._serial] = running
        self._heard.add(ask.procedure)
        header = Header(protocol.PROGRAM, protocol.VERSION, ask.procedure, Type.CALL, self._serial, Status.OK)
        self._ahead.put(Message(header, ask.payload))

    def _run(self, errand: Errand, running: Running) -> None:
        try:
            running.hand = running.hand or self._open_hand()
            running.hand.say(errand)
        except HostError as error:
            self._go_on(running, {"error": error.what, "remedy": error.remedy})
        else:
            self._errands[running.hand.fileno()] = running


def _cut(error: WireError, to_daemon: bytes, to_client: bytes) -> CutError:
    cut = CutError(error.what, error.remedy, *error.where)
    cut.before = to_daemon, to_client
    return cut


def _is_wanted_call(header: Header) -> bool:
    return messages.has_document(header) or (header.procedure in JOBS and messages.is_call(header))


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
    **dict.fromkeys(protocol.Interface, Begin("interfaces", "begin", (b"",))),
}


def _job(call: Message) -> Job | None:
    """Return the job that a call begins, None for one that only passes. Raises XmlError or HostError."""
    begin = JOBS.get(call.header.procedure)
    if begin is None or call.header.with_descriptors or not any(mark in call.payload for mark in begin.marks):
        return None
    try:
        job: Job | None = getattr(messages.loaded(begin.module), begin.function)(call)
    except WireError:
        # Whoever gets it may understand it, or say what is wrong.
        return None
    return job
