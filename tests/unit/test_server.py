# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service's own process: how many it serves, what each may take, and when it ends. Users: tests/libvirt."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from libvirt_vepa.ipc.admission import ANSWERS, Admission, Bounds

TOP = Path(__file__).resolve().parents[2]
SECONDS = 60
BOUNDS = Bounds(each=2, total=3, memory=1 << 26)
# A service that answers "here", and does what the first byte that it hears stands for.
SERVICE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from libvirt_vepa.ipc.admission import Bounds
from libvirt_vepa.ipc.server import listen

def serve(connection, peer):
    connection.sendall(b"here")
    word = connection.recv(1)
    kept = b"x" * (1 << 28) if word == b"m" else b""
    if word == b"f":
        there = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
        connection.sendall(" ".join(path for path in there if "socket:" in path).encode())
    return len(kept) % 2

def refuse(connection, reason):
    connection.sendall(str(reason).encode())

bounds = Bounds(each=2, total=3, memory=1 << 26, idle_seconds=float(sys.argv[2]))
sys.exit(listen(None, serve, "service", bounds, refuse))
"""


class Service:
    """A service on a socket that is kept here, as systemd keeps it."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.fspath(path))
        self.listener.listen()
        self.path = path

    def start(self, idle_seconds: float = 600) -> subprocess.Popen[str]:
        words = (sys.executable, "-c", SERVICE, os.fspath(TOP), str(idle_seconds))
        number = self.listener.fileno()
        start = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{number} {number}<&-'
        return subprocess.Popen(
            ("bash", "-c", start, "bash", *words), pass_fds=[self.listener.fileno()], stderr=subprocess.PIPE, text=True
        )

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(SECONDS)
        client.connect(os.fspath(self.path))
        return client


def rest(client: socket.socket) -> bytes:
    """Return all that is said to a client until the end."""
    said = b""
    while piece := client.recv(4096):
        said += piece
    return said


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    found = Service(tmp_path / "sock")
    with found.listener:
        yield found


@pytest.fixture
def running(service: Service) -> Iterator[subprocess.Popen[str]]:
    process = service.start()
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def test_it_ends_when_nobody_has_come_for_long(service: Service) -> None:
    process = service.start(0.1)
    assert (process.communicate(timeout=SECONDS)[1], process.returncode) == ("", 0)


def test_who_comes_when_it_ends_is_served_by_the_next(service: Service) -> None:
    process = service.start(0.1)
    process.communicate(timeout=SECONDS)
    with service.connect() as client:
        again = service.start(0.1)
        assert client.recv(4) == b"here"
    assert (again.communicate(timeout=SECONDS)[1], again.returncode) == ("", 0)


def test_it_does_not_end_as_long_as_somebody_is_served(service: Service) -> None:
    process = service.start(0.1)
    with service.connect() as client:
        assert client.recv(4) == b"here"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0


def test_a_stop_leaves_who_is_connected(service: Service, running: subprocess.Popen[str]) -> None:
    with service.connect() as client:
        assert client.recv(4) == b"here"
        running.send_signal(signal.SIGTERM)
        assert running.wait(SECONDS) == 0
        client.sendall(b"f")
        # It has the connection's alone, and nothing that is the service's.
        assert rest(client).count(b"socket:") == 1


def test_one_more_than_the_bound_is_told_why(service: Service, running: subprocess.Popen[str]) -> None:
    with ExitStack() as stack:
        first = [stack.enter_context(service.connect()) for _ in range(BOUNDS.each)]
        assert [client.recv(4) for client in first] == [b"here"] * BOUNDS.each
        why = f"user {os.geteuid()} has 2 connections, and gets no more; close some of them"
        for _ in range(3):
            with service.connect() as client:
                assert rest(client) == why.encode()
        first[0].close()
        # It is counted no more as soon as its process has ended.
        while True:
            with service.connect() as client:
                if client.recv(4) == b"here":
                    break
    running.terminate()
    said = running.communicate(timeout=SECONDS)[1]
    assert said == f"service: cannot serve a connection: {why}\n", "a flood is one line"


def test_the_memory_of_each_is_bounded(service: Service, running: subprocess.Popen[str]) -> None:
    with service.connect() as client:
        client.sendall(b"m")
        assert rest(client) == b"here"
    with service.connect() as client:
        assert client.recv(4) == b"here"
    running.terminate()
    said = running.communicate(timeout=SECONDS)[1]
    assert said == ("service: cannot serve a connection: it takes more than 64 MiB of memory; ask for less at once\n")


# -- who is counted


def served(admission: Admission, *users: int) -> None:
    for pid, uid in enumerate(users, 100):
        assert admission.refusal(uid) is None
        admission.add(pid, uid)


def test_one_user_takes_nothing_from_the_others() -> None:
    admission = Admission(BOUNDS)
    served(admission, 1000, 1000)
    assert "user 1000 has 2 connections" in str(admission.refusal(1000))
    assert admission.refusal(1001) is None and admission.refusal(0) is None


def test_all_users_take_nothing_from_root() -> None:
    admission = Admission(BOUNDS)
    served(admission, 1000, 1000, 1001)
    assert "all users together have 3 connections" in str(admission.refusal(1002))
    admission.add(200, 0)
    assert admission.refusal(0) is None
    admission.add(201, 0)
    assert "user 0 has 2 connections" in str(admission.refusal(0))


def test_root_takes_nothing_from_users() -> None:
    admission = Admission(BOUNDS)
    served(admission, 0, 0, 1000, 1000, 1001)


def test_what_has_ended_is_not_counted() -> None:
    admission = Admission(BOUNDS)
    served(admission, 1000, 1000)
    admission.remove(100)
    assert admission.refusal(1000) is None and admission.busy
    admission.remove(101)
    assert not admission.busy


def test_a_flood_is_answered_by_few_processes() -> None:
    admission = Admission(BOUNDS)
    for pid in range(ANSWERS):
        assert admission.may_answer(1000)
        admission.add_answer(pid, 1000)
    assert not admission.may_answer(1000) and admission.may_answer(1001)
    admission.remove(0)
    assert admission.may_answer(1000)


def test_a_flood_of_each_user_is_one_line() -> None:
    admission = Admission(BOUNDS)
    assert [admission.is_news(uid) for uid in (1000, 1000, 1001, 1000)] == [True, False, True, False]
