# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hook's work done by `libvirt-vepad`, and by the hook itself where that is away, hangs, dies or is another."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import PACKAGE, call, opened, state_files, stored
from tests.lab.network import Nic
from tests.lab.shell import link, run
from tests.support.resident import SECONDS, SOCKET, Resident, connected, listening, locked, patient, without_program
from tests.support.user import USER

RIGHTS = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")


@pytest.fixture
def service() -> Iterator[Resident]:
    with listening() as found:
        yield found


@pytest.fixture
def only_there(service: object) -> Iterator[None]:
    with without_program():
        yield


def test_a_whole_life_is_the_services_work(only_there: None, guest: Guest) -> None:
    for operation in ("prepare", "start", "reconnect"):
        done = call(operation, stored(guest))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert link(guest.device)
    assert call("release", stored(guest)).returncode == 0
    assert link(guest.device) is None and state_files() == []


def test_it_says_what_the_hook_would_say(service: object, wire: Nic) -> None:
    guest = Guest(2)
    guest.ask(None)
    missing = stored(guest).replace(b'name="lan"', b'name="nowhere"').replace(b"name='lan'", b"name='nowhere'")
    there, moved = call("prepare", missing), call("migrate", guest.xml.encode())
    SOCKET.rename(SOCKET.with_name("away"))
    here, again = call("prepare", missing), call("migrate", guest.xml.encode())
    SOCKET.with_name("away").rename(SOCKET)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert there.returncode == 1 and b"no physical interface 'nowhere' is defined on this host" in there.stderr
    assert moved.returncode == again.returncode == 0
    assert b"urn:libvirt-vepa:physical:1" in moved.stdout and b"ethernet" in again.stdout


def test_one_that_hangs_leaves_it_to_the_hook(service: Resident, guest: Guest) -> None:
    with patient(0.5):
        service.process.send_signal(signal.SIGSTOP)
        assert call("prepare", stored(guest)).returncode == 0
        assert link(guest.device)
        before = link(guest.device)
        # What it wakes up to is nobody's any more.
        service.process.send_signal(signal.SIGCONT)
        assert call("start", stored(guest)).returncode == 0
        assert link(guest.device) == before


def test_one_that_dies_in_the_middle_leaves_it_to_the_hook(service: Resident, guest: Guest) -> None:
    hook = opened("prepare", name=guest.name)
    assert hook.stdin
    with locked(f"guest-{guest.uuid}"):
        hook.stdin.write(stored(guest))
        hook.stdin.close()
        (child,) = service.waiting()
        os.kill(child, signal.SIGKILL)
    assert hook.wait(SECONDS) == 0 and link(guest.device)
    assert call("release", stored(guest)).returncode == 0


def test_one_of_another_version_leaves_it_to_the_hook(service: Resident, guest: Guest) -> None:
    server = PACKAGE / "ipc/server.py"
    copy = server.with_name("copy")
    shutil.copy2(server, copy)
    copy.rename(server)
    # systemd would start the one that is installed now for those who wait.
    with patient(1):
        assert call("prepare", stored(guest)).returncode == 0 and link(guest.device)
    assert service.process.wait(SECONDS) == 0
    service.restart()


@pytest.mark.parametrize(
    "said", [b"hook 2 1 1\n", b"hook 1 5 5\nab", b"hook 1 3 1\na\0b", b"hook ", b"hook 1 1 999999999\n"]
)
def test_what_is_not_understood_is_not_done(service: object, said: bytes) -> None:
    with connected() as channel:
        channel.sendall(said)
        channel.shutdown(socket.SHUT_WR)
        # What it has not read makes the kernel say more than that it has ended.
        with suppress(ConnectionResetError):
            assert channel.recv(100) == b""


# Connects, says what it is given, and prints what it hears.
CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as channel:
    channel.connect(sys.argv[1])
    channel.sendall(bytes.fromhex(sys.argv[2]))
    try:
        print(channel.recv(100))
    except ConnectionResetError:
        print(b"")
"""


def test_only_root_is_served(service: object, guest: Guest) -> None:
    arguments = "\0".join(("guest", "lab1", "prepare", "begin", "-")).encode()
    said = b"hook 1 %d %d\n" % (len(arguments), len(stored(guest))) + arguments
    client = ("/usr/bin/python3", "-c", CLIENT, str(SOCKET), said.hex())
    assert run(*client).stdout == "b'ready\\n'\n"
    assert run(*RIGHTS, *client).stdout == "b''\n"


ANSWERS = (
    b"",
    b"0 0\n",
    b"0 0 0",
    b"0 0 1\n",
    b"0 0 0\nx",
    b"-1 0 0\n",
    b"x y z\n",
    b"4 0 0\n",
    b"256 0 0\n",
    b"9" * 5000 + b" 0 0\n",
    b"0 0 " + b"9" * 5000 + b"\n",
    b"\0" * 100000,
)


def test_an_answer_that_is_none_leaves_it_to_the_hook(guest: Guest) -> None:
    document = stored(guest)
    with socket.socket(socket.AF_UNIX) as other:
        SOCKET.parent.mkdir(exist_ok=True)
        other.bind(str(SOCKET))
        other.listen()
        other.settimeout(SECONDS)
        try:
            for answer in ANSWERS:
                worker = Thread(target=answers, args=(other, len(document), answer), daemon=True)
                worker.start()
                done = call("migrate", guest.xml.encode())
                worker.join(SECONDS)
                assert (done.returncode, done.stderr) == (0, b""), answer[:20]
                assert b"urn:libvirt-vepa:physical:1" in done.stdout, answer[:20]
        finally:
            SOCKET.unlink()


def answers(listener: socket.socket, size: int, answer: bytes) -> None:
    """Be a service that gives one call this answer."""
    channel, _ = listener.accept()
    with channel:
        channel.recv(1000)
        channel.sendall(b"ready\n")
        channel.recv(1 << 20)
        channel.sendall(answer)
