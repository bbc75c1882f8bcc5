# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What anybody may do to `libvirt-vepad`'s socket, and to a call of the hook that is under way: nobody else pays."""

from __future__ import annotations

import array
import json
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import PACKAGE, call, state_files, stored
from tests.lab.shell import link
from tests.support.resident import LOG, SECONDS, SOCKET, Resident, connected, impatient, listening, without_program
from tests.support.user import USER

# As many descriptors fit into one message (SCM_MAX_FD of net/scm.h).
DESCRIPTORS = 253
CONNECTIONS = 200
PREPARE = "\0".join(("guest", "lab1", "prepare", "begin", "-")).encode()
# Makes as many connections as it can, says so, and holds them until its standard input ends.
FLOOD = f"""
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
kept = []
for _ in range({CONNECTIONS}):
    channel = socket.socket(socket.AF_UNIX)
    channel.connect("{SOCKET}")
    kept.append(channel)
print(len(kept), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def service() -> Iterator[Resident]:
    with listening() as found:
        yield found


@pytest.fixture
def hasty() -> Iterator[Resident]:
    with listening(*impatient()) as found:
        yield found


def header(document: bytes) -> bytes:
    return b"hook 1 %d %d\n" % (len(PREPARE), len(document)) + PREPARE


def is_ready(channel: socket.socket) -> bool:
    return channel.recv(100) == b"ready\n"


def ends_under(channel: socket.socket, piece: bytes) -> None:
    """Say something again and again until the other side has ended."""
    for _ in range(SECONDS * 10):
        try:
            channel.send(piece)
            if select.select([channel], [], [], 0.1)[0] and not channel.recv(1000):
                return
        except ConnectionError:
            return
    raise AssertionError(f"it has not ended in {SECONDS} seconds")


# -- conversations that last


def test_a_call_that_comes_byte_by_byte_ends(hasty: Resident, guest: Guest) -> None:
    with connected() as channel:
        channel.sendall(b"hook 1 99999 1\n")
        ends_under(channel, b"x")
    with connected() as channel:
        channel.sendall(header(b" " * 99999))
        assert is_ready(channel)
        ends_under(channel, b" ")
    hasty.alone()
    assert call("prepare", stored(guest)).returncode == 0


def test_a_client_that_never_reads_ends(hasty: Resident) -> None:
    with connected() as channel:
        channel.setblocking(False)
        ends_unread(channel)
    hasty.alone()


def ends_unread(channel: socket.socket) -> None:
    """Ask until the other side has ended, and read nothing."""
    poll = select.poll()
    poll.register(channel, 0)
    for _ in range(SECONDS * 10):
        try:
            while True:
                channel.send(b"{}\n" * 1000)
        except BlockingIOError:
            if poll.poll(100):
                return
        except ConnectionError:
            return
    raise AssertionError(f"it has not ended in {SECONDS} seconds")


def test_one_conversation_asks_a_few_things(service: Resident) -> None:
    """It is about one change of one guest; more is a flood, of the log too."""
    said = []
    with connected() as channel, channel.makefile("rb") as answers, suppress(ConnectionResetError):
        channel.sendall(b'{"do": "commit"}\n' * 20)
        channel.shutdown(socket.SHUT_WR)
        for line in answers:
            said.append(json.loads(line))
    assert 4 <= len(said) < 20 and {each["error"] for each in said[:4]} == {"nothing is being attached"}


# -- what is sent along


def test_descriptors_that_are_sent_along_are_nobodys(service: Resident, guest: Guest) -> None:
    before = settled(service)
    with ExitStack() as stack:
        channel = stack.enter_context(connected())
        sent = [os.open("/dev/null", os.O_RDONLY) for _ in range(DESCRIPTORS)]
        along = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", sent))]
        for piece in (header(stored(guest)), stored(guest)[:100]):
            channel.sendmsg([piece], along)
        for number in sent:
            os.close(number)
        assert is_ready(channel)
        (child,) = service.children
        # The standard streams, and the connection.
        assert "/dev/null" not in files(child)[3:] and descriptors(child) <= 5
        channel.sendall(stored(guest)[100:])
        assert channel.recv(1000) == b"0 0 0\n"
    assert descriptors(service.pid) == before
    assert call("release", stored(guest)).returncode == 0


def settled(service: Resident) -> int:
    """Return how many descriptors the service has when it has begun, and serves nobody."""
    with connected() as channel:
        channel.shutdown(socket.SHUT_WR)
        assert channel.recv(1) == b""
    service.alone()
    return descriptors(service.pid)


def descriptors(pid: int) -> int:
    return len(files(pid))


def files(pid: int) -> list[str]:
    found = sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda path: int(path.name))
    return [str(path.readlink()) for path in found]


def test_a_user_who_names_another_is_still_that_user(service: Resident, guest: Guest) -> None:
    """What counts is who has connected, not what is said to be known of them (SCM_CREDENTIALS in unix(7))."""
    with connected() as channel:
        kind = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
        user = array.array("i", [os.getpid(), USER, USER]).tobytes()
        channel.sendmsg([header(stored(guest))], [(*kind, user)])
        assert is_ready(channel)


# -- a flood


def test_two_hundred_connections_of_a_user_stop_no_hook(service: Resident, guest: Guest) -> None:
    before = settled(service)
    flood = subprocess.Popen(
        ("/usr/bin/python3", "-c", FLOOD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=USER, group=USER
    )
    with flood:
        assert flood.stdout and flood.stdout.readline() == b"%d\n" % CONNECTIONS
        with without_program():
            for operation in ("prepare", "start", "release"):
                done = call(operation, stored(guest))
                assert (done.returncode, done.stderr) == (0, b"")
        # The process that has answered the last hook may still be ending.
        service.until("the user has 64 processes, and at most 4 that refuse", lambda: len(service.children) <= 68)
    service.alone()
    assert descriptors(service.pid) == before
    assert LOG.read_text() == (
        f"libvirt-vepad: cannot serve a connection: user {USER} has 64 connections, and gets no more; "
        "close some of them\n"
    )


# -- what is replaced in the middle


def test_what_is_replaced_in_the_middle_is_not_loaded(service: Resident, guest: Guest) -> None:
    """What has said that it is ready has all that it needs, and mixes nothing with what is installed meanwhile."""
    document = stored(guest)
    with connected() as channel:
        channel.sendall(header(document))
        assert is_ready(channel)
        with replaced():
            channel.sendall(document)
            assert channel.recv(1000) == b"0 0 0\n"
    assert call("start", document).returncode == 0
    assert call("release", document).returncode == 0 and state_files() == []


@contextmanager
def replaced() -> Iterator[None]:
    """Another version is installed, in which nothing can be loaded."""
    away = PACKAGE.rename(PACKAGE.with_name("libvirt_vepa.away"))
    try:
        for file in away.rglob("*.py"):
            other = PACKAGE / file.relative_to(away)
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_text("raise ImportError('this is another version')\n", encoding="utf-8")
        yield
    finally:
        shutil.rmtree(PACKAGE)
        away.rename(PACKAGE)


@contextmanager
def in_its_place(kind: str) -> Iterator[None]:
    """Something else is where the service listens."""
    away = SOCKET.rename(SOCKET.with_name("away"))
    with socket.socket(socket.AF_UNIX) as other:
        if kind == "file":
            SOCKET.write_bytes(b"")
        elif kind == "folder":
            SOCKET.mkdir()
        elif kind == "loop":
            SOCKET.symlink_to(SOCKET)
        elif kind == "nobody's":
            other.bind(str(SOCKET))
        yield
    if SOCKET.is_dir():
        SOCKET.rmdir()
    else:
        SOCKET.unlink()
    away.rename(SOCKET)


@pytest.mark.parametrize("kind", ["file", "folder", "loop", "nobody's"])
def test_what_is_no_service_is_not_asked(service: Resident, guest: Guest, kind: str) -> None:
    with in_its_place(kind):
        done = call("prepare", stored(guest))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"") and link(guest.device)
    assert call("release", stored(guest)).returncode == 0
