# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The connection's own process, spoken to in libvirt's bytes: what passes, what ends it, and what it costs."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import libvirt
import pytest

from tests.lab.daemon import Daemon, virsh
from tests.libvirt.conftest import Make
from tests.support import remote_protocol as remote
from tests.support.user import CONNECTION

SECONDS = 60
MEBIBYTE = 1024 * 1024
SOCKET = Path("/run/libvirt/libvirt-sock")
AUTH_LIST, OPEN, NUMBER = 66, 1, 51
PING = remote.Frame(remote.KEEPALIVE, 1, 1, remote.EVENT, 0, remote.OK, b"")
PONG = PING._replace(procedure=2)
NONE = b"\0\0\0\x01\0\0\0\0"
OPENING = remote.call(OPEN, b"\0\0\0\x01" + remote.string(b"qemu:///system") + bytes(4), 2)


def whole(end: socket.socket) -> remote.Frame:
    """Receive one message."""
    data = b""
    while len(data) < 4 or len(data) < int.from_bytes(data[:4]):
        missing = int.from_bytes(data[:4]) - len(data) if len(data) >= 4 else 4 - len(data)
        piece = end.recv(min(missing, MEBIBYTE))
        assert piece, f"it has ended after {data[:99]!r}"
        data += piece
    return next(iter(remote.frames(data)))


class Spoken:
    """A client of the connection's, before it has said anything."""

    def __init__(self) -> None:
        self.end, theirs = socket.socketpair()
        self.end.settimeout(SECONDS)
        with theirs:
            self.process = subprocess.Popen(
                (CONNECTION,), stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE
            )

    def ask(self, frame: remote.Frame) -> remote.Frame:
        self.end.sendall(frame.pack())
        return whole(self.end)

    def begin(self) -> None:
        assert self.ask(remote.call(AUTH_LIST)).payload == NONE
        assert self.ask(OPENING) == remote.reply(OPEN, b"", 2)

    def memory(self) -> int:
        """Return how much the process has in memory, in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s*(\d+)", text)[0])

    def said(self) -> tuple[int, str]:
        """Return how it has ended, and what it has said."""
        text = self.process.communicate(timeout=SECONDS)[1].decode()
        return self.process.returncode, text


@pytest.fixture
def client(libvirtd: Daemon) -> Iterator[Spoken]:
    found = Spoken()
    yield found
    found.end.close()
    try:
        found.process.communicate(timeout=SECONDS)
    finally:
        found.process.kill()


@pytest.fixture
def fake(libvirtd: Daemon) -> Iterator[socket.socket]:
    """A socket in the place of the daemon's."""
    libvirtd.stop()
    SOCKET.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(os.fspath(SOCKET))
        found.listen()
        found.settimeout(SECONDS)
        yield found
    SOCKET.unlink(missing_ok=True)
    libvirtd.start()


@pytest.fixture
def pair(fake: socket.socket, client: Spoken) -> Iterator[tuple[Spoken, socket.socket]]:
    """A client and a daemon of the test's own, with the connection open between them."""
    opened = threading.Thread(target=client.begin)
    opened.start()
    daemon, _ = fake.accept()
    with daemon:
        daemon.settimeout(SECONDS)
        whole(daemon)
        daemon.sendall(remote.reply(AUTH_LIST, NONE).pack())
        assert whole(daemon) == OPENING
        daemon.sendall(remote.reply(OPEN, b"", 2).pack())
        opened.join()
        yield client, daemon


# -- with libvirt's daemon


def test_keepalive_passes(client: Spoken) -> None:
    client.begin()
    assert client.ask(PING) == PONG


@pytest.mark.parametrize("size", [1, 4, 27, 28, 60])
def test_half_a_message_and_the_end(client: Spoken, size: int) -> None:
    client.begin()
    client.end.sendall(remote.call(11, remote.string(b"<domain/>") * 9).pack()[:size])
    client.end.shutdown(socket.SHUT_WR)
    assert client.said() == (0, "")
    virsh("list")


def test_what_is_no_message_ends_it_with_a_line(client: Spoken) -> None:
    client.begin()
    client.end.sendall(remote.call(NUMBER, b"", 7).pack() + b"GET / HTTP/1.0\r\n\r\n")
    code, said = client.said()
    assert code == 1 and re.fullmatch(r"libvirt-vepa-connect: a message of \d+ bytes is none of libvirt's; .*\n", said)


