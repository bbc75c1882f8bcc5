# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What comes before a connection is open: which daemon the client means, and who it is there.

The client says that only when it opens the connection, so what it asks before is answered here.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from libvirt_vepa import protocol, session, wire, xdr
from libvirt_vepa.errors import HostError, WireError
from libvirt_vepa.hand import no_hand, open_hand
from libvirt_vepa.messages import error_reply
from libvirt_vepa.relay import Relay
from libvirt_vepa.wire import Message

SYSTEM = Path("/run/libvirt")
WHO = "try again as root, or as a member of the group libvirt"
OWN = "start it with 'virsh -c qemu:///session uri'"
REMEDIES = {errno.EACCES: WHO}
# VIR_ERR_SYSTEM_ERROR of libvirt/virterror.h, with libvirt's words.
SYSTEM_ERROR = (38, "%s")


@contextmanager
def open_daemon(source: int, sink: int, *, may_start: bool = True) -> Iterator[tuple[socket.socket, Relay]]:
    """Give the connection to the daemon that the client means, with the client's call to open it sent, and its relay.

    `may_start` says that a user's own daemon is started where none runs.
    Raises HostError where the daemon cannot be had, which the client is told as well, WireError for
    what is not libvirt's protocol, ConnectionError where a side has ended.
    """
    *features, opening = _await_opening(source, sink)
    try:
        daemon = _connect(opening, may_start)
    except HostError as error:
        os.write(sink, error_reply(opening, error, *SYSTEM_ERROR).encode())
        raise
    with daemon:
        for call in features:
            _ask(daemon, protocol.FEATURE, call.payload)
        daemon.sendall(opening.encode())
        yield daemon, Relay(no_hand if _is_session(opening) else open_hand, _is_read_only(opening))


def _await_opening(source: int, sink: int) -> list[Message]:
    """Answer the client until it opens the connection; return what the daemon must hear too: that call is the last."""
    heard = []
    while True:
        call = _read(lambda size: os.read(source, size))
        # To be asked for keepalive is what a daemon begins its own with (remoteDispatchConnectSupportsFeature).
        if call.header.procedure in (protocol.FEATURE, protocol.OPEN):
            heard.append(call)
        if call.header.procedure == protocol.OPEN:
            return heard
        os.write(sink, call.reply(_answer(call.header.procedure)).encode())


def _answer(procedure: int) -> bytes:
    if procedure == protocol.AUTH_LIST:
        # One way, which is none: this process is the user's own.
        return xdr.WORD.pack(1) + xdr.WORD.pack(protocol.AUTHENTICATION_NONE)
    if procedure == protocol.FEATURE:
        # Only keepalive is asked for that early, and every daemon has it.
        return xdr.WORD.pack(1)
    raise WireError(f"procedure {procedure} is called before the connection is open", xdr.ANEW)


def _read(receive: Callable[[int], bytes]) -> Message:
    """Read one whole message, and nothing of what follows it."""
    frames = wire.Frames(lambda _header: True)
    missing = wire.FRAME.size
    head = _exactly(receive, missing)
    length = xdr.word_at(head, 0)
    for piece in frames.feed(head + _exactly(receive, max(0, min(length, wire.MESSAGE_MAX) - missing))):
        if isinstance(piece, Message):
            return piece
    raise WireError("a message has ended too early", xdr.ANEW)


def _exactly(receive: Callable[[int], bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = receive(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def _connect(opening: Message, may_start: bool) -> socket.socket:
    """Return a connection to the daemon that the client means, authenticated. Raises HostError."""
    path = _socket_of(opening)
    if _is_session(opening) and not session.answers(path):
        if not may_start:
            raise HostError("no daemon of your own runs, and none is started from here", OWN)
        session.start()
        path = _socket_of(opening)
    daemon = socket.socket(socket.AF_UNIX)
    try:
        daemon.connect(os.fspath(path))
    except OSError as error:
        daemon.close()
        remedy = REMEDIES.get(error.errno or 0, "start libvirtd, or virtqemud where the daemons are modular")
        raise HostError(f"cannot connect to {path}: {error.strerror}", remedy) from error
    _authenticate(daemon)
    return daemon


def _socket_of(opening: Message) -> Path:
    """Return the socket that libvirt's own client would choose (remoteGetUNIXSocket)."""
    if _is_session(opening):
        folder, kind = session.sockets(), "sock"
    else:
        folder, kind = SYSTEM, "sock-ro" if _is_read_only(opening) else "sock"
    return _in_use(folder, kind)


def system_socket() -> Path:
    """Return the socket of the daemon that runs this host's system guests."""
    return _in_use(SYSTEM, "sock")


def _in_use(folder: Path, kind: str) -> Path:
    modular = folder / f"virtqemud-{kind}"
    return modular if modular.exists() else folder / f"libvirt-{kind}"


def _is_session(opening: Message) -> bool:
    """Tell whether a user's own daemon is meant; root has none (remoteGetURIDaemonInfo)."""
    name = xdr.string_at(opening.payload, xdr.WORD.size) if xdr.word_at(opening.payload, 0) else b""
    return os.geteuid() != 0 and urlsplit(name.decode(errors="replace")).path == "/session"


def _is_read_only(opening: Message) -> bool:
    """Tell whether the client wants to look only: its flags are the call's last word."""
    return bool(xdr.word_at(opening.payload, len(opening.payload) - xdr.WORD.size) & protocol.READ_ONLY)


def authentications(daemon: socket.socket) -> list[int]:
    """Ask a daemon by which ways it takes this user; only one that has just been connected to answers."""
    reply = _ask(daemon, protocol.AUTH_LIST)
    return [xdr.word_at(reply.payload, at) for at in range(xdr.WORD.size, len(reply.payload), xdr.WORD.size)]


def _authenticate(daemon: socket.socket) -> None:
    """Pass the daemon's own check of who this is, as far as that needs no password."""
    ways = authentications(daemon)
    if protocol.AUTHENTICATION_NONE in ways:
        return
    if protocol.AUTHENTICATION_POLKIT not in ways:
        raise HostError("the daemon wants a password, which this connection cannot give", "use a URI without it")
    if _ask(daemon, protocol.AUTH_POLKIT).header.status != wire.Status.OK:
        raise HostError("the daemon refuses this user", WHO)


def _ask(daemon: socket.socket, procedure: int, payload: bytes = b"") -> Message:
    """Call a procedure; the client's own calls have not begun."""
    header = wire.Header(protocol.PROGRAM, protocol.VERSION, procedure, wire.Type.CALL, 0, wire.Status.OK)
    daemon.sendall(Message(header, payload).encode())
    return _read(daemon.recv)
