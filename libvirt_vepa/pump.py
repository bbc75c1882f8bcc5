"""Carries the bytes of one connection both ways, through the relay."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress

from libvirt_vepa.relay import Relay

CHUNK = 256 * 1024
# What one side has not taken yet before the other is no longer read from.
MOST = 1024 * 1024
# How long a side that has stopped reading is waited for once the other has ended.
DELIVER_SECONDS = 10.0


def carry(daemon: socket.socket) -> None:
    """Carry everything both ways until either side ends; what was read is still delivered. Raises WireError."""
    relay, to_daemon, to_client = Relay(), bytearray(), bytearray()
    server = daemon.fileno()
    for descriptor in (0, 1, server):
        os.set_blocking(descriptor, False)
    try:
        while _step(relay, server, to_daemon, to_client):
            pass
    finally:
        for descriptor, pending in ((server, to_daemon), (1, to_client)):
            _deliver(descriptor, pending)


def _step(relay: Relay, server: int, to_daemon: bytearray, to_client: bytearray) -> bool:
    """Wait for whatever can be done and do it; tell whether both sides are still there."""
    # What the client sends may come back to it at once, as an error.
    sources = [
        *([0] if max(len(to_daemon), len(to_client)) < MOST else []),
        *([server] if len(to_client) < MOST else []),
    ]
    readable, _, _ = select.select(sources, [*([server] if to_daemon else []), *([1] if to_client else [])], [])
    for source in readable:
        data = os.read(source, CHUNK)
        if not data:
            return False
        if source == server:
            to_client += relay.from_daemon(data)
        else:
            ahead, back = relay.from_client(data)
            to_daemon += ahead
            to_client += back
    _write(server, to_daemon)
    _write(1, to_client)
    return True


def _write(descriptor: int, pending: bytearray) -> None:
    """Write as much as is taken at once."""
    if pending:
        with suppress(BlockingIOError):
            del pending[: os.write(descriptor, pending)]


def _deliver(descriptor: int, pending: bytearray) -> None:
    """Write the rest, now that nothing more comes; a side that takes nothing for long gets no more."""
    while pending and select.select([], [descriptor], [], DELIVER_SECONDS)[1]:
        try:
            _write(descriptor, pending)
        except OSError:  # it has ended too
            return
