# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`libvirt-vepad` as systemd runs it: on a socket that stays when it ends, with its log in a file."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from tests.lab.hook import HAND_OVER, PACKAGES, PROGRAM, PYTHON, STATE, removed

SOCKET = Path("/run/libvirt/libvirt-vepad-sock")
LOG = Path("/run/libvirt-vepad.log")
SECONDS = 60
# The service, but for how long a conversation may take.
IMPATIENT = f"""
import sys
sys.path.insert(0, {str(PACKAGES)!r})
from libvirt_vepa import helper
helper.CONVERSATION_SECONDS = 1.0
sys.exit(helper.run())
"""


class Resident:
    """The service on its socket; `process` is the one that listens now."""

    def __init__(self, listener: socket.socket, *program: str) -> None:
        self._listener = listener
        self._program = program or ("libvirt-vepad",)
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        words = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" --listen 3<&' + str(self._listener.fileno())
        with LOG.open("ab") as log:
            return subprocess.Popen(
                ("bash", "-c", words, "bash", *self._program), pass_fds=[self._listener.fileno()], stderr=log
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def children(self) -> list[int]:
        """The processes that serve connections."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        except FileNotFoundError:
            return []
        return [int(pid) for pid in text.split()]

    def stop(self) -> None:
        """End it, however it is."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(SECONDS)

    def restart(self) -> None:
        """Start it again, once it has ended, as systemd does for those who wait on its socket."""
        self.process.wait(SECONDS)
        self.process = self._started()

    def alone(self) -> None:
        """Return once it serves nobody."""
        self.until("it serves nobody", lambda: not self.children)

    def waiting(self, count: int = 1, but: Collection[int] = ()) -> list[int]:
        """Return its children, but for these, once so many of them wait for a lock."""
        self.until(f"{count} of its children wait for a lock", lambda: len(self._blocked(but)) >= count)
        return self._blocked(but)

    def _blocked(self, but: Collection[int]) -> list[int]:
        waiting = Path("/proc/locks").read_text(encoding="ascii")
        return [pid for pid in self.children if pid not in but and f"-> FLOCK  ADVISORY  WRITE {pid} " in waiting]

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Return once something is so."""
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"not in {SECONDS} seconds: {what}"
            select.select([], [], [], 0.02)


@contextmanager
def listening(*program: str) -> Iterator[Resident]:
    """Run the service, or this program in its place, on its socket, which is everybody's."""
    SOCKET.parent.mkdir(exist_ok=True)
    LOG.write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(SOCKET))
        SOCKET.chmod(0o666)
        listener.listen()
        found = Resident(listener, *program)
        try:
            yield found
        finally:
            found.stop()
            SOCKET.unlink()


def impatient() -> tuple[str, ...]:
    """Return a service whose conversations may take one second."""
    return PYTHON, "-I", "-c", IMPATIENT


def connected() -> socket.socket:
    """Return a connection to it."""
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(SECONDS)
    channel.connect(str(SOCKET))
    return channel


@contextmanager
def patient(ready: float, done: float = 180) -> Iterator[None]:
    """Have the hook wait so many seconds until the service is ready, and until it is done."""
    whole = HAND_OVER.read_text(encoding="utf-8")
    line = 'libvirt-vepad-sock", 30, 180\n'
    assert line in whole
    HAND_OVER.write_text(whole.replace(line, f'libvirt-vepad-sock", {ready}, {done}\n'), encoding="utf-8")
    try:
        yield
    finally:
        HAND_OVER.write_text(whole, encoding="utf-8")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock, as many hooks would in turns: nobody who waits for it gives up, however long it takes here."""
    path, over = STATE / "locks" / name, Event()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        turns = Thread(target=_turns, args=(file.fileno(), over))
        turns.start()
        try:
            yield
        finally:
            over.set()
            turns.join()
            path.unlink()


def _turns(file: int, over: Event) -> None:
    while not over.wait(1):
        os.utime(file)


@contextmanager
def without_program() -> Iterator[None]:
    """The hook cannot do its work itself."""
    with removed(PROGRAM):
        yield
