# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One side of a connection: what comes from it, and what it has not taken yet."""

from __future__ import annotations

import os
import socket
from array import array
from collections import deque

from libvirt_vepa.errors import ProtocolError
from libvirt_vepa.rpc import message as messages
from libvirt_vepa.rpc import xdr
from libvirt_vepa.rpc.message import Frames, Message

# What one read takes at most. Longer ones cost more than they save: the C library maps such memory anew each time.
CHUNK = 96 * 1024
# What one side has not taken yet before the other is no longer read from.
MOST = 1024 * 1024
# As many descriptors may wait for their message, or for being taken.
DESCRIPTORS = 4 * messages.DESCRIPTORS_MAX
# The room that descriptors take beside what is read; what does not fit is closed by the kernel, and missed later.
ROOM = socket.CMSG_SPACE(messages.DESCRIPTORS_MAX * array("i").itemsize)


class Endpoint:
    """A side that is read from and written to without ever waiting for it."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        # It takes nothing more; what it has said is still to be read.
        self.gone = False
        # Pieces as they came, so that nothing is copied while it waits.
        self._pending: deque[memoryview] = deque()
        self._kept = 0
        for descriptor in {source, sink}:
            os.set_blocking(descriptor, False)

    @property
    def waiting(self) -> int:
        """How many bytes it has not taken yet."""
        return self._kept

    def read(self) -> bytes | None:
        """Return what has come: nothing where it has ended, None where there was nothing to read after all."""
        try:
            return self._read(self.source, CHUNK)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def send(self, data: bytes) -> bool:
        """Write as much as is taken at once, and keep the rest; tell whether there is none."""
        written = 0 if self._pending else self._written(data)
        if written == len(data):
            return True
        if not self.gone:
            self._pending.append(memoryview(data)[written:])
            self._kept += len(data) - written
        return False

    def flush(self) -> None:
        """Write as much as is taken at once of what was kept."""
        while self._pending:
            first = self._pending[0]
            written = self._written(first)
            self._kept -= written
            if written < len(first):
                self._pending[0] = first[written:]
                return
            self._pending.popleft()

    def drop(self, count: int) -> None:
        """Close as many of the descriptors that have come from it; there are none here."""

    def close(self) -> None:
        """Close what cannot be delivered any more; the side itself belongs to the caller."""

    def _written(self, data: bytes | memoryview) -> int:
        """Return how much of this was written."""
        try:
            return 0 if self.gone else self._write(self.sink, data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            self.gone = True
            return 0

    # What passes once for every message; each step around it is paid for twice in a small call.
    _read = staticmethod(os.read)
    _write = staticmethod(os.write)


class FdPassingEndpoint(Endpoint):
    """A side that descriptors come from and go to, each with a byte behind its message (virNetSocketSendFD)."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end.fileno(), end.fileno())
        self._end = end
        self._receive = end.recvmsg
        self._frames = Frames(lambda header: header.with_descriptors)
        self._sent = 0
        # What goes with the byte that is so far from the beginning.
        self._outgoing: deque[tuple[int, int]] = deque()
        self._arrived: deque[int] = deque()
        self._other = self

    def join(self, other: FdPassingEndpoint) -> None:
        """Send what has come from the other side."""
        self._other, other._other = other, self

    @property
    def waiting(self) -> int:
        """As before; a process can have few descriptors, so many of them count as much as one can keep."""
        return max(super().waiting, MOST if len(self._outgoing) >= DESCRIPTORS else 0)

    def send(self, data: bytes) -> bool:
        """As before, with the descriptors that belong to it. Raises ProtocolError where one has not come."""
        if self._frames.passes(data):
            return Endpoint.send(self, data)
        taken = True
        for piece in self._frames.feed(data):
            taken = super().send(self._attach(piece) if isinstance(piece, Message) else piece) and taken
        return taken

    def drop(self, count: int) -> None:
        """Close as many of the descriptors that have come from it: nobody will get them."""
        for _ in range(min(count, len(self._arrived))):
            os.close(self._arrived.popleft())

    def close(self) -> None:
        """Close what cannot be delivered any more; the socket belongs to the caller."""
        self.drop(len(self._arrived))
        while self._outgoing:
            os.close(self._outgoing.popleft()[1])

    def _attach(self, message: Message) -> bytes:
        data = message.encode()
        first = self._sent + self._kept + len(data) - len(message.tail)
        for number in range(len(message.tail)):
            if not self._other._arrived:
                raise ProtocolError("a message came without its descriptors", xdr.RECONNECT_REMEDY)
            self._outgoing.append((first + number, self._other._arrived.popleft()))
        return data

    def _read(self, _source: int, most: int) -> bytes:
        data, extras, _, _ = self._receive(most, ROOM, socket.MSG_CMSG_CLOEXEC)
        if extras:
            self._take(extras)
        return data

    def _take(self, extras: list[tuple[int, int, bytes]]) -> None:
        """Keep the descriptors that have come. Raises ProtocolError where they are too many."""
        for level, kind, value in extras:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._arrived.extend(array("i", value))
        if len(self._arrived) > DESCRIPTORS:
            raise ProtocolError(f"{len(self._arrived)} descriptors came without a message", xdr.RECONNECT_REMEDY)

    def _write(self, sink: int, data: bytes | memoryview) -> int:  # type: ignore[override]  # os.write takes any buffer
        if not self._outgoing:
            written = os.write(sink, data)
        elif room := self._outgoing[0][0] - self._sent:
            written = os.write(sink, memoryview(data)[:room])
        else:
            descriptor = self._outgoing[0][1]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
            written = self._end.sendmsg([data[:1]], rights)
            self._outgoing.popleft()
            os.close(descriptor)
        self._sent += written
        return written
