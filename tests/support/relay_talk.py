# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A relay as each side talks to it, in pieces of any size."""

from __future__ import annotations

from libvirt_vepa.proxy.relay import Relay
from tests.support import remote_protocol as remote


def from_client(relay: Relay, data: bytes, size: int = 2**20) -> tuple[bytes, bytes]:
    both = [relay.from_client(piece) for piece in remote.cut(data, [size])]
    return b"".join(ahead for ahead, _ in both), b"".join(back for _, back in both)


def from_daemon(relay: Relay, data: bytes, size: int = 2**20) -> bytes:
    both = [relay.from_daemon(piece) for piece in remote.cut(data, [size])]
    assert not any(ahead for ahead, _ in both)
    return b"".join(back for _, back in both)


def call(procedure: int, document: bytes, serial: int = 1) -> remote.Frame:
    return remote.call(procedure, remote.arguments(procedure, document)[1], serial)
