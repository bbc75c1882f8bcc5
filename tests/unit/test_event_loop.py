# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pump between two real sockets: backpressure, ends, and descriptors in their place."""

from __future__ import annotations

import os
import select
import socket
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libvirt_vepa.errors import ProtocolError
from libvirt_vepa.proxy import event_loop as under_test
from libvirt_vepa.proxy.endpoint import MOST, Endpoint, FdPassingEndpoint
from libvirt_vepa.proxy.event_loop import EventLoop
from libvirt_vepa.proxy.relay import Relay
from tests.support import remote_protocol as remote
from tests.support.properties import holds
from tests.support.relay_documents import DOMAIN, OTHER, STORED, WRONG
from tests.support.relay_talk import call

SECONDS = 60
PING = remote.call(2).pack()


def opened() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()}


class Carried:
    """A client and a daemon with the pump between them, which runs in a thread until one of them has closed."""

    def __init__(self, kind: Callable[[socket.socket], Endpoint]) -> None:
        self.client, near = socket.socketpair()
        self.daemon, far = socket.socketpair()
        self.ends = near, far
        sides = kind(near), kind(far)
        if isinstance(sides[0], FdPassingEndpoint) and isinstance(sides[1], FdPassingEndpoint):
            sides[0].join(sides[1])
        for each in (self.client, self.daemon):
            each.settimeout(SECONDS)
        self.error: BaseException | None = None
        self._pump = EventLoop(*sides, Relay())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._pump.run()
        except ProtocolError as error:
            self.error = error
        for each in self.ends:
            each.close()

    def wait(self) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the pump goes on"

    def close(self) -> None:
        self.client.close()
        self.daemon.close()
        self.wait()


def plain(end: socket.socket) -> Endpoint:
    return Endpoint(end.fileno(), end.fileno())


@pytest.fixture(params=[plain, FdPassingEndpoint], ids=["standard", "local"])
def both(request: pytest.FixtureRequest) -> Iterator[Carried]:
    found = Carried(request.param)
    yield found
    found.close()


@pytest.fixture
def local() -> Iterator[Carried]:
    found = Carried(FdPassingEndpoint)
    yield found
    found.close()


def whole(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := end.recv(size - len(data))):
        data += piece
    return data


def rest(end: socket.socket) -> bytes:
    data = b""
    while piece := end.recv(2**20):
        data += piece
    return data


def test_both_ways(both: Carried) -> None:
    for _ in range(3):
        both.client.sendall(PING)
        assert whole(both.daemon, len(PING)) == PING
        both.daemon.sendall(PING * 2)
        assert whole(both.client, 2 * len(PING)) == PING * 2


@pytest.mark.parametrize("sender", ["client", "daemon"])
def test_what_was_said_before_the_end_is_delivered(both: Carried, sender: str) -> None:
    said, heard = both.client, both.daemon
    if sender == "daemon":
        said, heard = heard, said
    data = PING * 10_000

    def write() -> None:
        said.sendall(data)
        said.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert rest(heard) == data
    writer.join()
    both.wait()


@pytest.mark.parametrize("sender", ["client", "daemon"])
def test_half_a_message_and_the_end(both: Carried, sender: str) -> None:
    said, heard = (both.client, both.daemon) if sender == "client" else (both.daemon, both.client)
    said.sendall(PING + remote.call(3, bytes(100)).pack()[:50])
    said.close()
    assert rest(heard) == PING + remote.call(3, bytes(100)).pack()[:50]
    both.wait()


def test_data_is_delivered_after_the_sender_stops_reading(both: Carried) -> None:
    both.daemon.sendall(PING * 3)
    both.daemon.close()
    # This finds the daemon gone, or the end of what it said comes first, and may have ended the connection by now.
    with suppress(BrokenPipeError):
        both.client.sendall(PING)
    assert rest(both.client) == PING * 3
    both.wait()


