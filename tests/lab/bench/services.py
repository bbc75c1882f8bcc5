# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What listens while it is measured: the helper, the connection, and a relay in C to compare that with."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.lab.shell import run

HELPER = Path("/run/libvirt/libvirt-vepad-sock")
CONNECTION = Path("/run/libvirt/libvirt-vepa-sock")
RELAY = Path("/run/bench-relay-sock")
DAEMON = "/run/libvirt/libvirt-sock"
SOURCE = Path(__file__).with_name("relay.c")
PROGRAM = "/run/bench-relay"
SECONDS = 60


def helper(folder: str = "", through: tuple[str, ...] = ()) -> AbstractContextManager[None]:
    """Run `libvirt-vepad`; another host of the lab has its files below a folder, and is entered by a command."""
    return _listening(Path(f"{folder}{HELPER}"), *through, *_as_systemd("libvirt-vepad"))


def connection() -> AbstractContextManager[None]:
    """Run the connection's listener."""
    return _listening(CONNECTION, *_as_systemd("libvirt-vepa-connect"))


def relay() -> AbstractContextManager[None]:
    """Build the relay and run it."""
    run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", PROGRAM, str(SOURCE))
    return _listening(RELAY, "bash", "-c", f"exec {PROGRAM} {DAEMON} 3<&0")


def _as_systemd(program: str) -> tuple[str, ...]:
    return "bash", "-c", f"LISTEN_PID=$$ LISTEN_FDS=1 exec {program} --listen 3<&0 </dev/null"


@contextmanager
def _listening(path: Path, *command: str) -> Iterator[None]:
    """Run a program that has the socket of this path as its standard input; who connects early waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(socket.SOMAXCONN)
        process = subprocess.Popen(command, stdin=listener.fileno())
    try:
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)
        path.unlink()
