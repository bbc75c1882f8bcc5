# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service on a Unix socket: bound here or passed on by systemd, with one process for each connection."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.errors import HostError, remedy_for
from libvirt_vepa.ipc.peer_credentials import Peer, peer_of

# SD_LISTEN_FDS_START of sd-daemon.h.
FIRST = 3
# As many connections are served at once; the next ones wait.
MOST = 512
FAILED = 1

# What is done with a connection and who has made it; returns an exit status.
Serve = Callable[[socket.socket, Peer], int]


def listen(path: Path | None, serve: Serve, program: str) -> int:
    """Have every connection served: on this path, or where there is none on the socket that systemd passes on.

    `program` names this one on stderr where a connection cannot be served.
    Each has a process of its own, but for the only one that there is where systemd passes on a connection
    (Accept=yes). Return an exit status, after SIGTERM or SIGINT 0; connections go on then.
    Raises HostError where there is no socket to be had.
    """
    if path is None:
        found = _inherited()
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return serve(found, peer_of(found))
        with _signals() as wake:
            _accept_all(found, wake, serve, program)
    else:
        # As soon as there is a path it will be removed.
        with _signals() as wake, _bound(path) as found:
            _accept_all(found, wake, serve, program)
    return 0


# -- the socket


def _inherited() -> socket.socket:
    """Return the socket that was passed on (sd_listen_fds(3))."""
    whose, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    if (whose, count) != (str(os.getpid()), "1"):
        raise HostError("no socket was passed on", "name the path to listen on, or start the systemd unit")
    os.set_inheritable(FIRST, False)
    try:
        found = socket.socket(fileno=FIRST)
    except OSError as error:
        raise HostError(f"what was passed on is no socket: {error.strerror}", "fix the systemd unit") from error
    if (found.family, found.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        raise HostError("what was passed on is no Unix stream socket", "fix the systemd unit")
    found.setblocking(True)
    return found


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """Listen there; the path is gone in the end."""
    with socket.socket(socket.AF_UNIX) as found:
        try:
            _make_room(path)
            # Who may do what is for the daemon to say, but nobody else than root can act as somebody else.
            before = os.umask(0o111 if os.geteuid() == 0 else 0o177)
            try:
                found.bind(os.fspath(path))
            finally:
                os.umask(before)
            found.listen(socket.SOMAXCONN)
            ours = path.lstat()
        except OSError as error:
            what = f"cannot listen on {path}: {error.strerror or error}"
            raise HostError(what, remedy_for(error, "name another path")) from error
        try:
            yield found
        finally:
            _remove(path, ours)


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HostError(f"cannot listen on {path}: it is there, and no socket", "name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise HostError(f"cannot listen on {path}: somebody else does", "stop that one, or name another path")


def _remove(path: Path, ours: os.stat_result) -> None:
    try:
        if os.path.samestat(path.lstat(), ours):
            path.unlink()
    except FileNotFoundError:
        pass


# -- the connections


def _accept_all(listener: socket.socket, wake: socket.socket, serve: Serve, program: str) -> None:
    """Give each connection a process, until a signal ends this one."""
    children: set[int] = set()
    listener.setblocking(False)
    while True:
        sources = [wake, listener] if len(children) < MOST else [wake]
        ready = select.select(sources, [], [])[0]
        if wake in ready and set(wake.recv(4096)) & {signal.SIGTERM, signal.SIGINT}:
            return
        children -= {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]}
        if listener in ready:
            children |= _accept(listener, serve, program)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Turn the signals that matter here into bytes on a socket."""
    wake, writer = socket.socketpair()
    with wake, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        kept = {kind: signal.signal(kind, _note) for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
        try:
            yield wake
        finally:
            signal.set_wakeup_fd(before)
            for kind, handler in kept.items():
                signal.signal(kind, handler)


def _note(_kind: int, _frame: object) -> None:
    """Have the signal's number written, and nothing else done."""


def _accept(listener: socket.socket, serve: Serve, program: str) -> set[int]:
    """Begin to serve one more; return the process that does."""
    try:
        connection, _ = listener.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return set()
    with connection:
        try:
            pid = os.fork()
        except OSError as error:
            _say(program, f"{error.strerror}; stop others")
            return set()
        if pid == 0:
            _in_child(connection, listener, serve, program)
    return {pid}


def _in_child(connection: socket.socket, listener: socket.socket, serve: Serve, program: str) -> None:
    status = FAILED
    try:
        listener.close()
        signal.set_wakeup_fd(-1)
        for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(kind, signal.SIG_DFL)
        connection.setblocking(True)
        status = serve(connection, peer_of(connection))
    except Exception as error:  # the last line of defence: the process ends here, and nobody else would say why
        _say(program, str(error) if isinstance(error, HostError) else f"{error!r:.300}; report this")
    finally:
        os._exit(status)


def _say(program: str, why: str) -> None:
    sys.stderr.write(f"{program}: cannot serve a connection: {why}\n")
