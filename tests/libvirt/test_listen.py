# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The connection on a socket of its own: clients that name it, the user they are, descriptors, and systemd's way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import libvirt
import pytest

from tests.lab.daemon import Daemon, session_daemon, virsh
from tests.lab.guest import DISK
from tests.lab.shell import run
from tests.libvirt.conftest import Make, as_user
from tests.support.user import CONNECTION, USER

SOCKET = Path("/run/libvirt-vepa-sock")
# What each of them says, by its process.
LOGS: dict[int, Path] = {}
URI = f"qemu:///system?socket={SOCKET}"
SECONDS = 60
PLAIN = ("env", "-u", "LIBVIRT_DEFAULT_URI", "virsh", "-q", "-c")


def through(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run("virsh", "-q", "-c", URI, *arguments, stdin=stdin, check=check)


def wait_for(what: str, condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return when something is true that nothing tells of."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, LOGS[process.pid].read_text()
        assert time.monotonic() < deadline, f"not in {SECONDS} seconds: {what}"
        os.sched_yield()


def listens(path: Path = SOCKET) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(os.fspath(path)) == 0


def end(process: subprocess.Popen[str]) -> str:
    """Ask it to end, and return what it has said."""
    process.terminate()
    assert process.wait(SECONDS) == 0, LOGS[process.pid].read_text()
    return LOGS[process.pid].read_text()


def ended(process: subprocess.Popen[str]) -> str:
    """Return what it has said, which has failed by itself."""
    assert process.wait(SECONDS) == 1
    return LOGS[process.pid].read_text()


def begin(*command: str, passed: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    # No pipe: the connections have it too, and may go on.
    path = Path(f"/run/listen-{len(LOGS)}.log")
    with path.open("w") as log:
        process = subprocess.Popen(command, stderr=log, text=True, pass_fds=passed)
    LOGS[process.pid] = path
    return process


@contextmanager
def started(*arguments: str, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    process = begin(*before, CONNECTION, "--listen", *(arguments or (str(SOCKET),)))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def listening(libvirtd: Daemon) -> Iterator[subprocess.Popen[str]]:
    with started() as process:
        wait_for("it listens", listens, process)
        yield process
        # A test that wants to know what it has said has ended it.
        if process.poll() is None:
            assert end(process) == ""
        assert not SOCKET.exists()


def children(process: subprocess.Popen[str]) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}


def descriptors(pid: int) -> set[str]:
    return {path.name for path in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.fixture
def opened(listening: subprocess.Popen[str]) -> Iterator[tuple[libvirt.virConnect, int]]:
    """A connection, and the process that serves it."""
    before = children(listening)
    connection = libvirt.open(URI)
    # The look whether it listens was a connection too, whose process may only end now.
    wait_for("one process serves it", lambda: len(children(listening) - before) == 1, listening)
    (pid,) = children(listening) - before
    yield connection, pid
    connection.close()
    wait_for("its process has ended", lambda: pid not in children(listening), listening)


# -- clients


@pytest.mark.usefixtures("listening")
def test_virsh_takes_and_shows_what_people_write(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.ask("vepa")
    through("define", "/dev/stdin", stdin=guest.xml)
    assert "<interface type='physical'>" in through("dumpxml", guest.name).stdout
    assert "physical:interface " in virsh("dumpxml", guest.name).stdout
    assert guest.name in through("list", "--all", "--name").stdout
    through("start", guest.name)
    assert through("domstate", guest.name).stdout.strip() == "running"


@pytest.mark.usefixtures("listening")
def test_read_only(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.ask("vepa")
    through("define", "/dev/stdin", stdin=guest.xml)
    assert "<interface type='physical'>" in through("-r", "dumpxml", guest.name).stdout
    assert "read only access" in through("-r", "undefine", guest.name, check=False).stderr


def test_without_a_daemon_the_client_and_the_log_say_so(listening: subprocess.Popen[str], libvirtd: Daemon) -> None:
    libvirtd.stop()
    Path("/run/libvirt/libvirt-sock").unlink(missing_ok=True)
    done = through("list", check=False)
    libvirtd.start()
    why = "cannot connect to /run/libvirt/libvirt-sock: No such file or directory; start libvirtd"
    assert why in done.stderr
    assert why in end(listening)


# -- descriptors


def test_graphics_come_as_a_descriptor(opened: tuple[libvirt.virConnect, int], guest_of: Make) -> None:
    connection, pid = opened
    guest = guest_of(1)
    guest.interfaces = "<graphics type='vnc' socket='/run/libvirt/qemu/lab1.vnc'/>"
    virsh("create", "/dev/stdin", stdin=guest.xml)
    domain = connection.lookupByName(guest.name)
    before = descriptors(pid)
    for _ in range(5):
        with socket.socket(fileno=domain.openGraphicsFD(0)) as graphics:
            graphics.settimeout(SECONDS)
            assert graphics.recv(4) == b"RFB "
    ours, theirs = socket.socketpair()
    with ours, theirs:
        domain.openGraphics(0, theirs.fileno())
        ours.settimeout(SECONDS)
        assert ours.recv(4) == b"RFB "
    assert descriptors(pid) == before


@pytest.mark.usefixtures("listening")
def test_a_disk_is_what_was_passed_on(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.add_disk()
    guest.interfaces = guest.interfaces.replace("<source file=", "<source fdgroup='mine' file=")
    virsh("define", "/dev/stdin", stdin=guest.xml)
    words = f"dom-fd-associate {guest.name} mine 5; start {guest.name}; domstate {guest.name}"
    done = run("sh", "-c", f"exec virsh -q -c '{URI}' '{words}' 5<>{DISK}")
    assert done.stdout.strip().endswith("running"), done


@pytest.mark.usefixtures("listening")
def test_create_with_descriptors_is_answered_as_past_it(guest_of: Make) -> None:
    # libvirt's QEMU driver takes none, and says so; to the daemon it is a call with descriptors all the same.
    guest = guest_of(1)
    guest.ask("vepa")
    Path("/run/listen.xml").write_text(guest.xml, encoding="utf-8")
    said = [
        run(
            "sh",
            "-c",
            f"exec virsh -c '{uri}' create /run/listen.xml --pass-fds 5,6 5</dev/null 6</dev/null",
            check=False,
        )
        for uri in (URI, "qemu:///system")
    ]
    assert said[0].stderr == said[1].stderr
    assert "not supported" in said[0].stderr


def test_the_descriptors_of_a_refused_call_are_closed(opened: tuple[libvirt.virConnect, int], guest_of: Make) -> None:
    connection, pid = opened
    guest = guest_of(1)
    guest.ask("sideways")
    before = descriptors(pid)
    for _ in range(5):
        with open("/dev/null") as null, pytest.raises(libvirt.libvirtError, match="unknown mode 'sideways'"):
            connection.createXMLWithFiles(guest.xml, [null.fileno()] * 32)
    assert connection.numOfDomains() == 0
    assert descriptors(pid) == before


# -- users


def test_a_user_who_may_use_the_daemon(grouped: int, listening: subprocess.Popen[str]) -> None:
    client = subprocess.Popen(
        (*as_user(grouped), *PLAIN, URI),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdin and client.stdout
    client.stdin.write("list\nuri\n")
    client.stdin.flush()
    while "qemu" not in (line := client.stdout.readline()):
        assert line, client.communicate()
    (pid,) = children(listening)
    status = Path(f"/proc/{pid}/status").read_text()
    assert re.search(rf"^Uid:(\s{USER}){{4}}$", status, re.MULTILINE)
    assert re.search(rf"^Gid:(\s{USER}){{4}}$", status, re.MULTILINE)
    assert re.search(rf"^Groups:\s{grouped} ?$", status, re.MULTILINE)
    client.communicate("quit\n", timeout=SECONDS)


@pytest.mark.usefixtures("grouped")
def test_a_user_who_may_not_is_told_so(listening: subprocess.Popen[str]) -> None:
    done = run(*as_user(), *PLAIN, URI, "list", check=False)
    assert done.returncode == 1
    assert "cannot connect to /run/libvirt/libvirt-sock: Permission denied; try again as root, or" in done.stderr
    # It is in the log as well.
    assert "Permission denied" in end(listening)


def test_a_user_reaches_their_own_daemon(listening: subprocess.Popen[str], guest_of: Make) -> None:
    runtime, home = Path(f"/run/user/{USER}"), Path("/run/listen")
    for path in (runtime, home):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(path, USER, USER)
    user = (*as_user()[:-1], f"HOME={home}", f"XDG_RUNTIME_DIR={runtime}")
    guest = guest_of(1)
    guest.ask("vepa")
    uri = f"qemu:///session?socket={SOCKET}"
    with session_daemon(runtime, user):
        # A pipe of root's cannot be opened by its name.
        xml = home / "guest.xml"
        xml.write_text(guest.xml, encoding="utf-8")
        run(*user, *PLAIN, uri, "define", str(xml))
        assert "<interface type='physical'>" in run(*user, *PLAIN, uri, "dumpxml", guest.name).stdout
        assert guest.name in run(*user, *PLAIN, "qemu:///session", "list", "--all", "--name").stdout
        run(*user, *PLAIN, uri, "undefine", guest.name)
    assert guest.name not in virsh("list", "--all", "--name").stdout
    for path in (runtime, home):
        shutil.rmtree(path)


def test_a_users_own_daemon_is_not_started_by_a_service_of_roots(listening: subprocess.Popen[str]) -> None:
    """It would end with the connection, and its guests with it."""
    runtime, uri = Path(f"/run/user/{USER}"), f"qemu:///session?socket={SOCKET}"
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(runtime, USER, USER)
    try:
        done = run(*as_user()[:-1], f"XDG_RUNTIME_DIR={runtime}", *PLAIN, uri, "list", check=False)
        assert done.returncode == 1 and not run("pgrep", "-u", str(USER), "libvirtd", check=False).stdout
    finally:
        shutil.rmtree(runtime)
    why = "no daemon of your own runs, and none is started from here; start it with 'virsh -c qemu:///session uri'"
    assert why in done.stderr and why in end(listening)


@pytest.mark.usefixtures("libvirtd")
def test_who_is_not_root_serves_only_themselves() -> None:
    with started("/run/user-sock", before=as_user()) as process:
        assert "cannot listen on /run/user-sock: Permission denied; run the command as root" in ended(process)
    folder = Path("/run/theirs")
    folder.mkdir(exist_ok=True)
    os.chown(folder, USER, USER)
    path = folder / "sock"
    with started(str(path), before=as_user()) as process:
        wait_for("it listens", lambda: listens(path), process)
        assert path.stat().st_mode & 0o777 == 0o600
        # virsh may still write when the connection is closed, which ends it.
        assert virsh("-c", f"qemu:///system?socket={path}", "list", check=False).returncode in (1, -signal.SIGPIPE)
        assert "it cannot act as user 0, who has connected; run it as root" in end(process)


# -- the socket


def test_everybody_may_connect(listening: subprocess.Popen[str]) -> None:
    assert SOCKET.stat().st_mode & 0o777 == 0o666


def test_the_end_of_the_service_is_not_that_of_its_connections(libvirtd: Daemon) -> None:
    with started() as process:
        wait_for("it listens", listens, process)
        connection = libvirt.open(URI)
        assert end(process) == ""
        assert not SOCKET.exists()
        assert connection.numOfDomains() == 0
        connection.close()


def test_a_socket_that_nobody_listens_on_is_replaced(libvirtd: Daemon) -> None:
    with started() as process:
        wait_for("it listens", listens, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert SOCKET.is_socket()
    with started() as process:
        wait_for("it listens", listens, process)
        through("list")
        assert end(process) == ""


@pytest.mark.usefixtures("listening")
def test_two_do_not_listen_on_one() -> None:
    with started() as process:
        said = ended(process)
    assert said == (
        f"libvirt-vepa-connect: cannot listen on {SOCKET}: somebody else does; stop that one, or name another path\n"
    )
    through("list")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/run/a-file", "it is there, and no socket; name another path"),
        ("/run/nowhere/sock", "No such file or directory; name another path"),
        ("/run/" + "x" * 120, "AF_UNIX path too long; name another path"),
    ],
)
@pytest.mark.usefixtures("libvirtd")
def test_a_path_that_cannot_be(path: str, why: str) -> None:
    Path("/run/a-file").touch()
    with started(path) as process:
        said = ended(process)
    assert said == f"libvirt-vepa-connect: cannot listen on {path}: {why}\n"
    assert Path("/run/a-file").is_file()


@pytest.mark.parametrize("arguments", [("--listen", "a", "b"), ("--listen", ""), ("x",)])
@pytest.mark.usefixtures("libvirtd")
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = run(CONNECTION, *arguments, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: libvirt-vepa-connect ")
    assert done.stderr.splitlines()[-1].startswith("libvirt-vepa-connect: error: ")


# -- systemd's way


def passed_on(end: socket.socket | TextIO, count: str = "1", pid: str = "$$") -> subprocess.Popen[str]:
    """Start it with a socket as sd_listen_fds(3) has it."""
    number = end.fileno()
    command = f"exec 3<&{number}; LISTEN_PID={pid} LISTEN_FDS={count} exec {CONNECTION} --listen"
    return begin("bash", "-c", command, passed=(number,))


@pytest.fixture
def listener(libvirtd: Daemon) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(os.fspath(SOCKET))
        found.listen()
        yield found
    SOCKET.unlink()


def test_a_listening_socket_is_passed_on(listener: socket.socket) -> None:
    process = passed_on(listener)
    try:
        through("list")
        through("list")
    finally:
        assert end(process) == ""
    assert SOCKET.is_socket(), "it is not ours to remove"


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_foreign_client_ends_its_connection_alone(listener: socket.socket, data: bytes) -> None:
    process = passed_on(listener)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(os.fspath(SOCKET))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    through("list")
    said = end(process)
    assert said == ""


@pytest.mark.parametrize(("count", "pid"), [("1", "1"), ("2", "$$"), ("", "$$"), ("0", "$$")])
def test_no_socket_is_passed_on(listener: socket.socket, count: str, pid: str) -> None:
    process = passed_on(listener, count, pid)
    said = ended(process)
    assert said == (
        "libvirt-vepa-connect: no socket was passed on; name the path to listen on, or start the systemd unit\n"
    )


def test_what_is_passed_on_is_no_socket(libvirtd: Daemon) -> None:
    with open("/dev/null") as null, socket.socket() as other:
        for each, why in ((null, "no socket: Socket operation on non-socket"), (other, "no Unix stream socket")):
            said = ended(passed_on(each))
            assert said == f"libvirt-vepa-connect: what was passed on is {why}; fix the systemd unit\n"


def test_a_connection_is_no_socket_that_listens(libvirtd: Daemon) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        said = ended(passed_on(theirs))
    why = "what was passed on is a connection, and no socket that listens; set Accept=no in the unit"
    assert said == f"libvirt-vepa-connect: {why}\n"
