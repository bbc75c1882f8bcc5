# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is more than calls and replies, through the connection: consoles, volumes, pictures, events, keepalive."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.daemon import LIBVIRTD_CONF, Daemon, virsh
from tests.lab.guest import Guest
from tests.lab.shell import BOUND_SECONDS, run
from tests.libvirt.conftest import Make
from tests.support.via_proxy import BOTH, PLAIN, URI, gone, relays, through

POOL = Path("/run/pool")
MIB = 1024 * 1024
KEEPALIVE = ("-k", "1", "-K", "5")
LIBVIRTD = Path("/run/libvirtd.pid")
# A client is noticed to stand still after six seconds; one that is only slow is not.
KEEPALIVE_CONF = "keepalive_interval = 1\nkeepalive_count = 5\n"


class Terminal:
    """A virsh that has a terminal; everything that it prints, and what is typed."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.client = subprocess.Popen(("virsh", "-c", URI, *arguments), stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._text = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, pattern: str) -> str:
        """Return what was printed up to what matches, and forget it."""
        deadline = time.monotonic() + BOUND_SECONDS
        while not (found := re.search(pattern, self._text)):
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no '{pattern}' in {BOUND_SECONDS:g} seconds, but: {self._text[-2000:]!r}"
            self._text += os.read(self._ours, 65536).decode("utf-8", "replace")
        printed, self._text = self._text[: found.start()], self._text[found.end() :]
        return printed

    def end(self) -> None:
        self.client.kill()
        self.client.wait()
        os.close(self._ours)


@pytest.fixture
def console(guest_of: Make) -> Iterator[Terminal]:
    """The console of a guest that boots, opened before it says anything."""
    guest = guest_of(1)
    guest.kernel = True
    guest.ask("vepa")
    xml = re.sub("<serial type='unix'>.*?</serial>", "<serial type='pty'><target port='0'/></serial>", guest.xml)
    through("define", "/dev/stdin", stdin=xml)
    through("start", guest.name, "--paused")
    terminal = Terminal("console", guest.name)
    terminal.until(r"Escape character is .*\r?\n")
    through("resume", guest.name)
    terminal.until("guest is up")
    yield terminal
    terminal.end()


def test_console_both_ways(console: Terminal) -> None:
    lines = "".join(f"{number:064}\n" for number in range(24))
    # Broken in two, or the shell's echo of it would be what is waited for.
    console.type(f"md5sum <<E''ND; echo =en''d=\n{lines}END\n")
    assert hashlib.md5(lines.encode()).hexdigest() in console.until("=end=")
    console.type("seq 1 20000; echo =en''d=\n")
    assert console.until("=end=").replace("\r", "").split()[-20000:] == [str(number) for number in range(1, 20001)]


def test_the_escape_character_leaves_the_console(console: Terminal) -> None:
    (pid,) = relays()
    console.type("\x1d")
    assert console.client.wait(BOUND_SECONDS) == 0
    gone(pid)


@pytest.fixture
def pool(libvirtd: Daemon) -> Iterator[str]:
    POOL.mkdir()
    through("pool-create-as", "lab", "dir", "--target", str(POOL))
    yield "lab"
    through("pool-destroy", "lab")
    run("rm", "-r", str(POOL))


@pytest.fixture
def source(pool: str) -> Path:
    """A file that is partly random and partly a hole, its length no multiple of anything."""
    path = POOL / "source"
    with path.open("wb") as file:
        file.write(os.urandom(3 * MIB + 17))
        file.seek(2 * MIB, os.SEEK_CUR)
        file.write(os.urandom(2 * MIB + 4097))
    return path


@pytest.mark.parametrize("up", BOTH, ids=["past", "through"])
@pytest.mark.parametrize("down", BOTH, ids=["past", "through"])
@pytest.mark.parametrize("sparse", [(), ("--sparse",)], ids=["whole", "sparse"])
def test_volumes(pool: str, source: Path, up: str, down: str, sparse: tuple[str, ...]) -> None:
    size = source.stat().st_size
    through("vol-create-as", pool, "volume", f"{size}b", "--format", "raw")
    virsh("-c", up, "vol-upload", "--pool", pool, "volume", str(source), *sparse)
    back = POOL / "back"
    virsh("-c", down, "vol-download", "--pool", pool, "volume", str(back), *sparse)
    assert back.read_bytes() == source.read_bytes()
    if sparse:
        assert back.stat().st_blocks * 512 < size - MIB


def test_a_part_of_a_volume(pool: str, source: Path) -> None:
    through("vol-create-as", pool, "volume", "16M", "--format", "raw")
    os.truncate(source, 1000001)
    through("vol-upload", "--pool", pool, "volume", str(source), "--offset", "12345", "--length", "1000001")
    back = POOL / "back"
    through("vol-download", "--pool", pool, "volume", str(back), "--offset", "12345", "--length", "1000001")
    assert back.read_bytes() == source.read_bytes()


def test_a_download_that_the_client_breaks_off_ends_as_past_it(pool: str, source: Path) -> None:
    through("vol-create-as", pool, "volume", f"{source.stat().st_size}b", "--format", "raw")
    through("vol-upload", "--pool", pool, "volume", str(source))
    commands = f"vol-download --pool {pool} volume /dev/full; vol-info --pool {pool} volume"
    past, ours = (virsh("-c", uri, commands, check=False) for uri in BOTH)
    assert (past.stdout, past.stderr) == (ours.stdout, ours.stderr)
    assert "No space left on device" in ours.stderr and "Capacity" in ours.stdout


def test_screenshot(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.interfaces = "<video><model type='vga'/></video><graphics type='vnc' autoport='yes'/>"
    through("define", "/dev/stdin", stdin=guest.xml)
    through("start", guest.name, "--paused")
    pictures = []
    for uri in BOTH:
        virsh("-c", uri, "screenshot", guest.name, "/run/picture")
        pictures.append(Path("/run/picture").read_bytes())
    assert pictures[0] == pictures[1] and len(pictures[0]) > 1000


def test_the_monitors_own_program(guest_of: Make) -> None:
    guest = guest_of(1)
    through("define", "/dev/stdin", stdin=guest.xml)
    through("start", guest.name, "--paused")
    for query in ("query-name", "query-qmp-schema", "nonsense"):
        command = ("qemu-monitor-command", guest.name, f'{{"execute":"{query}"}}')
        told = [re.sub(r"libvirt-\d+", "", virsh("-c", uri, *command).stdout) for uri in BOTH]
        assert told[0] == told[1] != ""


class Listener:
    """A virsh that prints the events of a guest."""

    def __init__(self, uri: str, guest: Guest) -> None:
        # Line by line, although it is no terminal.
        command = ("stdbuf", "-oL", "virsh", "-c", uri, "event", "--all", "--loop", "--domain", guest.name)
        self._client = subprocess.Popen(command, stdout=subprocess.PIPE)

    def heard(self, seconds: float) -> str:
        """Return what has been printed by then, as soon as something is; nothing where nothing was."""
        assert self._client.stdout
        ready, _, _ = select.select([self._client.stdout], [], [], seconds)
        return os.read(self._client.stdout.fileno(), 65536).decode() if ready else ""

    def until(self, text: str) -> str:
        printed, deadline = "", time.monotonic() + BOUND_SECONDS
        while text not in printed:
            assert time.monotonic() < deadline, f"no '{text}' in {BOUND_SECONDS:g} seconds, but: {printed!r}"
            printed += self.heard(1)
        return printed

    def end(self) -> None:
        self._client.kill()
        self._client.communicate()


def test_events_are_the_same(guest_of: Make) -> None:
    guest = guest_of(1)
    guest.ask("vepa")
    through("define", "/dev/stdin", stdin=guest.xml)
    listeners = [Listener(uri, guest) for uri in BOTH]
    try:
        for listener in listeners:
            # It does not say when it listens.
            for number in range(100):
                virsh("metadata", guest.name, "urn:first", "--key", "k", "--set", f"<n>{number}</n>", "--config")
                if listener.heard(0.2):
                    break
        virsh("metadata", guest.name, "urn:second", "--key", "k", "--set", "<n/>", "--config")
        for listener in listeners:
            listener.until("urn:second")
        virsh("start", guest.name)
        virsh("suspend", guest.name)
        virsh("resume", guest.name)
        virsh("destroy", guest.name)
        virsh("metadata", guest.name, "urn:last", "--key", "k", "--set", "<n/>", "--config")
        past, ours = (listener.until("urn:last") for listener in listeners)
        assert past == ours and "Started" in ours and "Stopped" in ours
    finally:
        for listener in listeners:
            listener.end()


def test_an_idle_connection_is_kept_alive(guest_of: Make) -> None:
    guest = guest_of(1)
    through("define", "/dev/stdin", stdin=guest.xml)
    wait = ("event", "--domain", guest.name, "--event", "lifecycle", "--timeout", "10")
    done = through(*KEEPALIVE, *wait, check=False)
    assert done.stderr == "" and "event loop timed out" in done.stdout


def test_a_daemon_that_stands_still_is_noticed(guest_of: Make) -> None:
    guest = guest_of(1)
    through("define", "/dev/stdin", stdin=guest.xml)
    daemon = int(LIBVIRTD.read_text())
    said = []
    for uri in BOTH:
        # The second command is asked for when the first one has its answer, so the connection is open by then.
        command, pipe = ("virsh", "-q", *KEEPALIVE, "-c", uri), subprocess.PIPE
        client = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        assert client.stdin and client.stdout
        client.stdin.write(b"domstate lab1\n")
        client.stdin.flush()
        while b"shut off" not in client.stdout.readline():
            pass
        os.kill(daemon, signal.SIGSTOP)
        try:
            said.append(client.communicate(b"domstate lab1\n", timeout=60)[1].decode().replace(uri, PLAIN))
        finally:
            os.kill(daemon, signal.SIGCONT)
            client.kill()
    assert "due to keepalive timeout" in said[0] and said[0] == said[1]
    assert not relays()


@contextmanager
def asking() -> Iterator[subprocess.Popen[bytes]]:
    """A virsh that is told what to do; it is killed in the end."""
    client = subprocess.Popen(("virsh", "-q", "-c", URI), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield client
    finally:
        client.kill()
        client.communicate()


def test_a_client_that_stands_still_is_noticed(libvirtd: Daemon) -> None:
    """The daemon's own keepalive begins when a client asks for the feature (remoteDispatchConnectSupportsFeature)."""
    with libvirtd.configured(LIBVIRTD_CONF + KEEPALIVE_CONF), asking() as client:
        assert client.stdin and client.stdout
        client.stdin.write(b"hostname\n")
        client.stdin.flush()
        assert client.stdout.readline()
        (pid,) = relays()
        os.kill(client.pid, signal.SIGSTOP)
        gone(pid)
