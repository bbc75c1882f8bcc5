"""The connection `libvirt-vepa-connect`: libvirt's client library runs it for a URI of the `ext` transport.

It stands between the client, on its standard input and output, and the socket of this host's
daemon, as the calling user and with no other rights. Which daemon is meant the client says only
when it opens the connection, so what comes before that is answered here.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from libvirt_vepa import protocol, wire
from libvirt_vepa.errors import HostError, VepaError, WireError
from libvirt_vepa.hand import no_hand, open_hand
from libvirt_vepa.relay import Relay
from libvirt_vepa.wire import Message

SYSTEM = Path("/run/libvirt")
CHUNK = 256 * 1024
# What one side has not taken yet before the other is no longer read from.
MOST = 1024 * 1024
# How long a side that has stopped reading is waited for once the other has ended.
DELIVER_SECONDS = 10.0
DONE, FAILED = 0, 1


def run() -> int:
    """Serve one client until either side ends; return the exit status. What goes wrong is one line on stderr."""
    try:
        opening = _await_opening()
        with _connect(opening) as daemon:
            daemon.sendall(opening.encode())
            _carry(Relay(no_hand if _is_session(opening) else open_hand), daemon)
    except VepaError as error:
        sys.stderr.write(f"libvirt-vepa-connect: {error}\n")
        return FAILED
    except (BrokenPipeError, ConnectionError, KeyboardInterrupt):
        return FAILED
    return DONE


# -- before the connection is open


def _await_opening() -> Message:
    """Answer the client until it opens the connection; return that call."""
    while True:
        call = _read(lambda size: os.read(0, size))
        if call.header.procedure == protocol.OPEN:
            return call
        os.write(1, call.reply(_answer(call.header.procedure)).encode())


def _answer(procedure: int) -> bytes:
    if procedure == protocol.AUTH_LIST:
        # One way, which is none: this process is the user's own.
        return wire.WORD.pack(1) + wire.WORD.pack(protocol.AUTHENTICATION_NONE)
    if procedure == protocol.FEATURE:
        # Only keepalive is asked for that early, and every daemon has it.
        return wire.WORD.pack(1)
    raise WireError(f"procedure {procedure} is called before the connection is open", wire.ANEW)


def _read(receive: Callable[[int], bytes]) -> Message:
    """Read one whole message, and nothing of what follows it."""
    frames = wire.Frames(lambda _header: True)
    missing = wire.FRAME.size
    head = _exactly(receive, missing)
    length = wire.word_at(head, 0)
    for piece in frames.feed(head + _exactly(receive, max(0, min(length, wire.MESSAGE_MAX) - missing))):
        if isinstance(piece, Message):
            return piece
    raise WireError("a message has ended too early", wire.ANEW)


def _exactly(receive: Callable[[int], bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = receive(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


# -- the daemon


def _connect(opening: Message) -> socket.socket:
    """Return a connection to the daemon that the client means, authenticated. Raises HostError."""
    path = _socket_of(opening)
    daemon = socket.socket(socket.AF_UNIX)
    try:
        daemon.connect(os.fspath(path))
    except OSError as error:
        remedy = "start libvirtd, or virtqemud where the daemons are modular"
        raise HostError(f"cannot connect to {path}: {error.strerror}", remedy) from error
    _authenticate(daemon)
    return daemon


def _socket_of(opening: Message) -> Path:
    """Return the socket that libvirt's own client would choose (remoteGetUNIXSocket)."""
    flags = wire.word_at(opening.payload, len(opening.payload) - wire.WORD.size)
    if _is_session(opening):
        folder, kind = _runtime() / "libvirt", "sock"
    else:
        folder, kind = SYSTEM, "sock-ro" if flags & protocol.READ_ONLY else "sock"
    modular = folder / f"virtqemud-{kind}"
    return modular if modular.exists() else folder / f"libvirt-{kind}"


def _is_session(opening: Message) -> bool:
    name = wire.string_at(opening.payload, wire.WORD.size) if wire.word_at(opening.payload, 0) else b""
    return urlsplit(name.decode(errors="replace")).path == "/session"


def _runtime() -> Path:
    """Return the user's folder for sockets; the client does not pass the variable on (virCommandAddEnvPassCommon)."""
    usual = Path(f"/run/user/{os.getuid()}")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or (usual if usual.is_dir() else Path.home() / ".cache"))


def _authenticate(daemon: socket.socket) -> None:
    """Pass the daemon's own check of who this is, as far as that needs no password."""
    reply = _ask(daemon, protocol.AUTH_LIST)
    ways = [wire.word_at(reply.payload, at) for at in range(wire.WORD.size, len(reply.payload), wire.WORD.size)]
    if protocol.AUTHENTICATION_NONE in ways:
        return
    if protocol.AUTHENTICATION_POLKIT not in ways:
        raise HostError("the daemon wants a password, which this connection cannot give", "use a URI without it")
    if _ask(daemon, protocol.AUTH_POLKIT).header.status != wire.Status.OK:
        raise HostError("the daemon refuses this user", "try again as root, or as a member of the group libvirt")


def _ask(daemon: socket.socket, procedure: int) -> Message:
    """Call a procedure that has no arguments; the client's own calls have not begun."""
    header = wire.Header(protocol.PROGRAM, protocol.VERSION, procedure, wire.Type.CALL, 0, wire.Status.OK)
    daemon.sendall(Message(header, b"").encode())
    return _read(daemon.recv)


# -- afterwards


def _carry(relay: Relay, daemon: socket.socket) -> None:
    """Carry everything both ways until either side ends; what was read is still delivered. Raises WireError."""
    to_daemon, to_client = bytearray(), bytearray()
    server = daemon.fileno()
    for descriptor in (0, 1, server):
        os.set_blocking(descriptor, False)
    try:
        while _step(relay, server, to_daemon, to_client):
            pass
    finally:
        for descriptor, pending in ((server, to_daemon), (1, to_client)):
            _deliver(descriptor, pending)


def _step(relay: Relay, server: int, to_daemon: bytearray, to_client: bytearray) -> bool:
    """Wait for whatever can be done and do it; tell whether both sides are still there."""
    # What the client sends may come back to it at once, as an error.
    sources = [
        *([0] if max(len(to_daemon), len(to_client)) < MOST else []),
        *([server] if len(to_client) < MOST else []),
        *relay.hands,
    ]
    readable, _, _ = select.select(sources, [*([server] if to_daemon else []), *([1] if to_client else [])], [])
    for source in readable:
        if source in relay.hands:
            ahead, back = relay.from_hand(source)
            to_daemon += ahead
            to_client += back
            continue
        data = os.read(source, CHUNK)
        if not data:
            return False
        if source == server:
            ahead, back = relay.from_daemon(data)
        else:
            ahead, back = relay.from_client(data)
        to_daemon += ahead
        to_client += back
    _write(server, to_daemon)
    _write(1, to_client)
    return True


def _write(descriptor: int, pending: bytearray) -> None:
    """Write as much as is taken at once."""
    if pending:
        with suppress(BlockingIOError):
            del pending[: os.write(descriptor, pending)]


def _deliver(descriptor: int, pending: bytearray) -> None:
    """Write the rest, now that nothing more comes; a side that takes nothing for long gets no more."""
    while pending and select.select([], [descriptor], [], DELIVER_SECONDS)[1]:
        try:
            _write(descriptor, pending)
        except OSError:  # it has ended too
            return
