# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What passes between a client of libvirt's and the daemon, with each document translated on its way.

Bytes in, bytes out: who carries them is no matter. What holds nothing of ours passes as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import ModuleType

from libvirt_vepa.errors import HostError, ProtocolError, VepaError
from libvirt_vepa.proxy import translation
from libvirt_vepa.proxy.helper_client import HelperClient, refuse_helper
from libvirt_vepa.proxy.tasks import DaemonCall, HelperRequest, HelperResponse, Task
from libvirt_vepa.proxy.translation import MARK
from libvirt_vepa.rpc import procedures as procedures_module
from libvirt_vepa.rpc.message import MESSAGE_MAX, Frames, Header, Message, Status, Type

# The serials of our own calls; a client counts from 0 and does not come that far.
OWN_SERIALS, LAST_SERIAL = 0xC0000000, 0xFFFFFFFF
# What a job takes beside its call: a generator, and a session with the helper.
JOB_BYTES = 16 * 1024
# A read-only client's calls are small; nothing longer is kept for one, whom libvirt lets in without a question.
READ_ONLY_MAX = 64 * 1024
# What the daemon and the client get.
Both = tuple[bytes, bytes]


class ProtocolViolation(ProtocolError):
    """A side has stopped to follow the protocol."""

    # What the daemon and the client still get.
    before: Both = b"", b""


class Direction:
    """One direction: what passes, and what is put between whole messages of it."""

    def __init__(
        self,
        wanted: Callable[[Header], bool],
        procedures: Collection[int],
        handle: Callable[[Message], bytes],
        longest: int = MESSAGE_MAX,
    ) -> None:
        self._frames = Frames(wanted, procedures, longest)
        self._handle = handle
        self._due = bytearray()

    @property
    def waiting(self) -> int:
        """How many bytes of our own wait for the end of a message."""
        return len(self._due)

    def is_passthrough(self, data: bytes) -> bool:
        """Tell whether all of this passes as it is; where not, it must be given to `pass_on`."""
        return not self._due and self._frames.passes(data)

    def enqueue(self, message: Message) -> None:
        """Let a message of our own pass as soon as no other is cut in two by it. Raises ProtocolError."""
        self._due += message.encode()

    def pass_on(self, data: bytes, passed: list[bytes]) -> None:
        """Append what passes of this. Raises ProtocolError when what stands before the error has been appended."""
        end = self._frames.remaining if self._due else 0
        if end:
            self._pass(data[:end], passed)
            passed.append(self.drain())
        self._pass(data[end:], passed)
        # One piece alone need not be joined, which would copy it.
        if due := self.drain():
            passed.append(due)

    def _pass(self, data: bytes, passed: list[bytes]) -> None:
        for piece in self._frames.feed(data):
            passed.append(piece if isinstance(piece, bytes) else self._handle(piece))

    def drain(self) -> bytes:
        """Return, once, the messages of our own that may pass now."""
        if not self._due or self._frames.remaining:
            return b""
        due = bytes(self._due)
        self._due.clear()
        return due


@dataclass
class PendingTask:
    """A task that has begun, the call that began it, and the helper that it talks to."""

    job: Task
    call: Message
    helper: HelperClient | None = None

    @property
    def size(self) -> int:
        """How many bytes are kept for it, about."""
        return JOB_BYTES + len(self.call.payload)


