# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The privileged hand: how a connection reaches `libvirt-vepad`, which makes and removes devices for it.

A conversation is a line of JSON each way for each errand, over a stream socket. What has begun and
is not ended when the conversation ends, `libvirt-vepad` puts right by itself.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from libvirt_vepa.errors import HostError
from libvirt_vepa.jobs import Errand, Outcome

SOCKET = Path("/run/libvirt/libvirt-vepad-sock")
# How long it may take until an errand can be written.
SECONDS = 60.0
CHUNK = 65536
REMEDY = "see 'systemctl status libvirt-vepad.socket', or try again as root"
# Isolated like every program of ours; the package's folder comes last, as it holds other packages too.
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from libvirt_vepa.service import serve_here; sys.exit(serve_here())"
)


class Hand:
    """One conversation with `libvirt-vepad`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.settimeout(SECONDS)
        self._heard = b""

    def fileno(self) -> int:
        """Return the descriptor that can be read when the hand has said something."""
        return self._channel.fileno()

    def say(self, errand: Errand) -> None:
        """Give it an errand. Raises HostError where it is not there any more."""
        line = json.dumps({"do": errand.word, **errand.values}) + "\n"
        try:
            self._channel.sendall(line.encode())
        except OSError as error:
            raise HostError(f"libvirt-vepad has gone: {error.strerror}", REMEDY) from error

    def hear(self) -> Outcome | None:
        """Read what has come; return it once it is whole. What ends too early, or is no JSON, is an error too."""
        try:
            data = self._channel.recv(CHUNK)
        except OSError:
            data = b""
        self._heard += data
        line, end, rest = self._heard.partition(b"\n")
        if not end:
            return None if data else {"error": f"libvirt-vepad has gone before it was done; {REMEDY}"}
        self._heard = rest
        try:
            outcome = json.loads(line)
        except ValueError:
            outcome = None
        return outcome if isinstance(outcome, dict) else {"error": "libvirt-vepad says what is not known here"}

    def close(self) -> None:
        """End the conversation."""
        self._channel.close()


def no_hand() -> Hand:
    """Refuse: the guests of a session daemon run without the rights that devices need. Raises HostError."""
    raise HostError("a session's guest cannot have a NIC of the host", "run it at qemu:///system")


def open_hand() -> Hand:
    """Begin a conversation with the service, or where nobody listens, and for root, with a process of its own.

    Root's connection may itself be a service that has no right to make devices, and whose children end with it. Raises
    HostError.
    """
    try:
        return _service()
    except HostError:
        if os.geteuid():
            raise
    return _own()


def _service() -> Hand:
    channel = socket.socket(socket.AF_UNIX)
    try:
        channel.connect(os.fspath(SOCKET))
    except OSError as error:
        channel.close()
        raise HostError(f"cannot reach libvirt-vepad at {SOCKET}: {error.strerror}", REMEDY) from error
    return Hand(channel)


def _own() -> Hand:
    """Start the hand as a child that outlives this process, as long as it still waits for a guest."""
    import subprocess

    mine, its = socket.socketpair()
    library = Path(__file__).resolve().parents[1]
    with its:
        # Its own session: what ends the client must not end it in the middle.
        subprocess.Popen(
            (sys.executable, "-I", "-c", PROGRAM, os.fspath(library)),
            stdin=its.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    return Hand(mine)