@pytest.mark.parametrize("sender", ["client", "daemon"])
def test_a_side_that_reads_nothing_stops_the_other(both: Carried, sender: str) -> None:
    said, heard = (both.client, both.daemon) if sender == "client" else (both.daemon, both.client)
    said.setblocking(False)
    sent, piece = 0, PING * 4096
    # It is full when nothing more is taken in a second: everything in between has taken what it can.
    while select.select([], [said], [], 1)[1]:
        sent += said.send(piece[sent % len(PING) :])
        assert sent < 4 * MOST
    assert whole(heard, sent) == (PING * (sent // len(PING) + 1))[:sent]
    # And the other way is still open.
    heard.sendall(PING)
    said.settimeout(SECONDS)
    assert whole(said, len(PING)) == PING


def test_replies_of_our_own_that_wait_stop_the_client(both: Carried) -> None:
    wrong, event = call(11, WRONG).pack(), remote.call(211, bytes(100), 0, remote.EVENT).pack()
    both.daemon.sendall(event[:60])
    assert whole(both.client, 60) == event[:60]
    both.client.setblocking(False)
    sent = 0
    while select.select([], [both.client], [], 1)[1]:
        sent += both.client.send((wrong * 200)[sent % len(wrong) :])
        assert sent < 8 * MOST
    both.client.settimeout(SECONDS)
    both.daemon.sendall(event[60:])
    assert whole(both.client, len(event) - 60) == event[60:]
    size = int.from_bytes(both.client.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL))
    replies = list(remote.frames(whole(both.client, size * (sent // len(wrong)))))
    assert {remote.error(reply.payload).code for reply in replies} == {27}


@pytest.mark.parametrize("sender", ["client", "daemon"])
def test_a_bad_frame_ends_both_sides_after_what_came_before(both: Carried, sender: str) -> None:
    said, heard = (both.client, both.daemon) if sender == "client" else (both.daemon, both.client)
    said.sendall(PING * 2 + b"\0\0\0\x1b" + bytes(60))
    assert rest(heard) == PING * 2
    # What it had sent and nobody read tells it of the end at once.
    with suppress(ConnectionResetError):
        assert rest(said) == b""
    both.wait()
    assert "a message of 27 bytes is none of libvirt's" in str(both.error)


def test_a_side_that_takes_nothing_is_not_waited_for_for_ever(both: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "DELIVER_SECONDS", 0.2)
    both.daemon.setblocking(False)
    while select.select([], [both.daemon], [], 1)[1]:
        both.daemon.send(PING * 1000)
    both.daemon.close()
    both.wait()


# -- descriptors


def send(end: socket.socket, frame: remote.Frame, descriptors: list[int]) -> None:
    """Send as libvirt does: the message, and then a byte with each descriptor."""
    end.sendall(frame._replace(tail=b"").pack())
    for each in descriptors:
        end.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [each]))])


def receive(end: socket.socket) -> tuple[remote.Frame, list[str]]:
    """Receive as libvirt does; return what the files that came with the message hold."""
    length = whole(end, 4)
    data = length + whole(end, int.from_bytes(length) - 4)
    contents = []
    for _ in range(remote.descriptors(data) or 0):
        byte, extras, flags, _ = end.recvmsg(1, socket.CMSG_SPACE(4))
        assert byte == b"\0" and not flags & socket.MSG_CTRUNC
        ((_, _, value),) = extras
        (descriptor,) = array("i", value[:4])
        contents.append(os.pread(descriptor, 100, 0).decode())
        os.close(descriptor)
    return next(iter(remote.frames(data + bytes(len(contents))))), contents


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    folder = tmp_path_factory.mktemp("files")
    for number in range(40):
        (folder / str(number)).write_text(str(number))
    made = [os.open(folder / str(number), os.O_RDONLY) for number in range(40)]
    yield made
    for each in made:
        os.close(each)


SENDS = st.lists(st.tuples(st.integers(0, 3) | st.integers(0, 32), st.binary(max_size=50), st.booleans()), max_size=8)


@holds
@given(SENDS, st.booleans())
def test_descriptors_come_with_their_messages(files: list[int], sends: list[tuple[int, bytes, bool]], up: bool) -> None:
    before = opened()
    carried = Carried(FdPassingEndpoint)
    said, heard = (carried.client, carried.daemon) if up else (carried.daemon, carried.client)
    for count, payload, other in sends:
        if other:
            said.sendall(PING)
        send(said, remote.with_descriptors((remote.call if up else remote.reply)(344, payload), count), files[:count])
    for count, payload, other in sends:
        if other:
            assert receive(heard) == (next(remote.frames(PING)), [])
        frame, contents = receive(heard)
        assert frame.payload == count.to_bytes(4) + payload
        assert contents == [str(number) for number in range(count)]
    carried.close()
    assert opened() == before


def test_a_document_with_descriptors_is_translated(local: Carried, files: list[int]) -> None:
    send(local.client, remote.with_descriptors(call(309, DOMAIN, 7), 2), files[3:5])
    frame, contents = receive(local.daemon)
    assert frame == remote.with_descriptors(call(309, STORED, 7), 2)
    assert contents == ["3", "4"]


def test_the_descriptors_of_a_call_that_is_refused_are_closed(local: Carried, files: list[int]) -> None:
    before = opened()
    for _ in range(3):
        send(local.client, remote.with_descriptors(call(309, WRONG, 7), 32), files[:32])
        reply, _ = receive(local.client)
        assert remote.error(reply.payload).code == 27
        send(local.client, remote.with_descriptors(call(309, OTHER, 8), 1), files[5:6])
        assert receive(local.daemon) == (remote.with_descriptors(call(309, OTHER, 8), 1), ["5"])
        # What is behind it was read after those had been closed.
        local.client.sendall(PING)
        assert whole(local.daemon, len(PING)) == PING
        assert opened() == before


def test_a_message_without_its_descriptors_ends_the_connection(local: Carried) -> None:
    local.client.sendall(PING + remote.with_descriptors(remote.call(344), 2).pack())
    assert rest(local.daemon) == PING
    local.wait()
    assert "without its descriptors" in str(local.error)


def test_descriptors_without_a_message_end_the_connection(files: list[int]) -> None:
    before = opened()
    local = Carried(FdPassingEndpoint)
    with pytest.raises(OSError):
        while True:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))
            local.client.sendmsg([PING], [rights])
    local.close()
    assert "without a message" in str(local.error)
    assert opened() == before


def test_unread_descriptors_stop_the_sender_and_are_closed(files: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "DELIVER_SECONDS", 0.2)
    before = opened()
    local = Carried(FdPassingEndpoint)
    frame = remote.with_descriptors(remote.call(344, bytes(60_000)), 32)
    local.client.settimeout(1)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            send(local.client, frame, files[:32])
    assert len(opened() - before) < 4 + 6 * 32
    local.client.close()
    local.wait()
    local.close()
    assert opened() == before