class Relay:
    """One connection: what each side says, and what of it reaches the other.

    `connect_helper` gives each task a new session with the helper; it raises HostError where there is none.
    `read_only` is whether the client opened the connection so.
    """

    def __init__(self, connect_helper: Callable[[], HelperClient] = refuse_helper, read_only: bool = False) -> None:
        # The procedures whose replies are looked at: more once a job has called them.
        self._heard = set(procedures_module.REPLIES)
        # What a read-only connection may not do only passes: the daemon knows that too, and refuses it.
        calls = TASKS.keys() - procedures_module.WRITES if read_only else TASKS.keys() | procedures_module.CALLS.keys()
        self._ahead = Direction(_is_wanted_call, calls, self._call, READ_ONLY_MAX if read_only else MESSAGE_MAX)
        self._back = Direction(self._is_wanted_reply, self._heard, self._reply)
        # Tell whether all of this passes as it is, so that neither `from_client` nor `from_daemon` need be asked.
        self.passes_ahead, self.passes_back = self._ahead.is_passthrough, self._back.is_passthrough
        self._connect_helper = connect_helper
        # Tasks that wait for the daemon, by the serial of the call of our own; and for the helper, by its descriptor.
        self._asked: dict[int, PendingTask] = {}
        self._requested: dict[int, PendingTask] = {}
        self._serial = OWN_SERIALS
        self._lost = 0

    @property
    def waiting(self) -> int:
        """How many bytes are kept here."""
        jobs = (*self._asked.values(), *self._requested.values())
        return self._ahead.waiting + self._back.waiting + sum(job.size for job in jobs)

    @property
    def busy(self) -> bool:
        """Whether a job has begun that has not ended."""
        return bool(self._asked or self._requested)

    @property
    def helpers(self) -> tuple[int, ...]:
        """The descriptors that `from_helper` is to be called for when they can be read."""
        return tuple(self._requested)

    def take_orphaned_fds(self) -> int:
        """Return how many of the client's descriptors belong to calls that were refused since the last time."""
        lost, self._lost = self._lost, 0
        return lost

    def from_client(self, data: bytes) -> Both:
        """Return what the daemon gets of this, and what the client gets back at once. Raises ProtocolViolation."""
        if self._ahead.is_passthrough(data):
            return data, self._back.drain()
        ahead: list[bytes] = []
        try:
            self._ahead.pass_on(data, ahead)
        except ProtocolError as error:
            raise _cut(error, b"".join(ahead), self._back.drain()) from error
        return b"".join(ahead), self._back.drain()

    def from_daemon(self, data: bytes) -> Both:
        """Return what the daemon is asked for next, and what the client gets of this. Raises ProtocolViolation."""
        if self._back.is_passthrough(data):
            return self._ahead.drain(), data
        back: list[bytes] = []
        try:
            self._back.pass_on(data, back)
        except ProtocolError as error:
            raise _cut(error, self._ahead.drain(), b"".join(back)) from error
        return self._ahead.drain(), b"".join(back)

    def from_helper(self, descriptor: int) -> Both:
        """Read what the helper answers; return what the daemon and the client get then."""
        running = self._requested[descriptor]
        outcome = running.helper.receive() if running.helper else {}
        if outcome is not None:
            del self._requested[descriptor]
            self._go_on(running, outcome)
        return self._ahead.drain(), self._back.drain()

    def _call(self, call: Message) -> bytes:
        """Return what the daemon gets of a call."""
        try:
            job = _task(call)
        except VepaError as error:
            self._back.enqueue(translation.refusal(call, error))
            return b""
        if job is not None:
            self._go_on(PendingTask(job, call), None)
            return b""
        message = translation.stored(call)
        if message.header.type == call.header.type:
            return message.encode()
        self._back.enqueue(message)
        self._lost += len(call.tail)
        return b""

    def _is_wanted_reply(self, header: Header) -> bool:
        return translation.gives_document(header) or (header.serial in self._asked and translation.is_reply(header))

    def _reply(self, reply: Message) -> bytes:
        running = self._asked.pop(reply.header.serial, None)
        if running is None:
            return translation.proposed(reply).encode()
        self._go_on(running, reply)
        return b""

    # -- jobs

    def _go_on(self, running: PendingTask, came: Message | HelperResponse | None) -> None:
        """Let a job go on with what came, until it waits again or answers its call."""
        try:
            step = next(running.job) if came is None else running.job.send(came)
            if isinstance(step, DaemonCall):
                self._ask(step, running)
            else:
                self._run(step, running)
            return
        except StopIteration as end:
            answer = running.call.reply(end.value.payload, end.value.header.status)
        except VepaError as error:
            answer = translation.refusal(running.call, error)
        self._back.enqueue(answer)
        if running.helper:
            running.helper.close()

    def _ask(self, ask: DaemonCall, running: PendingTask) -> None:
        self._serial = self._serial + 1 if self._serial < LAST_SERIAL else OWN_SERIALS
        self._asked[self._serial] = running
        self._heard.add(ask.procedure)
        header = Header(
            procedures_module.PROGRAM, procedures_module.VERSION, ask.procedure, Type.CALL, self._serial, Status.OK
        )
        self._ahead.enqueue(Message(header, ask.payload))

    def _run(self, request: HelperRequest, running: PendingTask) -> None:
        try:
            running.helper = running.helper or self._connect_helper()
            running.helper.send(request)
        except HostError as error:
            self._go_on(running, {"error": error.what, "remedy": error.remedy})
        else:
            self._requested[running.helper.fileno()] = running


def _cut(error: ProtocolError, to_daemon: bytes, to_client: bytes) -> ProtocolViolation:
    cut = ProtocolViolation(error.what, error.remedy, *error.where)
    cut.before = to_daemon, to_client
    return cut


def _is_wanted_call(header: Header) -> bool:
    return translation.has_document(header) or (header.procedure in TASKS and translation.is_call(header))


@dataclass(frozen=True)
class TaskStart:
    """What begins the job of a call, if one of these marks is in it; it may find that the call only passes."""

    job: Callable[[Message], Task | None]
    marks: tuple[bytes, ...]


def _hotplug() -> ModuleType:
    with translation.loading():
        from libvirt_vepa.proxy import hotplug
    return hotplug


def _host_interfaces() -> ModuleType:
    with translation.loading():
        from libvirt_vepa.proxy import host_interfaces
    return host_interfaces


# By procedure; the marks of a detach take in what is stored, without a word of ours.
TASKS: Mapping[int, TaskStart] = {
    procedures_module.ATTACH: TaskStart(lambda call: _hotplug().attach(call), (MARK,)),
    procedures_module.ATTACH_FLAGS: TaskStart(lambda call: _hotplug().attach(call), (MARK,)),
    procedures_module.DETACH: TaskStart(lambda call: _hotplug().detach(call), (MARK, b"<interface")),
    procedures_module.DETACH_FLAGS: TaskStart(lambda call: _hotplug().detach(call), (MARK, b"<interface")),
    procedures_module.UPDATE: TaskStart(lambda call: _hotplug().update(call), (MARK,)),
    procedures_module.DETACH_ALIAS: TaskStart(lambda call: _hotplug().detach_alias(call), (b"",)),
    **dict.fromkeys(procedures_module.Interface, TaskStart(lambda call: _host_interfaces().begin(call), (b"",))),
}


def _task(call: Message) -> Task | None:
    """Return the job that a call begins, None for one that only passes. Raises XmlError or HostError."""
    begin = TASKS.get(call.header.procedure)
    if begin is None or call.header.with_descriptors or not any(mark in call.payload for mark in begin.marks):
        return None
    try:
        return begin.job(call)
    except ProtocolError:
        # Whoever gets it may understand it, or say what is wrong.
        return None
