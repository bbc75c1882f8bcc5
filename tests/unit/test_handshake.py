# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is heard of a client before the connection is open: little, and not for long."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from libvirt_vepa.errors import HostError, ProtocolError
from libvirt_vepa.proxy import handshake
from tests.support import remote_protocol as remote

AUTH_LIST, FEATURE, OPEN, AUTH_POLKIT = 66, 60, 1, 70
OPENING = remote.call(OPEN, b"\0\0\0\x01" + remote.string(b"qemu:///system") + bytes(4), 3)
ASKS = remote.call(FEATURE, b"\0\0\0\x0a", 2)
SECONDS = 60


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end, and the connection's."""
    client, ours = socket.socketpair()
    with client, ours:
        client.settimeout(SECONDS)
        yield client, ours


def opening(ours: socket.socket) -> list[int]:
    """Wait for the call that opens the connection; return what the daemon is to hear."""
    return [call.header.procedure for call in handshake._await_opening(ours.fileno(), ours.fileno())]


def test_a_client_of_libvirts_is_heard(pair: tuple[socket.socket, socket.socket]) -> None:
    client, ours = pair
    client.sendall(b"".join(frame.pack() for frame in (remote.call(AUTH_LIST), ASKS, OPENING)))
    assert opening(ours) == [FEATURE, OPEN]
    assert [frame.procedure for frame in remote.frames(client.recv(4096))] == [AUTH_LIST, FEATURE]


@pytest.mark.parametrize(
    "frame",
    [
        remote.call(FEATURE, bytes(4096)),
        remote.call(FEATURE),
        remote.call(AUTH_LIST, bytes(4)),
        remote.call(AUTH_POLKIT),
        remote.call(OPEN, bytes(4)),
        remote.call(OPEN, bytes(8192)),
        remote.call(10, remote.string(b"<domain/>")),
        remote.call(AUTH_LIST)._replace(program=remote.KEEPALIVE),
        remote.call(AUTH_LIST)._replace(type=remote.STREAM),
    ],
)
def test_anything_else_ends_it(pair: tuple[socket.socket, socket.socket], frame: remote.Frame) -> None:
    client, ours = pair
    client.sendall(frame.pack())
    with pytest.raises(ProtocolError, match="before the connection is open"):
        opening(ours)
    # Nothing was read but the header.
    assert len(ours.recv(1 << 20, socket.MSG_DONTWAIT)) == len(frame.payload) if frame.payload else True


def test_a_handful_of_calls_must_do(pair: tuple[socket.socket, socket.socket]) -> None:
    client, ours = pair
    client.sendall(ASKS.pack() * 100)
    with pytest.raises(ProtocolError, match="16 calls have not opened the connection"):
        opening(ours)
    assert len(list(remote.frames(client.recv(1 << 16)))) == 16


@pytest.mark.parametrize("said", [b"", ASKS.pack()[:3], ASKS.pack()[:30], ASKS.pack() * 2], ids=len)
def test_the_time_is_bounded_in_all(
    pair: tuple[socket.socket, socket.socket], said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ours = pair
    monkeypatch.setattr(handshake, "OPENING_SECONDS", 0.1)
    client.sendall(said)
    with pytest.raises(ConnectionError):
        opening(ours)


def test_the_time_is_not_that_of_each_call() -> None:
    assert handshake.OPENING_SECONDS == 30


def test_a_refusal_is_the_answer_to_the_first_call(pair: tuple[socket.socket, socket.socket]) -> None:
    client, ours = pair
    client.sendall(remote.call(AUTH_LIST, b"", 7).pack())
    handshake.refuse(ours.fileno(), ours.fileno(), HostError("there are too many", "close some"))
    (reply,) = remote.frames(client.recv(4096))
    assert (reply.procedure, reply.serial, reply.status) == (AUTH_LIST, 7, remote.ERROR)
    assert remote.error(reply.payload).message == b"there are too many; close some"
