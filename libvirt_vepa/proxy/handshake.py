# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What comes before a connection is open: which daemon the client means, and who it is there.

The client says that only when it opens the connection, so what it asks before is answered here.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from libvirt_vepa.errors import HostError, ProtocolError
from libvirt_vepa.libvirtd import session
from libvirt_vepa.libvirtd.sockets import SYSTEM, WHO, ask, authentications, in_use
from libvirt_vepa.proxy.helper_client import connect_helper, refuse_helper
from libvirt_vepa.proxy.relay import Relay
from libvirt_vepa.proxy.translation import error_reply, is_call
from libvirt_vepa.rpc import message as messages
from libvirt_vepa.rpc import procedures, xdr
from libvirt_vepa.rpc.message import Message

OWN = "start it with 'virsh -c qemu:///session uri'"
REMEDIES = {errno.EACCES: WHO}
# VIR_ERR_SYSTEM_ERROR of libvirt/virterror.h, with libvirt's words.
SYSTEM_ERROR = (38, "%s")
# Nobody is known before the connection is open: so little is heard until then, in so much time in all. A client of
# libvirt's makes three calls.
CALLS_MAX, OPENING_SECONDS = 16, 30.0
# How many bytes the arguments of each call have (remote_protocol.x); a URI is a line of text.
URI_MAX = 4096
SIZES: Mapping[int, Container[int]] = {
    procedures.AUTH_LIST: (0,),
    procedures.FEATURE: (xdr.WORD.size,),
    procedures.OPEN: range(2 * xdr.WORD.size, URI_MAX),
}
ANSWERS: Mapping[int, bytes] = {
    # One way, which is none: this process is the user's own.
    procedures.AUTH_LIST: xdr.WORD.pack(1) + xdr.WORD.pack(procedures.AUTHENTICATION_NONE),
    # Only keepalive is asked for that early, and every daemon has it.
    procedures.FEATURE: xdr.WORD.pack(1),
}


@contextmanager
def open_daemon(
    source: int, sink: int, helper: Sequence[str], *, may_start: bool = True
) -> Iterator[tuple[socket.socket, Relay]]:
    """Give the connection to the daemon that the client means, with the client's call to open it sent, and its relay.

    `helper` is the command that serves one connection as libvirt-vepad does, on its standard input.
    `may_start` says that a user's own daemon is started where none runs.
    Raises HostError where the daemon cannot be had, which the client is told as well, ProtocolError for
    what is not libvirt's protocol, ConnectionError where a side has ended.
    """
    *features, opening = _await_opening(source, sink)
    try:
        daemon = _connect(opening, may_start)
    except HostError as error:
        _write(sink, error_reply(opening, error, *SYSTEM_ERROR))
        raise
    with daemon:
        for call in features:
            ask(daemon, procedures.FEATURE, call.payload)
        daemon.sendall(opening.encode())
        yield (
            daemon,
            Relay(refuse_helper if _is_session(opening) else partial(connect_helper, helper), _is_read_only(opening)),
        )


def refuse(source: int, sink: int, reason: HostError) -> None:
    """Answer the client's first call with an error, which it shows instead of the connection.

    Raises ProtocolError and ConnectionError as `open_daemon` does.
    """
    call = _heard(source, time.monotonic() + OPENING_SECONDS)
    _write(sink, error_reply(call, reason, *SYSTEM_ERROR))


def _await_opening(source: int, sink: int) -> list[Message]:
    """Answer the client until it opens the connection; return what the daemon must hear too: that call is the last."""
    heard = []
    end = time.monotonic() + OPENING_SECONDS
    for _ in range(CALLS_MAX):
        call = _heard(source, end)
        # To be asked for keepalive is what a daemon begins its own with (remoteDispatchConnectSupportsFeature).
        if call.header.procedure in (procedures.FEATURE, procedures.OPEN):
            heard.append(call)
        if call.header.procedure == procedures.OPEN:
            return heard
        _write(sink, call.reply(ANSWERS[call.header.procedure]))
    raise ProtocolError(f"{CALLS_MAX} calls have not opened the connection", xdr.RECONNECT_REMEDY)


def _heard(source: int, end: float) -> Message:
    """Return the next call. Nothing is kept of what is none, and no more read of it than its header."""
    length, *words = messages.FRAME.unpack(_exactly(source, messages.FRAME.size, end))
    header, size = messages.Header._make(words), length - messages.FRAME.size
    if not is_call(header) or header.with_descriptors or size not in SIZES.get(header.procedure, ()):
        what = f"procedure {header.procedure} with {size} bytes is called before the connection is open"
        raise ProtocolError(what, xdr.RECONNECT_REMEDY)
    return Message(header, _exactly(source, size, end))


def _exactly(source: int, size: int, end: float) -> bytes:
    """Read as much. Raises ConnectionError where the other side ends, or the time does."""
    data = b""
    while len(data) < size:
        # Who says nothing is not worth a line in the log.
        if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
            raise ConnectionAbortedError
        piece = os.read(source, size - len(data))
        if not piece:
            raise ConnectionAbortedError
        data += piece
    return data


def _write(sink: int, reply: Message) -> None:
    os.write(sink, reply.encode())


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
    return in_use(folder, kind)


def _is_session(opening: Message) -> bool:
    """Tell whether a user's own daemon is meant; root has none (remoteGetURIDaemonInfo)."""
    name = xdr.string_at(opening.payload, xdr.WORD.size) if xdr.word_at(opening.payload, 0) else b""
    return os.geteuid() != 0 and urlsplit(name.decode(errors="replace")).path == "/session"


def _is_read_only(opening: Message) -> bool:
    """Tell whether the client wants to look only: its flags are the call's last word."""
    return bool(xdr.word_at(opening.payload, len(opening.payload) - xdr.WORD.size) & procedures.READ_ONLY)


def _authenticate(daemon: socket.socket) -> None:
    """Pass the daemon's own check of who this is, as far as that needs no password."""
    ways = authentications(daemon)
    if procedures.AUTHENTICATION_NONE in ways:
        return
    if procedures.AUTHENTICATION_POLKIT not in ways:
        raise HostError("the daemon wants a password, which this connection cannot give", "use a URI without it")
    if ask(daemon, procedures.AUTH_POLKIT).header.status != messages.Status.OK:
        raise HostError("the daemon refuses this user", WHO)
