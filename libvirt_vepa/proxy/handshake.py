# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What comes before a connection is open: which daemon the client means, and who it is there.

The client says that only when it opens the connection, so what it asks before is answered here.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from libvirt_vepa.errors import HostError, ProtocolError
from libvirt_vepa.libvirtd import session
from libvirt_vepa.libvirtd.sockets import SYSTEM, WHO, ask, authentications, in_use, read_message
from libvirt_vepa.proxy.helper_client import connect_helper, refuse_helper
from libvirt_vepa.proxy.relay import Relay
from libvirt_vepa.proxy.translation import error_reply
from libvirt_vepa.rpc import message as messages
from libvirt_vepa.rpc import procedures, xdr
from libvirt_vepa.rpc.message import Message

OWN = "start it with 'virsh -c qemu:///session uri'"
REMEDIES = {errno.EACCES: WHO}
# VIR_ERR_SYSTEM_ERROR of libvirt/virterror.h, with libvirt's words.
SYSTEM_ERROR = (38, "%s")


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
        os.write(sink, error_reply(opening, error, *SYSTEM_ERROR).encode())
        raise
    with daemon:
        for call in features:
            ask(daemon, procedures.FEATURE, call.payload)
        daemon.sendall(opening.encode())
        yield (
            daemon,
            Relay(refuse_helper if _is_session(opening) else partial(connect_helper, helper), _is_read_only(opening)),
        )


def _await_opening(source: int, sink: int) -> list[Message]:
    """Answer the client until it opens the connection; return what the daemon must hear too: that call is the last."""
    heard = []
    while True:
        call = read_message(lambda size: os.read(source, size))
        # To be asked for keepalive is what a daemon begins its own with (remoteDispatchConnectSupportsFeature).
        if call.header.procedure in (procedures.FEATURE, procedures.OPEN):
            heard.append(call)
        if call.header.procedure == procedures.OPEN:
            return heard
        os.write(sink, call.reply(_answer(call.header.procedure)).encode())


def _answer(procedure: int) -> bytes:
    if procedure == procedures.AUTH_LIST:
        # One way, which is none: this process is the user's own.
        return xdr.WORD.pack(1) + xdr.WORD.pack(procedures.AUTHENTICATION_NONE)
    if procedure == procedures.FEATURE:
        # Only keepalive is asked for that early, and every daemon has it.
        return xdr.WORD.pack(1)
    raise ProtocolError(f"procedure {procedure} is called before the connection is open", xdr.RECONNECT_REMEDY)


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
