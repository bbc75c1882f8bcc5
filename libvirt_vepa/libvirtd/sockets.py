# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sockets of libvirt's daemons on this host, and single calls over one that has just been connected to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from libvirt_vepa.errors import ProtocolError
from libvirt_vepa.rpc import message as messages
from libvirt_vepa.rpc import procedures, xdr
from libvirt_vepa.rpc.message import Message

SYSTEM = Path("/run/libvirt")
WHO = "try again as root, or as a member of the group libvirt"


def system_socket() -> Path:
    """Return the socket of the daemon that runs this host's system guests."""
    return in_use(SYSTEM, "sock")


def in_use(folder: Path, kind: str) -> Path:
    """Return the socket of the modular daemon where there is one, else libvirtd's; `kind` is `sock` or `sock-ro`."""
    modular = folder / f"virtqemud-{kind}"
    return modular if modular.exists() else folder / f"libvirt-{kind}"


def authentications(daemon: socket.socket) -> list[int]:
    """Ask a daemon by which ways it takes this user; only one that has just been connected to answers."""
    reply = ask(daemon, procedures.AUTH_LIST)
    return [xdr.word_at(reply.payload, at) for at in range(xdr.WORD.size, len(reply.payload), xdr.WORD.size)]


def ask(daemon: socket.socket, procedure: int, payload: bytes = b"") -> Message:
    """Call a procedure and return the reply; no other call may be under way on this connection."""
    header = messages.Header(
        procedures.PROGRAM, procedures.VERSION, procedure, messages.Type.CALL, 0, messages.Status.OK
    )
    daemon.sendall(Message(header, payload).encode())
    return read_message(daemon.recv)


def read_message(receive: Callable[[int], bytes]) -> Message:
    """Read one whole message, and nothing of what follows it."""
    frames = messages.Frames(lambda _header: True)
    missing = messages.FRAME.size
    head = _exactly(receive, missing)
    length = xdr.word_at(head, 0)
    for piece in frames.feed(head + _exactly(receive, max(0, min(length, messages.MESSAGE_MAX) - missing))):
        if isinstance(piece, Message):
            return piece
    raise ProtocolError("a message has ended too early", xdr.RECONNECT_REMEDY)


def _exactly(receive: Callable[[int], bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = receive(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data
