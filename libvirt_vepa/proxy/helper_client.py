# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a connection reaches `libvirt-vepad`, which makes and removes devices for it.

A session is a line of JSON each way for each request, over a stream socket. What has begun and
is not ended when the session ends, `libvirt-vepad` puts right by itself.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from libvirt_vepa.errors import HostError
from libvirt_vepa.proxy.tasks import HelperRequest, HelperResponse

SOCKET = Path("/run/libvirt/libvirt-vepad-sock")
# How long it may take until a request can be written.
SECONDS = 60.0
CHUNK = 65536
# They may be of different versions after an upgrade.
OTHERS = "install the same libvirt-vepa everywhere, and connect again"
REMEDY = "see 'systemctl status libvirt-vepad.socket', or try again as root"


class HelperClient:
    """One session with `libvirt-vepad`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._channel.settimeout(SECONDS)
        self._heard = b""

    def fileno(self) -> int:
        """Return the descriptor that can be read when `libvirt-vepad` has answered."""
        return self._channel.fileno()

    def send(self, request: HelperRequest) -> None:
        """Send a request. Raises HostError where `libvirt-vepad` has ended."""
        line = json.dumps({"do": request.word, **request.values}) + "\n"
        try:
            self._channel.sendall(line.encode())
        except OSError as error:
            raise HostError(f"libvirt-vepad has gone: {error.strerror}", REMEDY) from error

    def receive(self) -> HelperResponse | None:
        """Read what has come; return it once it is whole. What ends too early, or is no JSON, is an error too."""
        try:
            data = self._channel.recv(CHUNK)
        except OSError:
            data = b""
        self._heard += data
        line, end, rest = self._heard.partition(b"\n")
        if not end:
            return None if data else {"error": "libvirt-vepad has gone before it was done", "remedy": REMEDY}
        self._heard = rest
        try:
            response = json.loads(line)
        except ValueError:
            response = None
        return (
            response if isinstance(response, dict) else {"error": "unexpected reply of libvirt-vepad", "remedy": OTHERS}
        )

    def close(self) -> None:
        """End the session."""
        self._channel.close()


def refuse_helper() -> HelperClient:
    """Refuse: the guests of a session daemon run without the rights that devices need. Raises HostError."""
    raise HostError("a session's guest cannot have a NIC of the host", "run it at qemu:///system")


def connect_helper(command: Sequence[str]) -> HelperClient:
    """Begin a session with the service, or where nobody listens, and for root, with a process of its own.

    Root's connection may itself be a service that has no right to make devices, and whose children end with it.
    `command` starts the process. Raises HostError.
    """
    try:
        return _service()
    except HostError:
        if os.geteuid():
            raise
    return _own(command)


def _service() -> HelperClient:
    channel = socket.socket(socket.AF_UNIX)
    try:
        channel.connect(os.fspath(SOCKET))
    except OSError as error:
        channel.close()
        raise HostError(f"cannot reach libvirt-vepad at {SOCKET}: {error.strerror}", REMEDY) from error
    return HelperClient(channel)


def _own(command: Sequence[str]) -> HelperClient:
    """Start `libvirt-vepad` as a child that outlives this process, as long as it still waits for a guest."""
    import subprocess

    mine, its = socket.socketpair()
    with its:
        # Its own session: what ends the client must not end it in the middle.
        subprocess.Popen(
            command,
            stdin=its.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    return HelperClient(mine)