def test_a_connection_survives_a_document_that_becomes_too_long(client: Spoken, guest_of: Make) -> None:
    client.begin()
    guest = guest_of(1)
    guest.ask("vepa")
    xml = guest.xml.replace("<devices>", "<!--{}--><devices>")
    document = xml.format("x" * (4 * MEBIBYTE - len(xml) + 2)).encode()
    assert len(document) == 4 * MEBIBYTE
    reply = client.ask(remote.call(11, remote.string(document), 5))
    assert (reply.serial, reply.status) == (5, remote.ERROR)
    assert b"longer than the 4 MiB that libvirt takes" in (remote.error(reply.payload).message or b"")
    reply = client.ask(remote.call(NUMBER, b"", 6))
    assert (reply.serial, reply.status, reply.payload) == (6, remote.OK, bytes(4))


IMPORTS = Path("/run/imports")


def imported() -> set[str]:
    return {line.rpartition("|")[2].strip() for line in IMPORTS.read_text().splitlines()}


def test_nothing_is_loaded_before_the_first_document(libvirtd: Daemon, guest_of: Make) -> None:
    command = Path("/run/timed")
    command.write_text(f"#!/bin/sh\nexec /usr/bin/python3 -I -X importtime {CONNECTION} 2>{IMPORTS}\n")
    command.chmod(0o755)
    guest = guest_of(1)
    with suppress(FileNotFoundError):
        IMPORTS.unlink()
    connection = libvirt.open(f"qemu+ext:///system?command={command}")
    domain = connection.defineXML(guest.xml)
    assert guest.name in domain.XMLDesc()
    heavy = {"lxml.etree", "pyroute2", "libvirt", "libvirt_vepa.xml.validate", "libvirt_vepa.ipc.server"}
    assert "libvirt_vepa.proxy.relay" in imported()
    assert not imported() & heavy
    guest.ask("vepa")
    connection.defineXML(guest.xml)
    assert {"lxml.etree", "libvirt_vepa.xml.validate"} <= imported()
    assert "lan" in [interface.name() for interface in connection.listAllInterfaces()]
    assert "libvirt_vepa.proxy.interface_view" in imported()
    assert not imported() & {"pyroute2", "libvirt"}
    connection.close()


# -- with a daemon of the test's own


def test_the_longest_message_passes_both_ways(pair: tuple[Spoken, socket.socket]) -> None:
    client, daemon = pair
    # One that could hold a document, and one that nobody looks into.
    for procedure in (11, 14, 209):
        frame = remote.call(procedure, os.urandom(1024).ljust(remote.LONGEST - 28, b"."))
        for said, heard in ((client.end, daemon), (daemon, client.end)):
            frame = frame._replace(type=remote.CALL if said is client.end else remote.REPLY)
            writer = threading.Thread(target=said.sendall, args=(frame.pack(),))
            writer.start()
            assert whole(heard) == frame
            writer.join()


def test_a_daemon_that_dies_in_the_middle_of_a_reply(pair: tuple[Spoken, socket.socket]) -> None:
    client, daemon = pair
    event = remote.call(211, b"x" * 100, 0, remote.EVENT).pack()
    daemon.sendall(event + event[:70])
    daemon.close()
    data = b""
    while piece := client.end.recv(4096):
        data += piece
    assert data == event + event[:70]
    assert client.said() == (0, "")


def test_a_daemon_that_dies_in_the_middle_of_a_document(pair: tuple[Spoken, socket.socket]) -> None:
    client, daemon = pair
    reply = remote.reply(14, remote.string(b"<domain/>"))
    daemon.sendall(reply.pack() + reply.pack()[:40])
    daemon.close()
    assert whole(client.end) == reply
    # Nobody can use a part of a document, and of a message neither.
    assert client.end.recv(1) == b""
    assert client.said() == (0, "")


@pytest.mark.parametrize("who", ["client", "daemon"])
def test_a_stalled_side_costs_little_memory(pair: tuple[Spoken, socket.socket], who: str) -> None:
    client, daemon = pair
    said, heard = (daemon, client.end) if who == "client" else (client.end, daemon)
    before = client.memory()
    frame = remote.call(209, bytes(256 * 1024), 3, remote.STREAM)._replace(status=remote.CONTINUE)
    count = 256
    writer = threading.Thread(target=lambda: said.sendall(frame.pack() * count))
    writer.start()
    # Nothing more can be written for a second: it is full.
    while select.select([], [said], [], 1)[1]:
        pass
    assert client.memory() - before < 8 * 1024
    for _ in range(count):
        assert whole(heard) == frame
    writer.join()
    assert client.memory() - before < 8 * 1024
    # And the other way was free.
    heard.sendall(PING.pack())
    assert whole(said) == PING


def test_a_client_that_dies_has_its_last_words_heard(pair: tuple[Spoken, socket.socket]) -> None:
    client, daemon = pair
    data = remote.call(NUMBER).pack() * 20_000

    def speak() -> None:
        client.end.sendall(data)
        client.end.close()

    writer = threading.Thread(target=speak)
    writer.start()
    got = b""
    while piece := daemon.recv(MEBIBYTE):
        got += piece
    writer.join()
    assert got == data
