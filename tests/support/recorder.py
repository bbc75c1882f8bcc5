# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Conversations as they happen, on both sides of the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.via_proxy import URI

CONNECTION = Path("/run/recording-connection")
# The connection prefers this one to libvirtd's own, as libvirt's clients do (remoteGetUNIXSocket).
LISTEN, DAEMON = "/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"


class Conversation:
    """One client's, once it has ended: the bytes that went each way, on both sides of the connection."""

    uri = URI.replace("/usr/bin/libvirt-vepa-connect", str(CONNECTION))

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.to_daemon = bytearray()
        self.from_daemon = bytearray()

    @property
    def from_client(self) -> bytes:
        return (self._folder / "from-client").read_bytes()

    @property
    def to_client(self) -> bytes:
        return (self._folder / "to-client").read_bytes()


@contextmanager
def recorded(folder: Path) -> Iterator[Conversation]:
    """Record what one client says that uses the conversation's URI; the record is whole when the block has ended."""
    made = Conversation(folder)
    CONNECTION.write_text(
        f"#!/bin/sh\ntee {folder}/from-client | /usr/bin/libvirt-vepa-connect | tee {folder}/to-client\n",
        encoding="ascii",
    )
    CONNECTION.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(LISTEN)
        listener.listen(1)
        server = threading.Thread(target=_serve, args=(listener, made))
        server.start()
        try:
            yield made
        finally:
            # Wakes one that still waits for a client.
            listener.shutdown(socket.SHUT_RDWR)
            server.join()
            Path(LISTEN).unlink()


def _serve(listener: socket.socket, made: Conversation) -> None:
    try:
        client, _ = listener.accept()
    except OSError:
        return
    with client, socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(DAEMON)
        back = threading.Thread(target=_pass, args=(daemon, client, made.from_daemon))
        back.start()
        _pass(client, daemon, made.to_daemon)
        back.join()


def _pass(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    """Pass on all that comes until it ends, and say so to the other."""
    # The other may have ended first.
    with suppress(OSError):
        while data := source.recv(65536):
            record += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
