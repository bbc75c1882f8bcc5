# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service on a Unix socket: one process listens, with everything loaded, and forks one for each connection.

The process that listens reads nothing of what clients send, and never acts for one of them.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from libvirt_vepa.errors import HostError
from libvirt_vepa.ipc.admission import Admission, Bounds
from libvirt_vepa.ipc.listening_socket import bound, inherited
from libvirt_vepa.ipc.peer_credentials import Peer, peer_of, uid_of

FAILED = 1
# How long somebody who is refused is told so, and how long nothing is accepted where the kernel has no room.
ANSWER_SECONDS = 5
PAUSE_SECONDS = 1.0
CHUNK = 4096
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

# What is done with a connection and who has made it; returns an exit status.
Serve = Callable[[socket.socket, Peer], int]
# What tells a client, in its own protocol, why it is refused.
Refuse = Callable[[socket.socket, HostError], None]


def listen(path: Path | None, serve: Serve, program: str, bounds: Bounds, refuse: Refuse) -> int:
    """Have every connection served: on this path, or where there is none on the socket that systemd passes on.

    `program` names this one on stderr where a connection cannot be served.
    Each connection has a process of its own, which is a copy of this one: what `serve` needs is loaded before.
    `refuse` is called in such a process, too. Return an exit status: 0 after SIGTERM or SIGINT, when connections
    go on, and when systemd has the socket and nobody has used it for long.
    Raises HostError where there is no socket to be had.
    """
    # What is loaded stays: the garbage collector would write to it, and have each child copy it.
    gc.collect()
    gc.freeze()
    # A path is removed in the end, also by a signal that comes at once.
    with _signals() as wakes, closing(inherited()) if path is None else bound(path) as listener:
        idle_seconds = bounds.idle_seconds if path is None else None
        Server(listener, wakes, serve, program, bounds, refuse).run(idle_seconds)
    return 0


def _installed() -> tuple[int, int, int] | None:
    """Return what tells this file from one that was installed in its place, None where there is none."""
    try:
        found = Path(__file__).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


LOADED = _installed()


def is_outdated() -> bool:
    """Tell whether another version was installed, or this one removed, since this process loaded it."""
    return _installed() != LOADED


class Server:
    """The socket that is listened on, and the connections that have come by it."""

    def __init__(
        self,
        listener: socket.socket,
        wakes: tuple[socket.socket, socket.socket],
        serve: Serve,
        program: str,
        bounds: Bounds,
        refuse: Refuse,
    ) -> None:
        listener.setblocking(False)
        self._listener, self._wakes = listener, wakes
        self._serve, self._refuse = serve, refuse
        self._program = program
        self._memory = bounds.memory
        self._admission = Admission(bounds)

    def run(self, idle_seconds: float | None) -> None:
        """Give each connection a process, until a signal ends this one, or until nobody comes for so long.

        systemd holds the socket as well: whoever connects in the moment when this ends has it started again.
        """
        while True:
            seconds = None if self._admission.busy else idle_seconds
            wake = self._wakes[0]
            ready = select.select([wake, self._listener], [], [], seconds)[0]
            if not ready or (wake in ready and set(wake.recv(CHUNK)) & {signal.SIGTERM, signal.SIGINT}):
                return
            self._reap()
            if self._listener in ready:
                # systemd starts the one that is installed now for those who wait.
                if idle_seconds is not None and is_outdated():
                    return
                self._accept()

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._admission.remove(pid)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._say(f"{error.strerror}; stop others")
            # It would be tried again at once; a signal can wait for that.
            select.select([], [], [], PAUSE_SECONDS)
            return
        with connection:
            uid = uid_of(connection)
            reason = self._admission.refusal(uid)
            if reason is None:
                self._begin(connection, uid)
            else:
                self._turn_away(connection, uid, reason)

    def _begin(self, connection: socket.socket, uid: int) -> None:
        if pid := self._fork(connection, self._serve):
            self._admission.add(pid, uid)

    def _turn_away(self, connection: socket.socket, uid: int, reason: HostError) -> None:
        """Let the connection end, with a word to those who are few, and to the log."""
        if self._admission.is_news(uid):
            self._say(str(reason))
        if self._admission.may_answer(uid) and (pid := self._fork(connection, self._answering(reason))):
            self._admission.add_answer(pid, uid)

    def _answering(self, reason: HostError) -> Serve:
        def answer(connection: socket.socket, _peer: Peer) -> int:
            signal.alarm(ANSWER_SECONDS)
            # Nothing is lost where they have gone already.
            with suppress(OSError):
                self._refuse(connection, reason)
                connection.shutdown(socket.SHUT_WR)
                # A client that still writes would not read what it was told.
                while connection.recv(CHUNK):
                    pass
            return 0

        return answer

    # -- the process of a connection

    def _fork(self, connection: socket.socket, serve: Serve) -> int | None:
        """Return the process that does this with a connection, None where there can be none."""
        try:
            pid = os.fork()
        except OSError as error:
            self._say(f"{error.strerror}; stop others")
            return None
        if pid == 0:
            self._in_child(connection, serve)
        return pid

    def _in_child(self, connection: socket.socket, serve: Serve) -> None:
        status = FAILED
        try:
            self._become_a_child()
            connection.setblocking(True)
            status = serve(connection, peer_of(connection))
        except MemoryError:
            self._say(f"it takes more than {self._memory >> 20} MiB of memory; ask for less at once")
        except Exception as error:  # the last line of defence: the process ends here, and nobody else would say why
            self._say(str(error) if isinstance(error, HostError) else f"{error!r:.300}; report this")
        finally:
            os._exit(status)

    def _become_a_child(self) -> None:
        """Keep nothing of the service's that a connection could use, and do not take what others need."""
        # Python 3.13 has forgotten it by now, and 3.11 has not.
        signal.set_wakeup_fd(-1)
        for kind in SIGNALS:
            signal.signal(kind, signal.SIG_DFL)
        for end in (self._listener, *self._wakes):
            end.close()
        most = _address_space() + self._memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        # Where memory is short a connection ends before the service (OOMScoreAdjust= in the units).
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_bytes(b"0")

    def _say(self, why: str) -> None:
        # Where nobody reads it any more the service goes on.
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{self._program}: cannot serve a connection: {why}\n")


def _address_space() -> int:
    """Return how many bytes this process has mapped (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


@contextmanager
def _signals() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Turn the signals that matter here into bytes on a socket; give both of its ends, that to be read first."""
    wake, writer = socket.socketpair()
    with wake, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        kept = {kind: signal.signal(kind, _note) for kind in SIGNALS}
        try:
            yield wake, writer
        finally:
            signal.set_wakeup_fd(before)
            for kind, handler in kept.items():
                signal.signal(kind, handler)


def _note(_kind: int, _frame: object) -> None:
    """Have the signal's number written, and nothing else done."""
