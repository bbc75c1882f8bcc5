# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one user can take from the others at the sockets of the services: a share of the connections, and no memory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt
import pytest

from tests.lab.daemon import Daemon
from tests.lab.guest import Guest
from tests.lab.shell import run
from tests.libvirt.conftest import as_user
from tests.support import remote_protocol as remote
from tests.support.helper_talk import until
from tests.support.user import CONNECTION, USER

SOCKET = Path("/run/bounds-sock")
URI = f"qemu:///system?socket={SOCKET}"
VIRSH = ("env", "-u", "LIBVIRT_DEFAULT_URI", "virsh", "-q", "-c", URI)
SECONDS = 60
ATTEMPTS = 512
# Connects so often, says nothing, waits until those that get no answer have ended, says how many, and stays.
SILENT = """
import select, socket, sys
path, attempts, kept = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ends = []
for _ in range(attempts):
    end = socket.socket(socket.AF_UNIX)
    end.connect(path)
    ends.append(end)
while len(ends) > kept:
    for end in select.select(ends, [], [], 60)[0] or sys.exit("too many are open"):
        if not end.recv(4096):
            ends.remove(end)
            end.close()
print("quiet", flush=True)
sys.stdin.read()
"""
# Says something that the helper does not understand, and prints its answer.
ONE = """
import socket, sys
with socket.socket(socket.AF_UNIX) as end:
    end.settimeout(60)
    end.connect(sys.argv[1])
    end.sendall(b"{}\\n")
    print(end.recv(4096).decode())
"""
OPEN, FEATURE, AUTH_LIST, XML_TO_NATIVE, LIST_INTERFACES = 1, 60, 66, 136, 284

# Runs a program, and says in the end how much memory it, or one of its children, has had. The kernel counts what the
# process that starts a program has itself, and that of the tests grows.
MEASURED = """\
import resource, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: program.terminate())
program = subprocess.Popen(sys.argv[1:])
status = program.wait()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@contextmanager
def service(*command: str, path: Path = SOCKET) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A service that listens there, and the file that it writes its errors to."""
    log = Path(f"/run/{Path(command[-1]).name}.log")
    with log.open("w") as file:
        process = subprocess.Popen((*command, "--listen", str(path)), stderr=file, text=True)
    try:
        until("it listens", path.is_socket)
        yield process, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


@pytest.fixture
def listening(libvirtd: Daemon) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with service(CONNECTION) as found:
        yield found


@contextmanager
def silent(path: Path, kept: int, *groups: int) -> Iterator[None]:
    """Have an ordinary user hold as many connections as they get, without a word."""
    words = (*as_user(*groups), sys.executable, "-c", SILENT, str(path), str(ATTEMPTS), str(kept))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "quiet\n"
            yield
        finally:
            process.communicate(timeout=SECONDS)


def test_silent_connections_keep_nobody_else_out(grouped: int, listening: tuple[subprocess.Popen[str], Path]) -> None:
    _, log = listening
    another = ("setpriv", "--reuid=games", "--regid=games", f"--groups={grouped}", "env", "HOME=/run")
    with silent(SOCKET, 128):
        for others in ((), another):
            done = run("timeout", str(SECONDS), *others, *VIRSH, "-r", "list", check=False)
            assert (done.returncode, done.stderr) == (0, "")
        done = run("timeout", str(SECONDS), *as_user(), *VIRSH, "-r", "list", check=False)
    why = f"user {USER} has 128 connections, and gets no more; close some of them"
    assert why in done.stderr
    assert log.read_text() == f"libvirt-vepa-connect: cannot serve a connection: {why}\n"


def test_silent_connections_keep_nobody_from_the_helper(grouped: int) -> None:
    path = Path("/run/bounds-helper-sock")
    refused, heard = f"user {USER} has 64 connections, and gets no more", "is not understood"
    with service("libvirt-vepad", path=path), silent(path, 64, grouped):
        for user, said in ((as_user(grouped), refused), ((), heard)):
            answer = json.loads(run(*user, sys.executable, "-c", ONE, str(path)).stdout)
            assert said in answer["error"] and answer["remedy"]


@pytest.mark.parametrize(("procedure", "size"), [(FEATURE, 16 << 20), (AUTH_LIST, 16 << 20), (FEATURE, 4)])
def test_before_the_open_call_nobody_takes_memory(libvirtd: Daemon, procedure: int, size: int) -> None:
    with service(sys.executable, "-c", MEASURED, CONNECTION) as (process, log):
        frame = remote.call(procedure, bytes(size)).pack()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(os.fspath(SOCKET))
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for _ in range((1 << 30) // len(frame)):
                    client.sendall(frame)
        # What ends later than the service is not in its account.
        until("no connection is left", lambda: not children(int(children(process.pid))))
        process.terminate()
        assert process.wait(SECONDS) == 0
    # Of the service and of each connection's process, in KiB: about 45 MiB, and 930 MiB when frames were kept.
    assert int(log.read_text().splitlines()[-1]) < 128 << 10


def children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")


def test_what_a_reader_sends_is_not_kept(listening: tuple[subprocess.Popen[str], Path]) -> None:
    """Everybody may look: a document of theirs, or a call that is far too long, is the daemon's to refuse."""
    process, _ = listening
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(os.fspath(SOCKET))
        assert ask(client, remote.call(AUTH_LIST)).status == remote.OK
        uri = b"\0\0\0\x01" + remote.string(b"qemu:///system")
        assert ask(client, remote.call(OPEN, uri + b"\0\0\0\x01")).status == remote.OK
        (pid,) = children(process.pid).split()
        before = resident(int(pid))
        for procedure in (XML_TO_NATIVE, LIST_INTERFACES):
            assert ask(client, remote.call(procedure, bytes(31 << 20))).procedure == procedure
        assert resident(int(pid)) - before < 8 << 10


def ask(client: socket.socket, frame: remote.Frame) -> remote.Frame:
    client.sendall(frame.pack())
    data = client.recv(4, socket.MSG_WAITALL)
    return next(iter(remote.frames(data + client.recv(int.from_bytes(data) - 4, socket.MSG_WAITALL))))


def resident(pid: int) -> int:
    """Return how much a process has had in memory at most, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def test_a_connection_finds_everything_loaded(libvirtd: Daemon, guest_of: Callable[[int], Guest]) -> None:
    with service(sys.executable, "-I", "-X", "importtime", CONNECTION) as (process, log):
        libvirt.open(URI).close()
        until("no connection is left", lambda: not children(process.pid))
        before = len(log.read_text())
        guest = guest_of(1)
        guest.ask("vepa")
        connection = libvirt.open(URI)
        assert "<interface type='physical'>" in connection.defineXML(guest.xml).XMLDesc()
        assert "lan" in [each.name() for each in connection.listAllInterfaces()]
        connection.interfaceLookupByName("lan").undefine()
        connection.close()
        until("no connection is left", lambda: not children(process.pid))
        assert "libvirt_vepa.proxy.preload" in log.read_text()[:before]
        assert log.read_text()[before:] == ""
